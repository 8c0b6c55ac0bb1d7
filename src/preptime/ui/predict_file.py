"""The tab "Upload a file" of the page Predict: upload, validation, predictions, charts, and downloads."""

from __future__ import annotations

import datetime as dt
import io

import numpy as np
import polars as pl
import streamlit as st

from preptime.domain.data_dictionary import ROW_COLUMN
from preptime.domain.orders import FALLBACK_LEVELS
from preptime.domain.validation_reasons import ValidationReason, validation_rule
from preptime.errors import DataError, PreptimeError
from preptime.features.restaurant_index import RestaurantIndex, Vocabularies
from preptime.formatting import format_count
from preptime.scoring.download import iter_csv_chunks
from preptime.scoring.preview import (
    MAX_REJECTED_ROWS,
    PREVIEW_ROWS,
    VALIDATION_RESULT,
    Preview,
    preview_file,
    sample_orders,
)
from preptime.scoring.scorer import (
    FALLBACK_LEVEL,
    PREDICTED_READY_AT,
    PREDICTED_SECONDS,
    PREDICTION_REASON,
    model_column,
    quantile_column,
)
from preptime.scoring.summary import MAX_MINUTES, ScoreSummary, summarize
from preptime.ui import formatting, prediction_charts
from preptime.ui.components import (
    caption,
    download_links,
    metric_cards,
    progress_bar,
    show_error,
    show_info,
    show_success,
    unframed_chart,
)
from preptime.ui.connections import DashboardContext
from preptime.ui.predictors import LOCAL_MODE, Predictor, explain_api_error, known_restaurants
from preptime.ui.theme import palette
from preptime.ui.upload_session import (
    MAX_UPLOAD_MB,
    ScoredFile,
    Upload,
    get_download_registry,
    get_upload_session,
    release_upload_memory,
)

MAX_SHOWN_ROWS = 2_000
"""Maximum rows of a table on the page. The download contains all rows."""
MAX_CELL_CHARACTERS = 80
"""Maximum characters of a cell in the reason of a rejected row."""
_SECONDS_PER_MINUTE = 60
_DEFAULT_TAB = "default prediction"
_FORMAT_TITLES = {"csv": "CSV", "parquet": "Parquet"}
_CELLS_COLUMN = f"{ROW_COLUMN}_cells"
_LEADING_COLUMNS = ("order_id", "restaurant_id", "order_acknowledged_at")
_UPLOAD_COUNTER = "upload_number"
_DEFAULT_SAMPLE_DATE = dt.date(2015, 7, 1)
"""The date of the sample orders without a champion. With one, its as-of date is used."""
_NO_RESTAURANTS = RestaurantIndex(
    Vocabularies((), (), (), ("UTC",)), np.zeros(0, np.int64), *(np.zeros(0, np.int32) for _ in range(4))
)
"""Replaces the list of restaurants without a champion. Row checks that need no restaurant still run."""


def draw_file(predictor: Predictor | None, mode: str, context: DashboardContext) -> None:
    """Draw the upload, its validation, and its predictions. Without a predictor, a file is only validated."""
    restaurants = known_restaurants(context)
    upload = _receive_upload(restaurants, context)
    if upload is None:
        return
    with upload.with_original_name():
        file_preview = _preview_once(upload, restaurants)
        _show_validation(upload, file_preview, knows_restaurants=restaurants is not None)
        result = upload.results_by_mode.get(mode)
        with st.container(horizontal=True):
            is_predict_clicked = False
            if result is None and predictor is not None and file_preview.predictable:
                label = f"Predict {format_count(file_preview.predictable, 'order')}"
                is_predict_clicked = st.button(label, type="primary", key="predict", icon=":material/timer:")
            st.button("Remove file", key="remove_file", on_click=get_upload_session().clear)
        if is_predict_clicked and predictor is not None:
            upload.results_by_mode[mode] = _predict(upload, predictor, mode, context)
            st.rerun()
    if result is not None:
        _draw_results(result, file_preview)


