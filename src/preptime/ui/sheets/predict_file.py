"""A file of orders on the page Predict: brought, looked at, and predicted."""

from __future__ import annotations

import datetime as dt
import io

import numpy as np
import streamlit as st

from preptime.domain.verdict import validation_rule
from preptime.errors import DataError, PreptimeError
from preptime.features.directory import RestaurantIndex, Vocabularies
from preptime.scoring.download import iter_csv_chunks
from preptime.scoring.preview import MAX_REJECTED_ROWS, PREVIEW_ROWS, VALIDATION_RESULT, Preview, preview_file
from preptime.scoring.sample import sample_orders
from preptime.scoring.summary import summarize
from preptime.ui import words
from preptime.ui.access import DashboardContext
from preptime.ui.asking import LOCAL_MODE, Predictor, explain_api_error, known_restaurants
from preptime.ui.desk import MAX_UPLOAD_MB, ScoredFile, Upload, get_upload_session, release_upload_memory
from preptime.ui.downloads import get_download_registry
from preptime.ui.parts import caption, progress_bar, show_error, show_info, show_success
from preptime.ui.sheets.predict_results import draw_results

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
                label = f"Predict {words.format_count(file_preview.predictable, 'order')}"
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
    size_text = words.format_size(upload.size_bytes)
    refused_count = file_preview.rows - file_preview.predictable
    summary_text = f"{upload.name}: {words.format_count(file_preview.rows, 'order')}, {size_text}."
    unknown_restaurants_text = ""
    if knows_restaurants and file_preview.unknown_restaurant_rows:
        unknown_restaurants_text = f"{words.format_count(file_preview.unknown_restaurant_rows, 'order')} of restaurants not known yet: answered from coarser history."
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
            placeholder=words.EMPTY_CELL,
            column_config={VALIDATION_RESULT: st.column_config.TextColumn(pinned=True, width="medium")},
        )
    if refused_count:
        shown_count = file_preview.rejected_cells["row"].n_unique()
        limit_text = "" if shown_count == refused_count else f", the first {MAX_REJECTED_ROWS:,}"
        with st.expander(
            f"The {words.format_count(refused_count, 'row')} without a prediction{limit_text}", key="refused"
        ):
            st.dataframe(file_preview.rejected_cells, hide_index=True, placeholder=words.EMPTY_CELL)


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
