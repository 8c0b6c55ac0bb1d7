"""Tables of a scored file on the page Predict: the predictions by order, and the rows without a prediction."""

from __future__ import annotations

import polars as pl
import streamlit as st

from preptime.domain.data_dictionary import ROW_COLUMN
from preptime.domain.orders import FALLBACK_LEVELS
from preptime.domain.time_units import TimeUnit
from preptime.domain.validation_reasons import ValidationReason, validation_rule
from preptime.evaluation.summary_text import WEAK_MODEL_NOTE
from preptime.scoring.column_names import file_column_names, is_result_column, unique_name
from preptime.scoring.preview import Preview
from preptime.scoring.scorer import (
    FALLBACK_LEVEL,
    PREDICTED_READY_AT,
    PREDICTED_SECONDS,
    PREDICTION_REASON,
    model_column,
    quantile_column,
)
from preptime.scoring.travel_column import COURIER_WAIT, DISPATCH_AT, FOOD_WAIT
from preptime.ui import formatting
from preptime.ui.components import MAX_WRAPPED_ROWS, Column, caption, data_table, duration_format, show_info
from preptime.ui.display_names import FALLBACK_LEVEL_TITLES, model_title, readable_name
from preptime.ui.upload_session import ScoredFile

MAX_SHOWN_ROWS = 2_000
"""Maximum rows of a table on the page. The download contains all rows."""
MAX_CELL_CHARACTERS = 80
"""Maximum characters of a cell in the reason of a rejected row."""
MAX_WRAPPED_COLUMNS = 10
"""A table with more columns scrolls."""
_REASON_COLUMN = "reason"
_DEFAULT_TAB = "default prediction"
_DIFFERENCE_COLUMN = "difference"
_CELLS_COLUMN = f"{ROW_COLUMN}_cells"
_LEADING_COLUMNS = ("order_id", "restaurant_id", "order_acknowledged_at")
"""Canonical names of the columns that identify an order."""


def prediction_tables(result: ScoredFile, file_preview: Preview) -> None:
    """Draw the predictions by order, with filters, and a tab for each point model."""
    st.subheader("Predictions by order")
    restaurant_column, level_column = st.columns([2, 3])
    restaurant_query = (
        restaurant_column.text_input("Restaurant", key="filter_restaurant", placeholder="ID, or empty for all") or ""
    ).strip()
    selected_levels = level_column.pills(
        "Fallback level",
        FALLBACK_LEVELS,
        format_func=FALLBACK_LEVEL_TITLES.__getitem__,
        selection_mode="multi",
        key="filter_fallback_level",
    )
    rows = _scan_rows(result).filter(pl.col(PREDICTION_REASON).is_null())
    if restaurant_query:
        restaurant = result.schema.orders["restaurant_id"].column
        rows = rows.filter(pl.col(restaurant).cast(pl.String).str.strip_chars() == restaurant_query)
    if selected_levels:
        rows = rows.filter(pl.col(FALLBACK_LEVEL).is_in(list(selected_levels)))
    row_count = int(rows.select(pl.len()).collect(engine="streaming").item())
    if not row_count:
        show_info("No order matches the filters.")
        return
    tab_names = [_DEFAULT_TAB, *result.models]
    tabs = st.tabs([model_title(name, result.weak_models) for name in tab_names], key="model_tab", on_change="rerun")
    for name, tab in zip(tab_names, tabs, strict=True):
        if tab.open:
            with tab:
                if name == tab_names[0]:
                    _default_table(rows, row_count, file_preview, result)
                else:
                    _model_table(rows, row_count, file_preview, name, result)


def _default_table(rows: pl.LazyFrame, row_count: int, file_preview: Preview, result: ScoredFile) -> None:
    event, unit = result.schema.target.event, result.schema.target.time_unit
    has_several_days = _has_several_days(rows.head(MAX_SHOWN_ROWS), result)
    quantiles = {f"p{level * 100:.0f}": pl.col(quantile_column(level)) for level in (0.1, 0.5, 0.8, 0.9)}
    quantiles["p50"] = pl.col(PREDICTED_SECONDS)
    dispatch_columns = {
        "dispatch at": _time_text(_nearest_minute(_local_time(DISPATCH_AT)), has_several_days),
        "courier waits": pl.col(COURIER_WAIT) / unit.seconds,
        "food waits": pl.col(FOOD_WAIT) / unit.seconds,
    }
    result_columns = {
        "row": pl.col(ROW_COLUMN),
        f"{event} at": _time_text(_nearest_minute(_local_time(PREDICTED_READY_AT)), has_several_days),
        f"90% {event} by": _time_text(_next_minute(_ready_by_time()), has_several_days),
        **({} if result.travel is None else dispatch_columns),
        **{name: seconds / unit.seconds for name, seconds in quantiles.items()},
    }
    shown_rows = rows.head(MAX_SHOWN_ROWS).select(
        _combine_columns(result_columns | {"fallback level": _fallback_level_title()}, file_preview, result)
    )
    durations = ("p10", "p50", "p80", "p90", "courier waits", "food waits")
    _show_table(_collect_head(shown_rows), row_count, dict.fromkeys(durations, duration_format(unit)))


