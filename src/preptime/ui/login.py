"""The door: a page that other machines can reach asks its visitors for a key, as the API does."""

from __future__ import annotations

import streamlit as st

from preptime.errors import UsageError
from preptime.keys import EXAMPLE_KEY, Keys, load_api_keys
from preptime.settings import Settings, is_loopback
from preptime.ui.components import show_error

_SESSION_KEY = "login_key"


def allowed_keys(settings: Settings) -> Keys | None:
    """The keys that open the page to a visitor; None where only this machine can reach it, and nobody is asked.

    Raises `UsageError` where other machines can reach it and no named key is configured, or one is the examples'.
    """
    if is_loopback(settings.ui_host):
        return None
    keys = load_api_keys(settings.api_keys, "", loopback=False, required=False)
    operators = Keys.from_setting(settings.operator_keys, "PREPTIME_OPERATOR_KEYS")
    if operators.name_of(EXAMPLE_KEY):
        raise UsageError(
            f"PREPTIME_OPERATOR_KEYS holds {EXAMPLE_KEY!r}, the key of the examples.",
            "Make another: `preptime keys new NAME`.",
        )
    all_keys = Keys((*keys.entries, *operators.entries))
    if not all_keys:
        raise UsageError(
            f"The page would listen on {settings.ui_host}, where other machines reach it, and no key is configured.",
            "Make one with `preptime keys new NAME`, or listen on 127.0.0.1.",
        )
    return all_keys


def require_login(keys: Keys | None) -> bool:
    """Whether this person may come in; if not, they are asked for a key. A key lives in this session's memory alone."""
    if keys is None or keys.name_of(session_key()) is not None:
        return True
    st.title("preptime")
    with st.form("login", width=420, border=False):
        entered_key = st.text_input(
            "Your key", type="password", help="A key of this installation: `preptime keys new NAME`."
        )
        if st.form_submit_button("Log in", type="primary"):
            if keys.name_of(entered_key) is not None:
                st.session_state[_SESSION_KEY] = entered_key
                st.rerun()
            show_error("That is no key of this installation.", "Ask whoever runs it for one.")
    return False


def session_key() -> str:
    """The key that this person came in with; empty where nobody is asked."""
    return str(st.session_state.get(_SESSION_KEY, ""))
