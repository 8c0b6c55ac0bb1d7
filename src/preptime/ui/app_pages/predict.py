"""The page Predict: predictions for one order or a file, from a bundle in this process or from the API."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import streamlit as st

from preptime.domain.data_dictionary import ORDERS_DICTIONARY, OUTCOME_COLUMNS, RESTAURANTS_DICTIONARY, TARGET
from preptime.domain.data_dictionary import Column as SchemaEntry
from preptime.errors import PreptimeError
from preptime.evaluation.overview import summarize_bundle
from preptime.evaluation.summary_text import NO_VALUE
from preptime.formatting import format_count
from preptime.monitoring.document import MonitoringDocument, read_monitoring_history
from preptime.schema.schema import CustomFeature, Schema, Target
from preptime.sources.results import MONITORING_FILE, ResultsFolder
from preptime.ui.components import Column, caption, data_table, definition_list, show_error, show_failures, show_info
from preptime.ui.connections import DashboardContext, get_context
from preptime.ui.login import session_key
from preptime.ui.predict_file import draw_file
from preptime.ui.predict_order import draw_single_order
from preptime.ui.predictors import (
    API_MODE,
    LOCAL_MODE,
    ApiPredictor,
    KeyRejectedError,
    LocalPredictor,
    Predictor,
    prediction_schema,
)

_ENTERED_API_KEY, _API_KEY_FIELD = "entered_api_key", "api_key_field"
_CREATE_KEY_HINT = "The operator of the API creates keys with `preptime keys new NAME`."
_DICTIONARY_COLUMNS = (
    Column("column", "column"),
    Column("required", "required"),
    Column("type", "type"),
    Column("unit", "unit"),
    Column("range", "range"),
    Column("meaning", "meaning", "long"),
    Column("example", "example"),
)
_Row = dict[str, object]
_TABS = ("One order", "Upload a file", "Data dictionary")


def page() -> None:
    """Draw the page."""
    context = get_context()
    title = st.empty()
    title.title(_title(context.schema()))
    caption("Describe one order, or upload orders. Each gets a predicted time and an interval.")
    _champion_status(context)
    mode = _choose_mode(context)
    with ExitStack() as stack:
        predictor: Predictor | None = None
        with show_failures():
            predictor = LocalPredictor(context.bundle()) if mode == LOCAL_MODE else _api_predictor(context)
        if predictor is not None:
            title.title(_title(predictor.schema))
            stack.callback(predictor.close)
            if mode == API_MODE:
                caption(f"Bundle {predictor.bundle_id}, served by the API at {context.api_name}.")
        _draw_tabs(predictor, mode, context)


def _title(schema: Schema) -> str:
    return f"When will the order be {schema.target.event}?"


def _draw_tabs(predictor: Predictor | None, mode: str, context: DashboardContext) -> None:
    single_tab, file_tab, dictionary_tab = st.tabs(_TABS, key="predict_tab", on_change="rerun")
    if single_tab.open:
        with single_tab, show_failures():
            draw_single_order(predictor, context)
    if file_tab.open:
        with file_tab, show_failures():
            draw_file(predictor, mode, context)
    if dictionary_tab.open:
        with dictionary_tab, show_failures():
            _data_dictionary(prediction_schema(predictor, context))


def _choose_mode(context: DashboardContext) -> str:
    """Return the prediction source. The user chooses only if both exist."""
    if not context.has_champion():
        return API_MODE if context.has_api() else LOCAL_MODE
    if not context.has_api():
        return LOCAL_MODE
    with st.expander("Advanced"):
        return st.radio("Prediction source", (LOCAL_MODE, API_MODE), horizontal=True, key="mode") or LOCAL_MODE


def _api_predictor(context: DashboardContext) -> Predictor | None:
    """Return the API with the entered key, the configured key, or the sign-in key; else show a field for the key.

    Without a key, the API is asked too, because it might not require one. An entered key moves from its field to
    session memory, so that the page doesn't contain it.
    """
    key = str(st.session_state.get(_ENTERED_API_KEY, "")) or context.settings.api_key or session_key()
    try:
        return ApiPredictor.from_context(context, key)
    except KeyRejectedError as error:
        st.session_state.pop(_ENTERED_API_KEY, None)
        if key:
            show_error(error.facts, error.hint)
        else:
            show_info(f"The API at {context.api_name} requires a key.", _CREATE_KEY_HINT)
    st.text_input(
        "API key", type="password", key=_API_KEY_FIELD, autocomplete="off", width=420, on_change=_keep_entered_key
    )
    return None


def _keep_entered_key() -> None:
    st.session_state[_ENTERED_API_KEY] = st.session_state[_API_KEY_FIELD]
    st.session_state[_API_KEY_FIELD] = ""


def _data_dictionary(schema: Schema) -> None:
    caption("Other columns are copied to the output unchanged.")
    for table, rows in _dictionary_rows(schema).items():
        st.subheader(table)
        data_table(rows, _DICTIONARY_COLUMNS, key=f"dictionary-{table}")


def _dictionary_rows(schema: Schema) -> dict[str, list[_Row]]:
    """Return the rows of the columns of orders and of restaurants, by table."""
    return {
        "orders": [*_order_rows(schema), *map(_feature_row, schema.order_features)],
        "restaurants": [
            *(_column_row(column, schema.restaurant_column(column.name)) for column in RESTAURANTS_DICTIONARY),
            *map(_feature_row, schema.restaurant_features),
        ],
    }


def _order_rows(schema: Schema) -> Iterator[_Row]:
    for declaration in ORDERS_DICTIONARY:
        if not schema.has(declaration.name):
            continue
        column = schema.column(declaration.name)
        row = _column_row(column.declaration, column.source)
        if declaration.name == "order_value":
            row["unit"] = column.unit or schema.currency or declaration.unit
        elif column.unit:
            row["unit"] = column.unit
        if column.unit:
            row["range"] = column.expected_text.removeprefix(f"a number of {column.unit} ")
        if column.timestamp_format.pattern:
            row["example"] = column.timestamp_format.pattern
        if schema.target != Target():
            row["meaning"] = _meaning(declaration, schema.target)
        yield row


def _column_row(column: SchemaEntry, source: str) -> _Row:
    return {
        "column": source,
        "required": "yes" if "scoring" in column.required_for else "no",
        "type": column.data_type,
        "unit": column.unit,
        "range": column.range_text,
        "meaning": _plain_text(column.description),
        "example": column.example,
    }


def _meaning(column: SchemaEntry, target: Target) -> str:
    """Return the meaning of a column without the words of a preparation."""
    if column.name in OUTCOME_COLUMNS:
        known = f"The target: {target.title}" if column.name == TARGET else f"When the order was {target.event}"
        return f"{known}. Only training needs it"
    return _plain_text(column.description).replace(" in the kitchen", "")


def _plain_text(markdown: str) -> str:
    """Return a description without the marks of code, which a table would show."""
    return markdown.replace("`", "")


def _feature_row(feature: CustomFeature) -> _Row:
    owner = "Known when the order is acknowledged" if feature.of == "order" else "The same for all of its orders"
    return {
        "column": feature.column,
        "required": "yes" if feature.required else "no",
        "type": feature.type,
        "unit": feature.unit,
        "range": f"from {feature.range[0]:,.10g} to {feature.range[1]:,.10g}" if feature.range else "",
        "meaning": f"{feature.display_name[:1].upper()}{feature.display_name[1:]}. {owner}",
        "example": "",
    }


def _champion_status(context: DashboardContext) -> None:
    """Draw the champion's age, error, and latest alerts. Without a champion, draw nothing: the page shows the error."""
    try:
        manifest = context.bundle().manifest
    except PreptimeError:
        return
    summary = summarize_bundle(manifest)
    unit = manifest.schema.target.time_unit
    mean_error = NO_VALUE if summary.mae is None else f"{unit.text(summary.mae)} in the backtest"
    status = {
        "champion": manifest.id,
        "history as of": f"{manifest.date} ({_age_text(manifest.date)})",
        "mean error": mean_error,
    }
    document = _latest_document(context.settings.results)
    if document is not None:
        alerts_text = format_count(len(document.alerts), "alert") if document.alerts else document.status
        status["monitoring"] = f"{alerts_text} on {document.date}"
    definition_list(status)


def _age_text(date: dt.date) -> str:
    days = (dt.datetime.now(dt.UTC).date() - date).days
    return "today" if days <= 0 else f"{format_count(days, 'day')} ago"


def _latest_document(results_path: str) -> MonitoringDocument | None:
    results = ResultsFolder(Path(results_path))
    days = results.days(MONITORING_FILE)
    if not days:
        return None
    return _read_latest(results_path, results.path(days[-1], MONITORING_FILE).stat().st_mtime_ns)


@st.cache_resource(max_entries=2, show_spinner=False)
def _read_latest(results_path: str, _modified_time: int) -> MonitoringDocument | None:
    """Return the latest monitoring document, or None if it's damaged: the page Monitoring shows the error."""
    documents = read_monitoring_history(ResultsFolder(Path(results_path)), limit=1).documents
    return documents[0] if documents else None