def _fallback_level_title() -> pl.Expr:
    return pl.col(FALLBACK_LEVEL).cast(pl.String).replace(FALLBACK_LEVEL_TITLES)


def _collect_head(rows: pl.LazyFrame) -> pl.DataFrame:
    """Return the first rows of a large file. The streaming engine doesn't load the whole file into memory."""
    return rows.collect(engine="streaming")


def _model_table(rows: pl.LazyFrame, row_count: int, file_preview: Preview, model: str, result: ScoredFile) -> None:
    summaries_by_model = {row["model"]: row for row in result.summary.models.to_dicts()}
    own, default = summaries_by_model[model], summaries_by_model["p50"]
    title, unit = readable_name(model), result.schema.target.time_unit
    caption(
        f"{title} alone: {_average_text(own, unit)}. Default: {_average_text(default, unit)}. A point model predicts "
        "only the mean."
    )
    if model in result.weak_models:
        show_info(f"On the gate's days, {title} is {WEAK_MODEL_NOTE}.", "Use the default prediction.")
    seconds = pl.col(model_column(model))
    # A custom model can have the name of another column, such as `difference`.
    own_column = unique_name(title, ("row", _DEFAULT_TAB, _DIFFERENCE_COLUMN), suffix=" (model)")
    result_columns = {
        "row": pl.col(ROW_COLUMN),
        own_column: seconds / unit.seconds,
        _DEFAULT_TAB: pl.col(PREDICTED_SECONDS) / unit.seconds,
        _DIFFERENCE_COLUMN: (seconds - pl.col(PREDICTED_SECONDS)) / unit.seconds,
    }
    shown_rows = rows.head(MAX_SHOWN_ROWS).select(_combine_columns(result_columns, file_preview, result))
    _show_table(
        _collect_head(shown_rows),
        row_count,
        {
            own_column: duration_format(unit),
            _DEFAULT_TAB: duration_format(unit),
            _DIFFERENCE_COLUMN: duration_format(unit, "+"),
        },
    )


def _average_text(summary: dict[str, float], unit: TimeUnit) -> str:
    median, mean = (unit.from_minutes(summary[name]) for name in ("median", "mean"))
    digits = unit.digits()
    return f"median {median:.{digits}f} {unit.name}, mean {mean:.{digits}f} {unit.name}"


def _rejected_rows(result: ScoredFile, file_preview: Preview) -> pl.LazyFrame:
    """Return the rows without a prediction. Their reason includes the cells that the preview lists."""
    meanings_by_reason = {str(reason): validation_rule(reason).description for reason in ValidationReason}
    rows = _scan_rows(result).filter(pl.col(PREDICTION_REASON).is_not_null()).head(MAX_SHOWN_ROWS)
    value_text = pl.format(" '{}'", pl.col("value").str.head(MAX_CELL_CHARACTERS))  # null for an empty cell
    rejected_cells = file_preview.rejected_cells.lazy().select(
        pl.col("row").cast(pl.UInt32).alias(ROW_COLUMN),
        pl.col("reason").alias(PREDICTION_REASON),
        pl.concat_str("column", value_text, ignore_nulls=True).alias(_CELLS_COLUMN),
    )
    cells = rejected_cells.group_by(ROW_COLUMN, PREDICTION_REASON).agg(pl.col(_CELLS_COLUMN).str.join(", "))
    named_rows = rows.with_columns(pl.col(PREDICTION_REASON).replace(meanings_by_reason)).join(
        cells, on=[ROW_COLUMN, PREDICTION_REASON], how="left", maintain_order="left"
    )
    reason = pl.concat_str(PREDICTION_REASON, pl.format(": {}", pl.col(_CELLS_COLUMN)), ignore_nulls=True)
    result_columns = {"row": pl.col(ROW_COLUMN), _REASON_COLUMN: reason}
    return named_rows.select(_combine_columns(result_columns, file_preview, result))


