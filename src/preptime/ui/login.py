"""Sign-in: a dashboard that other machines can reach requires a key, as the API does."""

from __future__ import annotations

import streamlit as st

from preptime.errors import UsageError
from preptime.keys import EXAMPLE_KEY, Keys, load_api_keys
from preptime.network import is_loopback
from preptime.settings import Settings
from preptime.ui.components import show_error

_SESSION_KEY = "login_key"


def allowed_keys(settings: Settings) -> Keys | None:
    """Return the keys that can sign in, or None if only this machine can reach the dashboard.

    Raises `UsageError` if other machines can reach it and no named key or the example key is configured.
    """
    if is_loopback(settings.ui_host):
        return None
    keys = load_api_keys(settings.api_keys, "", loopback=False, required=False)
    operators = Keys.from_setting(settings.operator_keys, "PREPTIME_OPERATOR_KEYS")
    if operators.name_of(EXAMPLE_KEY):
        raise UsageError(
            f"PREPTIME_OPERATOR_KEYS contains {EXAMPLE_KEY!r}, the example key from the documentation.",
            "Replace it with the output of `preptime keys new NAME`.",
        )
    all_keys = Keys((*keys.entries, *operators.entries))
    if not all_keys:
        raise UsageError(
            f"Other machines can reach {settings.ui_host}, but no key is configured for the dashboard.",
            "Create a key with `preptime keys new NAME`, or set PREPTIME_UI_HOST=127.0.0.1.",
        )
    return all_keys


def require_login(keys: Keys | None) -> bool:
    """Return whether this session is signed in; if not, show the sign-in form. Only session memory holds the key."""
    if keys is None or keys.name_of(session_key()) is not None:
        return True
    st.title("preptime")
    with st.form("login", width=420, border=False):
        entered_key = st.text_input(
            "Key", type="password", help="A key of this installation. To create one, run `preptime keys new NAME`."
        )
        if st.form_submit_button("Sign in", type="primary"):
            if keys.name_of(entered_key) is not None:
                st.session_state[_SESSION_KEY] = entered_key
                st.rerun()
            show_error(
                "This key isn't configured on this installation.", "Ask the operator of the dashboard for a key."
            )
    return False


def session_key() -> str:
    """Return the key that signed in to this session. It's empty if the dashboard requires no key."""
    return str(st.session_state.get(_SESSION_KEY, ""))
