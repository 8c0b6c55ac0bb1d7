"""The page Predict: predictions for a file or one order, from a bundle in this process or from the API."""

from __future__ import annotations

from contextlib import ExitStack

import streamlit as st

from preptime.domain.data_dictionary import DATA_DICTIONARY
from preptime.ui.components import caption, show_error, show_failures, show_info
from preptime.ui.connections import DashboardContext, get_context
from preptime.ui.login import session_key
from preptime.ui.predict_file import draw_file
from preptime.ui.predict_order import draw_single_order
from preptime.ui.predictors import API_MODE, LOCAL_MODE, ApiPredictor, KeyRejectedError, LocalPredictor, Predictor

_ENTERED_API_KEY, _API_KEY_FIELD = "entered_api_key", "api_key_field"
_CREATE_KEY_HINT = "The operator of the API creates keys with `preptime keys new NAME`."
_TABS = ("Upload a file", "One order", "Data dictionary")


def page() -> None:
    """Draw the page."""
    st.title("When will the food be ready?")
    caption("Upload orders, or describe one order. Each gets a predicted time and an interval.")
    mode = _choose_mode()
    context = get_context()
    with ExitStack() as stack:
        predictor: Predictor | None = None
        with show_failures():
            predictor = LocalPredictor(context.bundle()) if mode == LOCAL_MODE else _api_predictor(context)
        if predictor is not None:
            stack.callback(predictor.close)
            source_text = "loaded from the store" if mode == LOCAL_MODE else f"served by the API at {context.api_url}"
            caption(f"Bundle {predictor.bundle_id}, {source_text}.")
        _draw_tabs(predictor, mode, context)


def _draw_tabs(predictor: Predictor | None, mode: str, context: DashboardContext) -> None:
    file_tab, single_tab, dictionary_tab = st.tabs(_TABS, key="predict_tab", on_change="rerun")
    if file_tab.open:
        with file_tab, show_failures():
            draw_file(predictor, mode, context)
    if single_tab.open:
        with single_tab, show_failures():
            draw_single_order(predictor, context)
    if dictionary_tab.open:
        with dictionary_tab:
            _data_dictionary()


def _choose_mode() -> str:
    return (
        st.radio("Prediction source", (LOCAL_MODE, API_MODE), horizontal=True, key="mode", label_visibility="collapsed")
        or LOCAL_MODE
    )


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
            show_info(f"The API at {context.api_url} requires a key.", _CREATE_KEY_HINT)
    st.text_input(
        "API key", type="password", key=_API_KEY_FIELD, autocomplete="off", width=420, on_change=_keep_entered_key
    )
    return None


def _keep_entered_key() -> None:
    st.session_state[_ENTERED_API_KEY] = st.session_state[_API_KEY_FIELD]
    st.session_state[_API_KEY_FIELD] = ""


def _data_dictionary() -> None:
    caption("Other columns are copied to the output unchanged.")
    for table, columns in DATA_DICTIONARY.items():
        st.subheader(table)
        rows = [
            {
                "column": column.name,
                "required": "yes" if "scoring" in column.required_for else "no",
                "type": column.data_type,
                "unit": column.unit,
                "range": column.range_text,
                "meaning": column.description,
                "example": column.example,
            }
            for column in columns
        ]
        st.dataframe(
            rows,
            hide_index=True,
            height="content",
            column_config={"meaning": st.column_config.TextColumn(width="large")},
        )
