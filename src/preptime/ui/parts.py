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
from preptime.ui.words import error_message

if TYPE_CHECKING:
    from preptime.evaluation.charts import Chart

_PROGRESS_DELAY_SECONDS = 0.2
_LONG_VALUE_CHARACTERS = 12
"""Characters from which a card's number is a name, and set smaller."""

CalloutKind = Literal["error", "info", "success"]


def show_error(message: str, hint: str = "") -> None:
    """Something that went wrong, and what to do."""
    _callout("error", message, hint)


def show_info(message: str, hint: str = "") -> None:
    """Something to know."""
    _callout("info", message, hint)


def show_success(message: str, hint: str = "") -> None:
    """Something that went well."""
    _callout("success", message, hint)


@contextmanager
def show_failures() -> Iterator[None]:
    """What preptime says no to inside is told as a sentence."""
    try:
        yield
    except PreptimeError as error:
        show_error(*error_message(error))


def _callout(kind: CalloutKind, message: str, hint: str) -> None:
    role = "alert" if kind == "error" else "status"
    hint_html = f"<small>{escape(hint)}</small>" if hint else ""
    st.html(f'<div class="callout {kind}" role="{role}"><span>{escape(message)}</span>{hint_html}</div>')


def caption(text: str) -> None:
    """A quiet sentence below a title."""
    st.html(f'<p class="caption">{escape(text)}</p>')


def metric_cards(metrics: list[tuple[str, str, str]]) -> None:
    """Numbers in a row of cards: what it is, the number, and a word to it."""
    cards = "".join(_metric_card(*metric) for metric in metrics)
    st.html(f'<dl class="metric-cards">{cards}</dl>')


def _metric_card(label: str, value: str, detail: str) -> str:
    css_class = "long" if len(value) > _LONG_VALUE_CHARACTERS else ""
    value_html = f'<dd class="{css_class}">{escape(value)}</dd>'
    return f"<div><dt>{escape(label)}</dt>{value_html}<small>{escape(detail)}</small></div>"


def prediction_card(ready_time: str, duration: str, confidence: str) -> None:
    """One answer, large."""
    st.html(
        f'<div class="prediction"><small>ready at about</small><b>{escape(ready_time)}</b>'
        f"<span>{escape(duration)}</span><p>{escape(confidence)}</p></div>"
    )


def titled_chart(title: str, description: str, chart: Chart) -> None:
    """A chart with its title and the sentence that says what it shows."""
    st.html(f'<div class="chart-card"><h4>{escape(title)}</h4><p>{escape(description)}</p></div>')
    st.altair_chart(chart, theme=None, width="stretch")


def download_links(downloads: list[tuple[str, str]]) -> None:
    """Files to fetch: label and address."""
    anchors = "".join(
        f'<a class="download" href="{escape(url)}" download>{escape(label)}</a>' for label, url in downloads
    )
    st.html(f'<div class="download-links">{anchors}</div>')


@contextmanager
def progress_bar() -> Iterator[Callable[[str, float], None]]:
    """How far something is: a stage and its share, shown when it takes longer than a blink; gone at the end."""
    placeholder = st.empty()
    started = last_update = time.monotonic()
    script_context = get_script_run_ctx()

    def report_progress(stage: str, share: float) -> None:
        nonlocal last_update
        now = time.monotonic()
        if now - started > _PROGRESS_DELAY_SECONDS and now - last_update > _PROGRESS_DELAY_SECONDS:
            last_update = now
            add_script_run_ctx(ctx=script_context)  # Polars tells from a thread of its own
            placeholder.progress(share, f"{stage}: {share:.0%}")

    try:
        yield report_progress
    finally:
        placeholder.empty()
