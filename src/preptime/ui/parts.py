"""Parts that pages share. What may come from somebody's file goes through here, or into a table: as text, never as
HTML or markdown.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape
from typing import TYPE_CHECKING, Literal

import streamlit as st
from streamlit.runtime.scriptrunner import add_script_run_ctx, get_script_run_ctx

from preptime.errors import PreptimeError
from preptime.ui.words import failure

if TYPE_CHECKING:
    from preptime.evaluation.charts import Chart

_BLINK_SECONDS = 0.2
_LONG = 12
"""Characters from which a card's number is a name, and set smaller."""

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


def lead(text: str) -> None:
    """A quiet sentence below a title."""
    st.html(f'<p class="lead">{escape(text)}</p>')


def figures(numbers: list[tuple[str, str, str]]) -> None:
    """Numbers in a row of cards: what it is, the number, and a word to it."""
    cards = "".join(_card(*number) for number in numbers)
    st.html(f'<dl class="figures">{cards}</dl>')


def _card(name: str, value: str, word: str) -> str:
    manner = "long" if len(value) > _LONG else ""
    number = f'<dd class="{manner}">{escape(value)}</dd>'
    return f"<div><dt>{escape(name)}</dt>{number}<small>{escape(word)}</small></div>"


def answer_card(clock: str, after: str, sure: str) -> None:
    """One answer, large."""
    st.html(
        f'<div class="answer"><small>ready at about</small><b>{escape(clock)}</b>'
        f"<span>{escape(after)}</span><p>{escape(sure)}</p></div>"
    )


def picture(title: str, sentence: str, chart: Chart) -> None:
    """A chart with its title and the sentence that says what it shows."""
    st.html(f'<div class="picture"><h4>{escape(title)}</h4><p>{escape(sentence)}</p></div>')
    st.altair_chart(chart, theme=None, width="stretch")


def links(downloads: list[tuple[str, str]]) -> None:
    """Files to fetch: label and address."""
    anchors = "".join(f'<a class="fetch" href="{escape(url)}" download>{escape(label)}</a>' for label, url in downloads)
    st.html(f'<div class="links">{anchors}</div>')


@contextmanager
def progress_bar() -> Iterator[Callable[[str, float], None]]:
    """How far something is: a stage and its share, shown when it takes longer than a blink; gone at the end."""
    place = st.empty()
    started = last = time.monotonic()
    visitor = get_script_run_ctx()

    def tell(stage: str, share: float) -> None:
        nonlocal last
        now = time.monotonic()
        if now - started > _BLINK_SECONDS and now - last > _BLINK_SECONDS:
            last = now
            add_script_run_ctx(ctx=visitor)  # Polars tells from a thread of its own
            place.progress(share, f"{stage}: {share:.0%}")

    try:
        yield tell
    finally:
        place.empty()
