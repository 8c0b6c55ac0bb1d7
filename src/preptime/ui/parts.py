"""Parts that pages share. What may come from somebody's file goes through here, or into a table: as text, never as
HTML or markdown.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from typing import Literal

import streamlit as st

from preptime.errors import PreptimeError
from preptime.ui.words import failure

Manner = Literal["problem", "notice", "good"]


def problem(facts: str, hint: str = "") -> None:
    """Something that went wrong, and what to do."""
    _callout("problem", facts, hint)


def notice(facts: str, hint: str = "") -> None:
    """Something to know."""
    _callout("notice", facts, hint)


def good(facts: str, hint: str = "") -> None:
    """Something that went well."""
    _callout("good", facts, hint)


@contextmanager
def failures() -> Iterator[None]:
    """What preptime says no to inside is told as a sentence."""
    try:
        yield
    except PreptimeError as error:
        problem(*failure(error))


def _callout(manner: Manner, facts: str, hint: str) -> None:
    role = "alert" if manner == "problem" else "status"
    more = f"<small>{escape(hint)}</small>" if hint else ""
    st.html(f'<div class="callout {manner}" role="{role}"><span>{escape(facts)}</span>{more}</div>')
