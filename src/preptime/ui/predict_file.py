"""The tab "Upload a file" of the page Predict: upload, validation, predictions, charts, and downloads."""

from __future__ import annotations

import datetime as dt
import io

import polars as pl
import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from preptime.domain.orders import FALLBACK_LEVELS
from preptime.domain.time_units import MINUTES, TimeUnit
from preptime.domain.validation_reasons import ValidationReason, validation_rule
from preptime.errors import DataError, PreptimeError
from preptime.evaluation.summary_text import hours_without_orders
from preptime.features.restaurant_index import RestaurantIndex
from preptime.formatting import format_count
from preptime.schema.schema import Schema, Target
from preptime.scoring.download import iter_csv_chunks
from preptime.scoring.preview import (
    MAX_REJECTED_ROWS,
    PREVIEW_ROWS,
    VALIDATION_RESULT,
    Preview,
    preview_file,
    sample_orders,
)
from preptime.scoring.remote_scoring import NO_RESTAURANTS
from preptime.scoring.score_document import ScoreDocument
from preptime.scoring.scorer import RESTAURANT_DIFFERS
from preptime.scoring.summary import BAR_MINUTES, MAX_MINUTES, ScoreSummary, summarize
from preptime.scoring.travel_column import TravelColumn
from preptime.ui import formatting, prediction_charts
from preptime.ui.components import (
    Column,
    caption,
    data_table,
    download_links,
    metric_cards,
    progress_bar,
    show_error,
    show_failures,
    show_info,
    show_success,
    unframed_chart,
)
from preptime.ui.connections import DashboardContext
from preptime.ui.dispatch_fields import travel_column_field
from preptime.ui.display_names import FALLBACK_LEVEL_TITLES
from preptime.ui.prediction_tables import prediction_tables, rejected_table
from preptime.ui.predictors import (
    LOCAL_MODE,
    Predictor,
    explain_api_error,
    known_field_values,
    known_restaurants,
    prediction_schema,
)
from preptime.ui.session_registry import MEGABYTE
from preptime.ui.theme import palette
from preptime.ui.upload_session import (
    ScoredFile,
    Upload,
    check_decompressed_size,
    get_download_registry,
    get_upload_session,
    release_upload_memory,
    remove_downloads,
)

_FORMAT_TITLES = {"csv": "CSV", "parquet": "Parquet"}
_REJECTED_COLUMNS = (
    Column("row", "row", "count"),
    Column("reason", "reason", "long"),
    Column("column", "column"),
    Column("value", "value"),
    Column("expected", "expected"),
)
_UPLOAD_COUNTER = "upload_number"
_DEFAULT_SAMPLE_DATE = dt.date(2015, 7, 1)
"""The date of the sample orders without a champion. With one, its as-of date is used."""


def draw_file(predictor: Predictor | None, mode: str, context: DashboardContext) -> None:
    """Draw the upload, its validation, and its predictions. Without a predictor, a file is only validated."""
    schema = prediction_schema(predictor, context)
    restaurants = known_restaurants(context)
    upload = _receive_upload(predictor, schema, restaurants, context)
    if upload is None:
        return
    with upload.with_original_name():
        file_preview = _preview_once(upload, predictor, schema, restaurants)
        _show_validation(upload, file_preview, knows_restaurants=restaurants is not None)
        travel = travel_column_field(file_preview, schema, context.settings) if file_preview.predictable else None
        result = upload.results_by_mode.get(mode)
        if result is not None and result.travel != travel:
            remove_downloads(upload.results_by_mode.pop(mode))
            result = None
        with st.container(horizontal=True):
            is_predict_clicked = False
            if result is None and predictor is not None and file_preview.predictable:
                label = f"Predict {format_count(file_preview.predictable, 'order')}"
                is_predict_clicked = st.button(label, type="primary", key="predict", icon=":material/timer:")
            st.button("Remove file", key="remove_file", on_click=get_upload_session().clear)
        if is_predict_clicked and predictor is not None:
            upload.results_by_mode[mode] = _predict(upload, predictor, mode, travel, context)
            st.rerun()
    if result is not None:
        _draw_results(result, file_preview)


