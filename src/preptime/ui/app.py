"""The script that Streamlit runs for each page load and each interaction. `preptime ui` starts it (`server.py`).

It draws the frame of every page: logo, navigation, and sign-in where other machines can reach the dashboard.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import cast

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from preptime.ui.components import show_error, show_failures
from preptime.ui.connections import get_context
from preptime.ui.login import allowed_keys, require_login
from preptime.ui.request_guard import CONNECTION_HEADER
from preptime.ui.session_registry import get_session_registry
from preptime.ui.theme import STYLE

_ICON_PATH = str(Path(__file__).with_name("icon.svg"))
"""A file, because the browser would load a named icon from the network."""

PAGES = {
    "predict": ("Predict", ":material/timer:"),
    "models": ("Models", ":material/trophy:"),
    "data": ("Data", ":material/monitoring:"),
    "monitoring": ("Monitoring", ":material/health_metrics:"),
}
"""Title and icon by module name, which is also the URL path. The first page is the default."""


def run_app() -> None:
    """Draw the page that the URL names."""
    st.set_page_config(page_title="preptime", page_icon=_ICON_PATH, layout="wide")
    st.html(STYLE)
    st.logo(_ICON_PATH, size="large")
    with show_failures():
        session_id = _register_session()
        if require_login(allowed_keys(get_context().settings)):
            get_session_registry().sign_in(session_id)
            _show_refused_upload(session_id)
            _navigate()


def _register_session() -> str:
    """Register this session for uploads and for its timeout. Return its ID."""
    script_context = get_script_run_ctx()
    session_id = script_context.session_id if script_context else ""
    get_session_registry().register(session_id, st.context.headers.get(CONNECTION_HEADER, ""))
    return session_id


def _show_refused_upload(session_id: str) -> None:
    refusal = get_session_registry().take_refusal(session_id)
    if refusal is not None:
        show_error(refusal.facts, refusal.hint)


def _navigate() -> None:
    pages = [
        st.Page(_lazy_page(name), title=title, icon=icon, url_path=name, default=index == 0)
        for index, (name, (title, icon)) in enumerate(PAGES.items())
    ]
    st.navigation(pages, position="top").run()


def _lazy_page(name: str) -> Callable[[], None]:
    """Return a function that imports a page's module and draws it. The default page doesn't wait for the others."""

    def render() -> None:
        with show_failures():
            cast(Callable[[], None], import_module(f"preptime.ui.app_pages.{name}").page)()

    render.__name__ = name
    return render


run_app()
