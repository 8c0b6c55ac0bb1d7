"""The door: a page that other machines can reach asks its visitors for a key, as the API does."""

from __future__ import annotations

import streamlit as st

from preptime.errors import UsageError
from preptime.keys import EXAMPLE_KEY, Keys, serving_keys
from preptime.settings import Settings
from preptime.settings.address import is_loopback
from preptime.ui.parts import problem

_KEY = "key_at_the_door"


def visitors(settings: Settings) -> Keys | None:
    """The keys that open the page to a visitor; None where only this machine can reach it, and nobody is asked.

    Raises `UsageError` where other machines can reach it and no named key is configured, or one is the examples'.
    """
    if is_loopback(settings.ui_host):
        return None
    keys = serving_keys(settings.api_keys, "", loopback=False, required=False)
    operators = Keys.of(settings.operator_keys, "PREPTIME_OPERATOR_KEYS")
    if operators.name_of(EXAMPLE_KEY):
        raise UsageError(
            f"PREPTIME_OPERATOR_KEYS holds {EXAMPLE_KEY!r}, the key of the examples.",
            "Make another: `preptime keys new NAME`.",
        )
    every = Keys((*keys.entries, *operators.entries))
    if not every:
        raise UsageError(
            f"The page would listen on {settings.ui_host}, where other machines reach it, and no key is configured.",
            "Make one with `preptime keys new NAME`, or listen on 127.0.0.1.",
        )
    return every


def is_open(keys: Keys | None) -> bool:
    """Whether this person may come in; if not, they are asked for a key. A key lives in this session's memory alone."""
    if keys is None or keys.name_of(key_shown()) is not None:
        return True
    st.title("preptime")
    with st.form("door", width=420, border=False):
        shown = st.text_input("Your key", type="password", help="A key of this installation: `preptime keys new NAME`.")
        if st.form_submit_button("Come in", type="primary"):
            if keys.name_of(shown) is not None:
                st.session_state[_KEY] = shown
                st.rerun()
            problem("That is no key of this installation.", "Ask whoever runs it for one.")
    return False


def key_shown() -> str:
    """The key that this person came in with; empty where nobody is asked."""
    return str(st.session_state.get(_KEY, ""))
