"""The page Predict: the demo's, grown up. A file of orders, or one order, answered here or by the API."""

from __future__ import annotations

from contextlib import ExitStack

import streamlit as st

from preptime.domain.dictionary import TABLES
from preptime.ui.access import Access, access
from preptime.ui.asking import API, LOCAL, Asked, Local, Remote, WrongKeyError
from preptime.ui.door import key_shown
from preptime.ui.parts import failures, lead, notice, problem
from preptime.ui.sheets.predict_file import draw_file
from preptime.ui.sheets.predict_one import draw_one

_TYPED, _FIELD = "typed_key", "key_field"
_MAKE_KEY = "Whoever runs it makes one with `preptime keys new NAME`."
_TABS = ("Upload a file", "One order", "Data dictionary")


def page() -> None:
    """Draws it."""
    st.title("When will the food be ready?")
    lead("Upload orders, or describe one. Each gets a time, and how sure it is.")
    mode = _mode()
    reach = access()
    with ExitStack() as ending:
        asked: Asked | None = None
        with failures():
            asked = Local(reach.bundle()) if mode == LOCAL else _api(reach)
        if asked is not None:
            ending.callback(asked.close)
            lead(f"Bundle {asked.bundle_id}, asked of {'the store here' if mode == LOCAL else reach.api_url}.")
        _draw(asked, mode, reach)


def _draw(asked: Asked | None, mode: str, reach: Access) -> None:
    file, one, dictionary = st.tabs(_TABS, key="predict_tab", on_change="rerun")
    if file.open:
        with file, failures():
            draw_file(asked, mode, reach)
    if one.open:
        with one, failures():
            draw_one(asked, reach)
    if dictionary.open:
        with dictionary:
            _dictionary()


def _mode() -> str:
    return st.radio("Who is asked", (LOCAL, API), horizontal=True, key="mode", label_visibility="collapsed") or LOCAL


def _api(reach: Access) -> Asked | None:
    """The API with the key that is typed here, configured, or was shown at the door; asked for until one is known.

    Without any the API is asked all the same: it says whether it wants one, or that nobody is there. A typed key
    leaves its field for this session's memory, so that no page holds it.
    """
    key = str(st.session_state.get(_TYPED, "")) or reach.settings.api_key or key_shown()
    try:
        return Remote.of(reach, key)
    except WrongKeyError as error:
        st.session_state.pop(_TYPED, None)
        if key:
            problem(error.facts, error.hint)
        else:
            notice(f"The API at {reach.api_url} asks for a key.", _MAKE_KEY)
    st.text_input("Key of the API", type="password", key=_FIELD, autocomplete="off", width=420, on_change=_keep_typed)
    return None


def _keep_typed() -> None:
    st.session_state[_TYPED] = st.session_state[_FIELD]
    st.session_state[_FIELD] = ""


def _dictionary() -> None:
    lead("Columns that are not listed are carried through to the output as they are.")
    for table, columns in TABLES.items():
        st.subheader(table)
        rows = [
            {
                "column": column.name,
                "needed": "yes" if "scoring" in column.required else "no",
                "type": column.kind,
                "unit": column.unit,
                "range": column.range,
                "meaning": column.meaning,
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
