"""What became of a file: numbers, pictures, the answers row by row, and the file to take away."""

from __future__ import annotations

import polars as pl
import streamlit as st

from preptime.domain.prediction import FALLBACK_LEVELS
from preptime.domain.verdict import ValidationReason, validation_rule
from preptime.scoring.columns import (
    FALLBACK_LEVEL,
    PREDICTED_READY_AT,
    PREDICTED_SECONDS,
    PREDICTION_REASON,
    model_column,
    quantile_column,
)
from preptime.scoring.preview import Preview
from preptime.scoring.summary import MAX_MINUTES, ScoreSummary
from preptime.tables.columns import ROW_COLUMN
from preptime.ui import pictures, words
from preptime.ui.desk import ScoredFile
from preptime.ui.parts import caption, download_links, metric_cards, show_info, titled_chart
from preptime.ui.theme import palette

MAX_SHOWN_ROWS = 2_000
"""Rows of a table in the page. All are in the download."""

MAX_CELL_CHARACTERS = 80
"""Of a cell that a reason names."""

_SECONDS_PER_MINUTE = 60
_CELLS_COLUMN = f"{ROW_COLUMN}_cells"
_LEADING_COLUMNS = ("order_id", "restaurant_id", "order_acknowledged_at")


def draw_results(result: ScoredFile, file_preview: Preview) -> None:
    """Everything about a scored file."""
    document, summary = result.document, result.summary
    st.subheader("Predictions")
    _summary_cards(result)
    download_links(
        [(f"Download as {download_format}", download.url) for download_format, download in result.downloads.items()]
    )
    if result.csv_error:
        show_info(result.csv_error, "The parquet file holds everything.")
    caption(
        "The columns of your file, in their order, with the predictions behind them. In csv an apostrophe keeps text "
        "that a spreadsheet would run as a formula from running; parquet is exact."
    )
    if summary.predicted:
        _summary_charts(summary)
        _prediction_tables(result, file_preview)
    if document.rejected:
        st.subheader("Rows without a prediction")
        _show_table(_refused_rows(result, file_preview).collect(), sum(document.rejected.values()), {})


def _summary_cards(result: ScoredFile) -> None:
    document, summary = result.document, result.summary
    refused_count = document.rows - document.predicted
    default_model_summary = summary.models.row(0, named=True) if summary.predicted else {"median": None, "mean": None}
    median_width = _histogram_median(summary.widths)
    metric_cards(
        [
            (
                "Predicted",
                f"{document.predicted:,}",
                f"of {words.format_count(document.rows, 'row')}; {refused_count:,} without",
            ),
            (
                "Half are ready within",
                words.format_duration(_to_seconds(default_model_summary["median"])),
                "median of the p50s",
            ),
            ("Half of the intervals are under", words.format_duration(_to_seconds(median_width)), "p10 to p90"),
            ("Bundle", document.bundle, "which answered"),
        ]
    )


def _summary_charts(summary: ScoreSummary) -> None:
    colours = palette()
    left, right = st.columns(2, gap="large")
    limit_text = f"; the last bar holds all beyond {MAX_MINUTES - 2} minutes"
    with left:
        tail_text = limit_text if summary.distribution["minutes"].to_list()[-1] == MAX_MINUTES - 2 else ""
        titled_chart(
            "How long it takes",
            f"Orders by their answer (p50), two minutes a bar{tail_text}.",
            pictures.duration_histogram(summary.distribution, "minutes to ready (p50)", colours),
        )
        titled_chart(
            "By hour",
            "The median answer at each hour, on a bar from the median p10 to the median p90.",
            pictures.prediction_by_hour(summary.by_hour, colours),
        )
    with right:
        tail_text = limit_text if summary.widths["minutes"].to_list()[-1] == MAX_MINUTES - 2 else ""
        titled_chart(
            "How sure it is",
            f"Orders by the width of their interval, p10 to p90{tail_text}.",
            pictures.duration_histogram(summary.widths, "minutes from p10 to p90", colours, color=colours.band),
        )
        orders_by_level = dict(summary.fallback_level.iter_rows())
        levels_text = ", ".join(
            f"{name.replace('_', ' and ')} {orders_by_level[name]:,}"
            for name in FALLBACK_LEVELS
            if name in orders_by_level
        )
        titled_chart(
            "By restaurant",
            f"Those with most orders: the median answer on p10 to p90. Finest history behind all answers: {levels_text}.",
            pictures.prediction_by_restaurant(summary.by_restaurant.head(10), colours),
        )