def _receive_upload(restaurants: RestaurantIndex | None, context: DashboardContext) -> Upload | None:
    """Return the uploaded file, the sample, or the file uploaded earlier in this session."""
    upload_column, sample_column = st.columns([3, 2], gap="large", vertical_alignment="top")
    with upload_column:
        # Streamlit keeps an uploaded file in memory as long as its widget exists. After the file is saved, a new
        # widget with another key replaces this one.
        upload_number = int(st.session_state.get(_UPLOAD_COUNTER, 0))
        key = f"orders_file_{upload_number}"
        uploaded_file = st.file_uploader(
            f"Orders as CSV or Parquet, up to {MAX_UPLOAD_MB} MB", type=["csv", "parquet"], key=key
        )
    if uploaded_file is not None:
        get_upload_session().save(uploaded_file.name, uploaded_file)
        release_upload_memory(uploaded_file)
        del st.session_state[key]  # which holds another copy
        st.session_state[_UPLOAD_COUNTER] = upload_number + 1
        st.rerun()
    with sample_column:
        caption("No file yet? Try fifty sample orders. Two of them are invalid on purpose.")
        sample_date = _DEFAULT_SAMPLE_DATE if restaurants is None else context.bundle().manifest.date
        content = sample_orders(restaurants, sample_date).write_csv().encode()
        with st.container(horizontal=True):
            if st.button("Try the sample", key="use_sample"):
                get_upload_session().save("sample-orders.csv", io.BytesIO(content))
            st.download_button(
                "Download the sample", content, "sample-orders.csv", "text/csv", key="sample", on_click="ignore"
            )
    return get_upload_session().upload


def _preview_once(upload: Upload, restaurants: RestaurantIndex | None) -> Preview:
    """Return the validation of every row. It runs once for each upload."""
    if upload.preview is None:
        with progress_bar() as progress:
            upload.preview = preview_file(str(upload.path), restaurants or _NO_RESTAURANTS, progress=progress)
    return upload.preview


def _show_validation(upload: Upload, file_preview: Preview, *, knows_restaurants: bool) -> None:
    size_text = formatting.format_size(upload.size_bytes)
    rejected_count = file_preview.rows - file_preview.predictable
    summary_text = f"{upload.name}: {format_count(file_preview.rows, 'order')}, {size_text}."
    unknown_restaurants_text = ""
    if knows_restaurants and file_preview.unknown_restaurant_rows:
        order_count = format_count(file_preview.unknown_restaurant_rows, "order")
        unknown_restaurants_text = f"{order_count} of unknown restaurants: predicted from coarser history."
    if not rejected_count:
        show_success(f"{summary_text} All orders can be predicted.", unknown_restaurants_text)
    else:
        reasons_text = "; ".join(
            f"{validation_rule(reason).description.lower()}: {count:,}"
            for reason, count in file_preview.rejected.items()
        )
        show_callout = show_info if file_preview.predictable else show_error
        show_callout(
            f"{summary_text} {rejected_count:,} can't be predicted.",
            f"{reasons_text[:1].upper()}{reasons_text[1:]}. {unknown_restaurants_text}",
        )
    with st.expander(
        f"Preview with validation results, the first {min(PREVIEW_ROWS, file_preview.rows):,} rows", key="preview"
    ):
        st.dataframe(
            file_preview.head,
            hide_index=True,
            placeholder=formatting.EMPTY_CELL,
            column_config={VALIDATION_RESULT: st.column_config.TextColumn(pinned=True, width="medium")},
        )
    if rejected_count:
        shown_count = file_preview.rejected_cells["row"].n_unique()
        limit_text = "" if shown_count == rejected_count else f", the first {MAX_REJECTED_ROWS:,}"
        with st.expander(f"{format_count(rejected_count, 'row')} without a prediction{limit_text}", key="rejected"):
            st.dataframe(file_preview.rejected_cells, hide_index=True, placeholder=formatting.EMPTY_CELL)


def _predict(upload: Upload, predictor: Predictor, mode: str, context: DashboardContext) -> ScoredFile:
    """Score the upload into a Parquet file in the same folder."""
    output_path = upload.path.with_name("local.parquet" if mode == LOCAL_MODE else "api.parquet")
    try:
        with progress_bar() as progress:
            document = predictor.score(upload.path, output_path, progress)
    except PreptimeError as error:
        raise explain_api_error(error, context) from error
    csv_error = ""
    try:
        iter_csv_chunks(output_path)
    except DataError as error:
        csv_error = error.facts
    formats = ("parquet",) if csv_error else ("csv", "parquet")
    downloads_by_format = {
        download_format: get_download_registry().add(output_path, download_format, upload.name)
        for download_format in formats
    }
    return ScoredFile(
        output_path,
        document,
        summarize(output_path, predictor.models),
        predictor.models,
        downloads_by_format,
        csv_error,
    )