def _has_several_days(shown_rows: pl.LazyFrame, result: ScoredFile) -> bool:
    """Return whether the file has ready times of several days, or the shown rows have times of several days."""
    ready_days = result.summary.ready_days
    if ready_days is None or ready_days[0] != ready_days[1]:
        return ready_days is not None
    times = [_local_time(name) for name in (PREDICTED_READY_AT, *(() if result.travel is None else (DISPATCH_AT,)))]
    first = pl.min_horizontal(_nearest_minute(time.min()) for time in times)
    last = pl.max_horizontal(_next_minute(_ready_by_time().max()), *(_nearest_minute(time.max()) for time in times))
    return bool(shown_rows.select(first.dt.date() != last.dt.date()).collect(engine="streaming").item())


def _time_text(time: pl.Expr, several_days: bool) -> pl.Expr:
    """Return a time to the minute, with the date if there are several. The text sorts by time."""
    return time.dt.strftime("%Y-%m-%d %H:%M" if several_days else "%H:%M")


def _nearest_minute(time: pl.Expr) -> pl.Expr:
    """Return a time that has the nearest minute. Its seconds have no meaning."""
    return time.dt.offset_by("30s")


def _next_minute(time: pl.Expr) -> pl.Expr:
    """Return a time that has the minute rounded up. Its seconds have no meaning."""
    return time.dt.offset_by("59999ms")


def _ready_by_time() -> pl.Expr:
    """Return the local time by which 90% of such orders are ready."""
    later = pl.col(quantile_column(0.9)) - pl.col(PREDICTED_SECONDS)
    return _local_time(PREDICTED_READY_AT) + pl.duration(milliseconds=(later * 1_000).ceil().cast(pl.Int64))


def _local_time(column: str) -> pl.Expr:
    return pl.col(column).str.head(19).str.to_datetime("%Y-%m-%d %H:%M:%S")


def _scan_rows(result: ScoredFile) -> pl.LazyFrame:
    """Return every row, numbered from 1. No file has a column with the name `ROW_COLUMN`."""
    return pl.scan_parquet(result.path, glob=False).with_row_index(ROW_COLUMN, 1)


def _combine_columns(result_columns: dict[str, pl.Expr], file_preview: Preview, result: ScoredFile) -> list[pl.Expr]:
    """Return the row number, the file's identifying columns, the results, and the file's other columns.

    A column of the file with the name of a result column gets the suffix ` (file)`. Columns of an earlier scoring are
    left out.
    """
    schema, shown_names = result.schema, file_column_names(file_preview.columns, result_columns)
    file_columns = {name: pl.col(name).alias(shown_name) for name, shown_name in shown_names.items()}
    leading = [schema.orders[name].column for name in _LEADING_COLUMNS if schema.has(name)]
    leading_columns = [file_columns[name] for name in leading if name in file_columns]
    other_columns = [
        file_columns[name] for name in file_columns if name not in leading and not is_result_column(name, result.models)
    ]
    row_number, *prediction_columns = (expression.alias(name) for name, expression in result_columns.items())
    return [row_number, *leading_columns, *prediction_columns, *other_columns]


def _show_table(rows: pl.DataFrame, row_count: int, formats: dict[str, str]) -> None:
    if row_count > len(rows):
        caption(f"The first {len(rows):,} of {row_count:,} rows. The download contains all rows.")
    config = {name: st.column_config.NumberColumn(format=number_format) for name, number_format in formats.items()}
    st.dataframe(rows, hide_index=True, column_config=config, placeholder=formatting.EMPTY_CELL)


def rejected_table(result: ScoredFile, file_preview: Preview, row_count: int) -> None:
    """Draw the rows without a prediction, with their whole reasons. A table with many rows or columns scrolls."""
    rows = _rejected_rows(result, file_preview).collect()
    if len(rows) > MAX_WRAPPED_ROWS or rows.width > MAX_WRAPPED_COLUMNS:
        _show_table(rows, row_count, {})
        return
    columns = [Column(name, name, "long" if name == _REASON_COLUMN else "text") for name in rows.columns]
    data_table(rows.to_dicts(), columns, key="rows-without-prediction")
