"""The page Predict: the demo's, grown up. A file of orders, or one order, answered here or by the API."""

from __future__ import annotations

import streamlit as st

from preptime.domain.dictionary import TABLES
from preptime.ui.access import Access, access
from preptime.ui.asking import API, LOCAL, Asked, Local, Remote
from preptime.ui.door import key_shown
from preptime.ui.parts import failures, lead, notice
from preptime.ui.sheets.predict_file import draw_file
from preptime.ui.sheets.predict_one import draw_one

_TABS = ("Upload a file", "One order", "Data dictionary")


def page() -> None:
    """Draws it."""
    st.title("When will the food be ready?")
    lead("Upload orders, or describe one. Each gets a time, and how sure it is.")
    mode = _mode()
    reach = access()
    key = _key(reach) if mode == API else ""
    asked: Asked | None = None
    if mode == LOCAL or key:
        with failures():
            asked = Local(reach.bundle()) if mode == LOCAL else Remote.of(reach, key)
            at = "the store here" if mode == LOCAL else reach.api_url
            lead(f"Bundle {asked.bundle_id}, asked of {at}.")
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


def _key(reach: Access) -> str:
    """The key for the API: configured, shown at the door, or typed here. It stays in this session's memory."""
    if reach.settings.api_key or key_shown():
        return reach.settings.api_key or key_shown()
    typed = st.text_input(
        "Key of the API", type="password", key="api_key", autocomplete="off", width=420, placeholder="your key"
    )
    if not typed:
        notice("The API asks for a key.", "Whoever runs it makes one with `preptime keys new NAME`.")
    return typed or ""


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