def _draw_results(result: ScoredFile, file_preview: Preview) -> None:
    """Draw everything about a scored file."""
    document, summary = result.document, result.summary
    st.subheader("Predictions")
    _summary_cards(result)
    download_links(
        [
            (f"Download as {_FORMAT_TITLES[download_format]}", download.url)
            for download_format, download in result.downloads.items()
        ]
    )
    if result.csv_error:
        show_info(result.csv_error, "Download the Parquet file, which has all columns.")
    caption(
        "Downloads contain the columns of your file in their order, followed by the predictions. In CSV, an apostrophe "
        "in front of text keeps a spreadsheet from running it as a formula. Parquet is exact."
    )
    if summary.predicted:
        _summary_charts(summary)
        _prediction_tables(result, file_preview)
    if document.rejected:
        st.subheader("Rows without a prediction")
        _show_table(_rejected_rows(result, file_preview).collect(), sum(document.rejected.values()), {})


def _summary_cards(result: ScoredFile) -> None:
    document, summary = result.document, result.summary
    rejected_count = document.rows - document.predicted
    default_model_summary = summary.models.row(0, named=True) if summary.predicted else {"median": None, "mean": None}
    median_width = _histogram_median(summary.widths)
    metric_cards(
        [
            (
                "Predicted",
                f"{document.predicted:,}",
                f"of {format_count(document.rows, 'row')}; {rejected_count:,} without",
            ),
            (
                "Median preparation time",
                formatting.format_duration(_to_seconds(default_model_summary["median"])),
                "median of the p50 predictions",
            ),
            ("Median interval width", formatting.format_duration(_to_seconds(median_width)), "p10 to p90"),
            ("Bundle", document.bundle, "that made the predictions"),
        ]
    )


def _summary_charts(summary: ScoreSummary) -> None:
    colors = palette()
    left, right = st.columns(2, gap="large")
    limit_text = f" The last bar contains all orders above {MAX_MINUTES - 2} minutes."
    with left:
        tail_text = limit_text if summary.distribution["minutes"].to_list()[-1] == MAX_MINUTES - 2 else ""
        unframed_chart(
            "Preparation times",
            f"Number of orders by predicted preparation time (p50). A bar covers two minutes.{tail_text}",
            prediction_charts.duration_histogram(summary.distribution, "preparation time (p50), minutes", colors),
        )
        unframed_chart(
            "By hour",
            "Ticks are the median prediction at each local hour. Bars are the median p10 to the median p90.",
            prediction_charts.prediction_by_hour(summary.by_hour, colors),
        )
    with right:
        tail_text = limit_text if summary.widths["minutes"].to_list()[-1] == MAX_MINUTES - 2 else ""
        unframed_chart(
            "Uncertainty",
            f"Number of orders by the width of their interval, p10 to p90.{tail_text}",
            prediction_charts.duration_histogram(summary.widths, "minutes from p10 to p90", colors, color=colors.band),
        )
        orders_by_level = dict(summary.fallback_level.iter_rows())
        levels_text = ", ".join(
            f"{formatting.FALLBACK_LEVEL_TITLES[name]} {orders_by_level[name]:,}"
            for name in FALLBACK_LEVELS
            if name in orders_by_level
        )
        unframed_chart(
            "By restaurant",
            "The restaurants with the most orders. Dots are the median prediction, lines the median p10 to p90. "
            f"Orders by fallback level: {levels_text}.",
            prediction_charts.prediction_by_restaurant(summary.by_restaurant.head(10), colors),
        )