def _prediction_tables(result: ScoredFile, file_preview: Preview) -> None:
    st.subheader("Order by order")
    restaurant_column, level_column = st.columns([2, 3])
    restaurant_query = (
        restaurant_column.text_input("Restaurant", key="filter_restaurant", placeholder="its id; empty for all") or ""
    ).strip()
    selected_levels = level_column.pills(
        "Fallback level", FALLBACK_LEVELS, selection_mode="multi", key="filter_fallback_level"
    )
    rows = _scan_rows(result).filter(pl.col(PREDICTION_REASON).is_null())
    if restaurant_query:
        rows = rows.filter(pl.col("restaurant_id").cast(pl.String).str.strip_chars() == restaurant_query)
    if selected_levels:
        rows = rows.filter(pl.col(FALLBACK_LEVEL).is_in(list(selected_levels)))
    row_count = int(rows.select(pl.len()).collect(engine="streaming").item())
    if not row_count:
        show_info("No order is like that.")
        return
    tab_names = ["default answer", *result.models]
    tabs = st.tabs(tab_names, key="model_tab", on_change="rerun")
    for name, tab in zip(tab_names, tabs, strict=True):
        if tab.open:
            with tab:
                if name == tab_names[0]:
                    _default_table(rows, row_count, file_preview, result.summary)
                else:
                    _model_table(rows, row_count, file_preview, name, result.summary)


def _default_table(rows: pl.LazyFrame, row_count: int, file_preview: Preview, summary: ScoreSummary) -> None:
    has_several_days = summary.ready_days is not None and len(set(summary.ready_days)) > 1
    result_columns = {
        "row": pl.col(ROW_COLUMN),
        "ready at": _ready_at_text(has_several_days),
        "p50": pl.col(PREDICTED_SECONDS) / _SECONDS_PER_MINUTE,
    }
    result_columns |= {
        f"p{level * 100:.0f}": pl.col(quantile_column(level)) / _SECONDS_PER_MINUTE for level in (0.1, 0.8, 0.9)
    }
    shown_rows = rows.head(MAX_SHOWN_ROWS).select(
        _combine_columns(result_columns | {"fallback level": pl.col(FALLBACK_LEVEL)}, file_preview)
    )
    _show_table(_collect_head(shown_rows), row_count, dict.fromkeys(("p10", "p50", "p80", "p90"), "%.1f min"))


def _collect_head(rows: pl.LazyFrame) -> pl.DataFrame:
    """The first rows of a large file, without reading on: otherwise than in a stream, all of it is in hand at once."""
    return rows.collect(engine="streaming")


def _model_table(rows: pl.LazyFrame, row_count: int, file_preview: Preview, model: str, summary: ScoreSummary) -> None:
    summaries_by_model = {row["model"]: row for row in summary.models.to_dicts()}
    caption(
        f"{model} alone: half within {summaries_by_model[model]['median']:.1f} minutes, on average {summaries_by_model[model]['mean']:.1f}; the default "
        f"answer {summaries_by_model['p50']['median']:.1f} and {summaries_by_model['p50']['mean']:.1f}. A point model says one number, the mean."
    )
    seconds = pl.col(model_column(model))
    result_columns = {
        "row": pl.col(ROW_COLUMN),
        model: seconds / _SECONDS_PER_MINUTE,
        "default answer": pl.col(PREDICTED_SECONDS) / _SECONDS_PER_MINUTE,
        "difference": (seconds - pl.col(PREDICTED_SECONDS)) / _SECONDS_PER_MINUTE,
    }
    shown_rows = rows.head(MAX_SHOWN_ROWS).select(_combine_columns(result_columns, file_preview))
    _show_table(
        _collect_head(shown_rows),
        row_count,
        {model: "%.1f min", "default answer": "%.1f min", "difference": "%+.1f min"},
    )


