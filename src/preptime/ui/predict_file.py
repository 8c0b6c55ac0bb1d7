"""What became of a file: numbers, pictures, the answers row by row, and the file to take away.

A file of orders on the page Predict: brought, looked at, and predicted.
"""

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
    titled_chart,
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
                f"of {formatting.format_count(document.rows, 'row')}; {refused_count:,} without",
            ),
            (
                "Half are ready within",
                formatting.format_duration(_to_seconds(default_model_summary["median"])),
                "median of the p50s",
            ),
            ("Half of the intervals are under", formatting.format_duration(_to_seconds(median_width)), "p10 to p90"),
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
            prediction_charts.duration_histogram(summary.distribution, "minutes to ready (p50)", colours),
        )
        titled_chart(
            "By hour",
            "The median answer at each hour, on a bar from the median p10 to the median p90.",
            prediction_charts.prediction_by_hour(summary.by_hour, colours),
        )
    with right:
        tail_text = limit_text if summary.widths["minutes"].to_list()[-1] == MAX_MINUTES - 2 else ""
        titled_chart(
            "How sure it is",
            f"Orders by the width of their interval, p10 to p90{tail_text}.",
            prediction_charts.duration_histogram(
                summary.widths, "minutes from p10 to p90", colours, color=colours.band
            ),
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
            prediction_charts.prediction_by_restaurant(summary.by_restaurant.head(10), colours),
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
    st.dataframe(rows, hide_index=True, column_config=config, placeholder=formatting.EMPTY_CELL)


def _histogram_median(histogram: pl.DataFrame) -> float | None:
    """The median of a histogram, to its bar's middle."""
    if not len(histogram):
        return None
    cumulative = histogram["orders"].cum_sum()
    index = int((cumulative * 2 >= cumulative[-1]).arg_max() or 0)
    return float(histogram["minutes"][index]) + float(histogram["width"][index]) / 2


def _to_seconds(minutes: float | None) -> float | None:
    return None if minutes is None else minutes * _SECONDS_PER_MINUTE


_UPLOAD_COUNTER = "upload_number"
_DEFAULT_SAMPLE_DATE = dt.date(2015, 7, 1)
"""The day of a sample where no champion says which morning it knows."""


def draw_file(predictor: Predictor | None, mode: str, context: DashboardContext) -> None:
    """Bring, look, predict, look."""
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
                label = f"Predict {formatting.format_count(file_preview.predictable, 'order')}"
                is_predict_clicked = st.button(label, type="primary", key="predict", icon=":material/timer:")
            st.button("Remove file", key="remove_file", on_click=get_upload_session().clear)
        if is_predict_clicked and predictor is not None:
            upload.results_by_mode[mode] = _predict(upload, predictor, mode, context)
            st.rerun()
    if result is not None:
        draw_results(result, file_preview)


def _receive_upload(restaurants: RestaurantIndex | None, context: DashboardContext) -> Upload | None:
    """What lies on the desk: what was just uploaded, the sample, or what lay there before."""
    upload_column, sample_column = st.columns([3, 2], gap="large", vertical_alignment="top")
    with upload_column:
        # Streamlit holds an uploaded file in memory for as long as its field is there; this one goes when the file
        # lies on the desk, and another takes its place.
        upload_number = int(st.session_state.get(_UPLOAD_COUNTER, 0))
        key = f"orders_file_{upload_number}"
        uploaded_file = st.file_uploader(
            f"Orders as csv or parquet, up to {MAX_UPLOAD_MB} MB", type=["csv", "parquet"], key=key
        )
    if uploaded_file is not None:
        get_upload_session().save(uploaded_file.name, uploaded_file)
        release_upload_memory(uploaded_file)
        del st.session_state[key]  # which holds a copy of its own
        st.session_state[_UPLOAD_COUNTER] = upload_number + 1
        st.rerun()
    with sample_column:
        caption("No file at hand? Fifty orders to try it with; two of them are wrong on purpose.")
        sample_date = _DEFAULT_SAMPLE_DATE if restaurants is None else context.bundle().manifest.date
        content = sample_orders(restaurants, sample_date).write_csv().encode()
        with st.container(horizontal=True):
            if st.button("Try the sample", key="use_sample"):
                get_upload_session().save("sample-orders.csv", io.BytesIO(content))
            st.download_button("Download it", content, "sample-orders.csv", "text/csv", key="sample", on_click="ignore")
    return get_upload_session().upload


def _preview_once(upload: Upload, restaurants: RestaurantIndex | None) -> Preview:
    """The verdict on every row, reached once."""
    if upload.preview is None:
        with progress_bar() as progress:
            upload.preview = preview_file(str(upload.path), restaurants or _NO_RESTAURANTS, progress=progress)
    return upload.preview


def _show_validation(upload: Upload, file_preview: Preview, *, knows_restaurants: bool) -> None:
    size_text = formatting.format_size(upload.size_bytes)
    refused_count = file_preview.rows - file_preview.predictable
    summary_text = f"{upload.name}: {formatting.format_count(file_preview.rows, 'order')}, {size_text}."
    unknown_restaurants_text = ""
    if knows_restaurants and file_preview.unknown_restaurant_rows:
        unknown_restaurants_text = f"{formatting.format_count(file_preview.unknown_restaurant_rows, 'order')} of restaurants not known yet: answered from coarser history."
    if not refused_count:
        show_success(f"{summary_text} All of them can be predicted.", unknown_restaurants_text)
    else:
        reasons_text = "; ".join(
            f"{validation_rule(reason).description.lower()}: {count:,}"
            for reason, count in file_preview.rejected.items()
        )
        show_callout = show_info if file_preview.predictable else show_error
        show_callout(
            f"{summary_text} {refused_count:,} cannot be predicted.",
            f"{reasons_text[:1].upper()}{reasons_text[1:]}. {unknown_restaurants_text}",
        )
    with st.expander(f"Preview with verdicts, the first {min(PREVIEW_ROWS, file_preview.rows):,} rows", key="preview"):
        st.dataframe(
            file_preview.head,
            hide_index=True,
            placeholder=formatting.EMPTY_CELL,
            column_config={VALIDATION_RESULT: st.column_config.TextColumn(pinned=True, width="medium")},
        )
    if refused_count:
        shown_count = file_preview.rejected_cells["row"].n_unique()
        limit_text = "" if shown_count == refused_count else f", the first {MAX_REJECTED_ROWS:,}"
        with st.expander(
            f"The {formatting.format_count(refused_count, 'row')} without a prediction{limit_text}", key="refused"
        ):
            st.dataframe(file_preview.rejected_cells, hide_index=True, placeholder=formatting.EMPTY_CELL)


def _predict(upload: Upload, predictor: Predictor, mode: str, context: DashboardContext) -> ScoredFile:
    """The file, scored into a parquet file beside it."""
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


_NO_RESTAURANTS = RestaurantIndex(
    Vocabularies((), (), (), ("UTC",)), np.zeros(0, np.int64), *(np.zeros(0, np.int32) for _ in range(4))
)
"""Restaurants where none is known: whether a cell can be read needs no more."""