def _receive_upload(
    predictor: Predictor | None, schema: Schema, restaurants: RestaurantIndex | None, context: DashboardContext
) -> Upload | None:
    """Return the uploaded file, the sample, or the file uploaded earlier in this session."""
    upload_column, sample_column = st.columns([3, 2], gap="large", vertical_alignment="top")
    with upload_column:
        # Streamlit keeps an uploaded file in memory as long as its widget exists. After the file is saved, a new
        # widget with another key replaces this one.
        upload_number = int(st.session_state.get(_UPLOAD_COUNTER, 0))
        key = f"orders_file_{upload_number}"
        uploaded_file = st.file_uploader(
            f"Orders as CSV or Parquet, up to {context.settings.ui_max_upload_mb:,} MB",
            key=key,  # Every type is accepted, because the validation explains what is wrong with the others.
        )
    if uploaded_file is not None and _save(uploaded_file, context.settings.ui_max_upload_mb * MEGABYTE):
        release_upload_memory(uploaded_file)
        del st.session_state[key]  # which holds another copy
        st.session_state[_UPLOAD_COUNTER] = upload_number + 1
        st.rerun()
    with sample_column:
        caption("No file yet? Try fifty sample orders. Two of them are invalid on purpose.")
        sample_date = _DEFAULT_SAMPLE_DATE if restaurants is None else context.bundle().manifest.date
        values = {} if predictor is None else known_field_values(context, predictor.bundle_id)
        sample = sample_orders(restaurants, sample_date, schema, values)
        content = sample.write_csv(separator=schema.source.delimiter or ",").encode()
        with st.container(horizontal=True):
            if st.button("Try the sample", key="use_sample"):
                get_upload_session().save("sample-orders.csv", io.BytesIO(content))
            st.download_button(
                "Download the sample", content, "sample-orders.csv", "text/csv", key="sample", on_click="ignore"
            )
    return get_upload_session().upload


def _save(file: UploadedFile, max_bytes: int) -> bool:
    """Save an uploaded file. Return False, and show why, if it can't be saved."""
    saved: list[Upload] = []
    with show_failures():
        check_decompressed_size(file.name, file, max_bytes)
        saved.append(get_upload_session().save(file.name, file))
    return bool(saved)


def _preview_once(
    upload: Upload, predictor: Predictor | None, schema: Schema, restaurants: RestaurantIndex | None
) -> Preview:
    """Return the validation of every row. It runs once for each upload."""
    if upload.preview is None:
        with progress_bar() as progress:
            upload.preview = preview_file(
                str(upload.path),
                restaurants or NO_RESTAURANTS,
                schema,
                bundle_id="" if predictor is None else predictor.bundle_id,
                progress=progress,
            )
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
        subject = "It" if file_preview.rows == 1 else "All orders"
        show_success(f"{summary_text} {subject} can be predicted.", unknown_restaurants_text)
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
            column_config={VALIDATION_RESULT: st.column_config.TextColumn("validation result", width="large")},
        )
    if rejected_count:
        shown_count = file_preview.rejected_cells["row"].n_unique()
        limit_text = "" if shown_count == rejected_count else f", the first {MAX_REJECTED_ROWS:,}"
        with st.expander(f"{format_count(rejected_count, 'row')} without a prediction{limit_text}", key="rejected"):
            data_table(file_preview.rejected_cells.to_dicts(), _REJECTED_COLUMNS, key="rejected-cells")


def _predict(
    upload: Upload, predictor: Predictor, mode: str, travel: TravelColumn | None, context: DashboardContext
) -> ScoredFile:
    """Score the upload into a Parquet file in the same folder."""
    output_path = upload.path.with_name("local.parquet" if mode == LOCAL_MODE else "api.parquet")
    try:
        with progress_bar() as progress:
            document = predictor.score(upload.path, output_path, progress, travel)
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
        summarize(output_path, predictor.models, restaurant_column=predictor.schema.orders["restaurant_id"].column),
        predictor.models,
        predictor.weak_models,
        predictor.schema,
        downloads_by_format,
        csv_error,
        travel,
    )


def _draw_results(result: ScoredFile, file_preview: Preview) -> None:
    """Draw everything about a scored file."""
    document, summary = result.document, result.summary
    st.subheader("Predictions")
    _summary_cards(result)
    if document.unknown_restaurants:
        levels = ", ".join(
            f"{FALLBACK_LEVEL_TITLES[level]} {count:,}" for level, count in document.unknown_restaurants.items()
        )
        orders = format_count(sum(document.unknown_restaurants.values()), "order")
        caption(f"{orders} of unknown restaurants, predicted from coarser history: {levels}.")
    _order_flags(document, result.schema)
    if result.travel is not None:
        _dispatch_text(result.travel, document.without_dispatch)
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
        prediction_tables(result, file_preview)
    if document.rejected:
        st.subheader("Rows without a prediction")
        rejected_table(result, file_preview, sum(document.rejected.values()))
    if summary.predicted:
        _summary_charts(summary, result.schema.target)