def _refused_rows(result: ScoredFile, file_preview: Preview) -> pl.LazyFrame:
    """The rows without a prediction; their reason names the cells, as far as the preview lists them."""
    meanings_by_reason = {str(reason): validation_rule(reason).description for reason in ValidationReason}
    rows = _scan_rows(result).filter(pl.col(PREDICTION_REASON).is_not_null()).head(MAX_SHOWN_ROWS)
    value_text = pl.format(" '{}'", pl.col("value").str.head(MAX_CELL_CHARACTERS))  # null for an empty cell
    fault_cells = file_preview.rejected_cells.lazy().select(
        pl.col("row").cast(pl.UInt32).alias(ROW_COLUMN),
        pl.col("reason").alias(PREDICTION_REASON),
        pl.concat_str("column", value_text, ignore_nulls=True).alias(_CELLS_COLUMN),
    )
    cells = fault_cells.group_by(ROW_COLUMN, PREDICTION_REASON).agg(pl.col(_CELLS_COLUMN).str.join(", "))
    named_rows = rows.with_columns(pl.col(PREDICTION_REASON).replace(meanings_by_reason)).join(
        cells, on=[ROW_COLUMN, PREDICTION_REASON], how="left", maintain_order="left"
    )
    reason = pl.concat_str(PREDICTION_REASON, pl.format(": {}", pl.col(_CELLS_COLUMN)), ignore_nulls=True)
    return named_rows.select(_combine_columns({"row": pl.col(ROW_COLUMN), "reason": reason}, file_preview))


def _ready_at_text(several_days: bool) -> pl.Expr:
    """The restaurant's clock to the nearest minute, with the date where there are several; as text it sorts by time."""
    moment = pl.col(PREDICTED_READY_AT).str.head(19).str.to_datetime("%Y-%m-%d %H:%M:%S")
    return moment.dt.offset_by("30s").dt.strftime("%Y-%m-%d %H:%M" if several_days else "%H:%M")


def _scan_rows(result: ScoredFile) -> pl.LazyFrame:
    """Every row, numbered from 1 as in the file; no file has a column of that name."""
    return pl.scan_parquet(result.path, glob=False).with_row_index(ROW_COLUMN, 1)


def _combine_columns(result_columns: dict[str, pl.Expr], file_preview: Preview) -> list[pl.Expr]:
    """Our columns among the file's: its number, what tells the order, our answers, the file's other columns.

    A column of the file that is called like one of ours says whose it is. Answers of an earlier scoring are left out.
    """
    file_columns = {
        name: pl.col(name).alias(f"{name} (file)" if name in result_columns else name) for name in file_preview.columns
    }
    leading_columns = [file_columns[name] for name in _LEADING_COLUMNS if name in file_columns]
    other_columns = [
        file_columns[name] for name in file_columns if name not in _LEADING_COLUMNS and not name.startswith("predict")
    ]
    row_number, *prediction_columns = (expression.alias(name) for name, expression in result_columns.items())
    return [row_number, *leading_columns, *prediction_columns, *other_columns]


def _show_table(rows: pl.DataFrame, row_count: int, formats: dict[str, str]) -> None:
    if row_count > len(rows):
        caption(f"The first {len(rows):,} of {row_count:,}; all are in the download.")
    config = {name: st.column_config.NumberColumn(format=number_format) for name, number_format in formats.items()}
    st.dataframe(rows, hide_index=True, column_config=config, placeholder=words.EMPTY_CELL)


def _histogram_median(histogram: pl.DataFrame) -> float | None:
    """The median of a histogram, to its bar's middle."""
    if not len(histogram):
        return None
    cumulative = histogram["orders"].cum_sum()
    index = int((cumulative * 2 >= cumulative[-1]).arg_max() or 0)
    return float(histogram["minutes"][index]) + float(histogram["width"][index]) / 2


def _to_seconds(minutes: float | None) -> float | None:
    return None if minutes is None else minutes * _SECONDS_PER_MINUTE
