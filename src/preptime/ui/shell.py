"""What every page stands in: title, style, navigation, and the door where the page is open to other machines."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import cast

import streamlit as st

from preptime.ui.access import get_context
from preptime.ui.door import allowed_keys, require_login
from preptime.ui.parts import show_failures
from preptime.ui.style import STYLE

_ICON_PATH = str(Path(__file__).with_name("icon.svg"))
"""A file, because a named icon would be fetched from the network."""

PAGES = {
    "predict": ("Predict", ":material/timer:"),
    "models": ("Models", ":material/trophy:"),
    "data": ("Data", ":material/monitoring:"),
    "monitoring": ("Monitoring", ":material/health_metrics:"),
}
"""By the name of the module and in the address: title and icon. The first is where people arrive."""


def run_app() -> None:
    """Draw the page that the address names."""
    st.set_page_config(page_title="preptime", page_icon=_ICON_PATH, layout="wide")
    st.html(STYLE)
    st.logo(_ICON_PATH, size="large")
    with show_failures():
        if require_login(allowed_keys(get_context().settings)):
            _navigate()


def _navigate() -> None:
    pages = [
        st.Page(_lazy_page(name), title=title, icon=icon, url_path=name, default=index == 0)
        for index, (name, (title, icon)) in enumerate(PAGES.items())
    ]
    st.navigation(pages, position="top").run()


def _lazy_page(name: str) -> Callable[[], None]:
    """The page, whose module is imported when somebody looks at it: the first page is not to wait for the others."""

    def render() -> None:
        with show_failures():
            cast(Callable[[], None], import_module(f"preptime.ui.sheets.{name}").page)()

    render.__name__ = name
    return render