def _order_flags(document: ScoreDocument, schema: Schema) -> None:
    """Show predictions of contradictory orders, and those without values of custom features."""
    if document.restaurant_differs:
        orders = format_count(document.restaurant_differs, "order")
        show_info(
            f"{orders} predicted with a country or city that isn't that of the restaurant in the bundle.",
            f"They may be of other restaurants with the same IDs. The column {RESTAURANT_DIFFERS} of the download "
            "marks them.",
        )
    for feature in schema.order_features:
        missing, invalid = (
            counts.get(feature.name, 0) for counts in (document.missing_features, document.invalid_features)
        )
        if missing or invalid:
            invalid_text = f", of which {invalid:,} can't be used" if invalid else ""
            orders = format_count(missing + invalid, "order")
            caption(f"{orders} predicted without a value of {feature.display_name}{invalid_text}.")


def _dispatch_text(travel: TravelColumn, without_dispatch: dict[str, int]) -> None:
    """Say when couriers arrive, and why orders have no dispatch time."""
    caption(
        f"With the travel times in {travel.name}, each courier is sent so that it arrives at the {travel.level:.0%} "
        "quantile of the ready time, but not before the acknowledgement."
    )
    if without_dispatch:
        reasons = "; ".join(
            f"{validation_rule(ValidationReason(reason)).description.lower()}: {count:,}"
            for reason, count in without_dispatch.items()
        )
        orders = format_count(sum(without_dispatch.values()), "order")
        show_info(f"{orders} predicted without a dispatch time.", f"In {travel.name}: {reasons}.")


def _summary_cards(result: ScoredFile) -> None:
    document, summary, target = result.document, result.summary, result.schema.target
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
                f"Median {target.title}",
                formatting.format_duration(_to_seconds(default_model_summary["median"]), target.time_unit),
                "median of the p50 predictions",
            ),
            (
                "Median interval width",
                formatting.format_duration(_to_seconds(median_width), target.time_unit),
                "p10 to p90",
            ),
            ("Bundle", document.bundle, "that made the predictions"),
        ]
    )


def _summary_charts(summary: ScoreSummary, target: Target) -> None:
    colors, title, unit = palette(), target.title, target.time_unit
    left, right = st.columns(2, gap="large")
    limit_text = f" The last bar contains all orders above {unit.tick(MAX_MINUTES - 2)} {unit.name}."
    with left:
        tail_text = limit_text if summary.distribution["minutes"].to_list()[-1] == MAX_MINUTES - 2 else ""
        unframed_chart(
            f"Predicted {title}",
            f"Number of orders by predicted {title} (p50). A bar covers {_bar_width_text(unit)}.{tail_text}",
            prediction_charts.duration_histogram(
                summary.distribution, f"{title} (p50), {unit.name}", colors, unit=unit
            ),
        )
        unframed_chart(
            "By hour",
            "Ticks are the median prediction at each local hour. Bars are the median p10 to the median p90. "
            f"{hours_without_orders(summary.by_hour['hour'].to_list())}",
            prediction_charts.prediction_by_hour(summary.by_hour, colors, unit),
        )
    with right:
        tail_text = limit_text if summary.widths["minutes"].to_list()[-1] == MAX_MINUTES - 2 else ""
        unframed_chart(
            "Uncertainty",
            f"Number of orders by the width of their interval, p10 to p90.{tail_text}",
            prediction_charts.duration_histogram(
                summary.widths, f"{unit.name} from p10 to p90", colors, color=colors.band, unit=unit
            ),
        )
        orders_by_level = dict(summary.fallback_level.iter_rows())
        levels_text = ", ".join(
            f"{FALLBACK_LEVEL_TITLES[name]} {orders_by_level[name]:,}"
            for name in FALLBACK_LEVELS
            if name in orders_by_level
        )
        unframed_chart(
            "By restaurant",
            "The restaurants with the most orders. Dots are the median prediction, lines the median p10 to p90. "
            f"Orders by fallback level: {levels_text}.",
            prediction_charts.prediction_by_restaurant(summary.by_restaurant.head(10), colors, unit),
        )


def _bar_width_text(unit: TimeUnit) -> str:
    return "two minutes" if unit is MINUTES else f"{unit.tick(BAR_MINUTES)} {unit.name}"


def _histogram_median(histogram: pl.DataFrame) -> float | None:
    """Return the median of a histogram, rounded to the middle of its bar."""
    if not len(histogram):
        return None
    cumulative = histogram["orders"].cum_sum()
    index = int((cumulative * 2 >= cumulative[-1]).arg_max() or 0)
    return float(histogram["minutes"][index]) + float(histogram["width"][index]) / 2


def _to_seconds(minutes: float | None) -> float | None:
    return None if minutes is None else minutes * MINUTES.seconds