def _prediction_tables(result: ScoredFile, file_preview: Preview) -> None:
    st.subheader("Predictions by order")
    restaurant_column, level_column = st.columns([2, 3])
    restaurant_query = (
        restaurant_column.text_input("Restaurant", key="filter_restaurant", placeholder="ID, or empty for all") or ""
    ).strip()
    selected_levels = level_column.pills(
        "Fallback level",
        FALLBACK_LEVELS,
        format_func=formatting.FALLBACK_LEVEL_TITLES.__getitem__,
        selection_mode="multi",
        key="filter_fallback_level",
    )
    rows = _scan_rows(result).filter(pl.col(PREDICTION_REASON).is_null())
    if restaurant_query:
        rows = rows.filter(pl.col("restaurant_id").cast(pl.String).str.strip_chars() == restaurant_query)
    if selected_levels:
        rows = rows.filter(pl.col(FALLBACK_LEVEL).is_in(list(selected_levels)))
    row_count = int(rows.select(pl.len()).collect(engine="streaming").item())
    if not row_count:
        show_info("No order matches the filters.")
        return
    tab_names = [_DEFAULT_TAB, *result.models]
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
        _combine_columns(result_columns | {"fallback level": _fallback_level_title()}, file_preview)
    )
    _show_table(_collect_head(shown_rows), row_count, dict.fromkeys(("p10", "p50", "p80", "p90"), "%.1f min"))


def _fallback_level_title() -> pl.Expr:
    return pl.col(FALLBACK_LEVEL).cast(pl.String).replace(formatting.FALLBACK_LEVEL_TITLES)


def _collect_head(rows: pl.LazyFrame) -> pl.DataFrame:
    """Return the first rows of a large file. The streaming engine doesn't load the whole file into memory."""
    return rows.collect(engine="streaming")


def _model_table(rows: pl.LazyFrame, row_count: int, file_preview: Preview, model: str, summary: ScoreSummary) -> None:
    summaries_by_model = {row["model"]: row for row in summary.models.to_dicts()}
    own, default = summaries_by_model[model], summaries_by_model["p50"]
    caption(
        f"{model} alone: median {own['median']:.1f} minutes, mean {own['mean']:.1f} minutes. Default: median "
        f"{default['median']:.1f} minutes, mean {default['mean']:.1f} minutes. A point model predicts only the mean."
    )
    seconds = pl.col(model_column(model))
    result_columns = {
        "row": pl.col(ROW_COLUMN),
        model: seconds / _SECONDS_PER_MINUTE,
        _DEFAULT_TAB: pl.col(PREDICTED_SECONDS) / _SECONDS_PER_MINUTE,
        "difference": (seconds - pl.col(PREDICTED_SECONDS)) / _SECONDS_PER_MINUTE,
    }
    shown_rows = rows.head(MAX_SHOWN_ROWS).select(_combine_columns(result_columns, file_preview))
    _show_table(
        _collect_head(shown_rows),
        row_count,
        {model: "%.1f min", _DEFAULT_TAB: "%.1f min", "difference": "%+.1f min"},
    )


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
    return named_rows.select(_combine_columns({"row": pl.col(ROW_COLUMN), "reason": reason}, file_preview))


def _ready_at_text(several_days: bool) -> pl.Expr:
    """Return the local time to the nearest minute, with the date if there are several. The text sorts by time."""
    ready_at = pl.col(PREDICTED_READY_AT).str.head(19).str.to_datetime("%Y-%m-%d %H:%M:%S")
    return ready_at.dt.offset_by("30s").dt.strftime("%Y-%m-%d %H:%M" if several_days else "%H:%M")


def _scan_rows(result: ScoredFile) -> pl.LazyFrame:
    """Return every row, numbered from 1. No file has a column with the name `ROW_COLUMN`."""
    return pl.scan_parquet(result.path, glob=False).with_row_index(ROW_COLUMN, 1)


def _combine_columns(result_columns: dict[str, pl.Expr], file_preview: Preview) -> list[pl.Expr]:
    """Return the row number, the file's identifying columns, the results, and the file's other columns.

    A column of the file with the name of a result column gets the suffix ` (file)`. Columns of an earlier scoring are
    left out.
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
        caption(f"The first {len(rows):,} of {row_count:,} rows. The download contains all rows.")
    config = {name: st.column_config.NumberColumn(format=number_format) for name, number_format in formats.items()}
    st.dataframe(rows, hide_index=True, column_config=config, placeholder=formatting.EMPTY_CELL)


def _histogram_median(histogram: pl.DataFrame) -> float | None:
    """Return the median of a histogram, rounded to the middle of its bar."""
    if not len(histogram):
        return None
    cumulative = histogram["orders"].cum_sum()
    index = int((cumulative * 2 >= cumulative[-1]).arg_max() or 0)
    return float(histogram["minutes"][index]) + float(histogram["width"][index]) / 2


def _to_seconds(minutes: float | None) -> float | None:
    return None if minutes is None else minutes * _SECONDS_PER_MINUTE
