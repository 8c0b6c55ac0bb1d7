"""The champion log: a time line of who served, by whose decision and why, and the same as a table."""

from __future__ import annotations

import datetime as dt
from html import escape

import msgspec
import streamlit as st

from preptime.bundle.champions import Action, LogEntry
from preptime.bundle.listing import StoreListing
from preptime.training.promote import Comparison
from preptime.ui.parts import caption, show_info
from preptime.ui.show import Column, data_table
from preptime.ui.words import format_count, seconds_to_minutes_in_text

ACTION_LABELS: dict[Action, str] = {
    "promote": "won its comparison",
    "refresh": "today's history",
    "override": "promoted by a person",
    "rollback": "rolled back to",
}
"""What each kind of promotion is called."""

TIMELINE_ENTRIES = 8
"""How many promotions the time line shows; the table has them all."""

_COLUMNS = (
    Column("number", "no.", "count"),
    Column("at", "when"),
    Column("bundle", "champion from then on"),
    Column("how", "how"),
    Column("by", "by"),
    Column("reason", "reason", "long"),
    Column("date", "logical date", "date", "The morning from which it is the champion"),
    Column("previous", "instead of"),
)


def show(bundles: StoreListing) -> None:
    """The log, latest first."""
    if not bundles.entries:
        show_info("Nothing has been promoted yet.", "`preptime train` promotes the first bundle that beats the lookup.")
        return
    st.subheader("Who served, and why")
    caption(
        f"The latest of {format_count(len(bundles.entries), 'promotion')}, newest first. Nothing is ever taken out of this log."
    )
    _timeline(bundles.entries[-TIMELINE_ENTRIES:][::-1])
    st.subheader("Every promotion")
    data_table([_row(entry) for entry in reversed(bundles.entries)], _COLUMNS, key="log")
    _comparison_section(bundles.entries)


def format_timestamp(timestamp: str) -> str:
    """A moment of the log as people read it; as it stands where it is none."""
    try:
        return f"{dt.datetime.fromisoformat(timestamp).astimezone(dt.UTC):%Y-%m-%d %H:%M} UTC"
    except ValueError:
        return timestamp or "at an untold time"


def _timeline(entries: tuple[LogEntry, ...]) -> None:
    items = "".join(
        f'<li class="{entry.action}"><b>{escape(entry.bundle)}</b> <i>{escape(ACTION_LABELS[entry.action])}</i>'
        f"<span>{escape(format_timestamp(entry.at))} · {escape(entry.by)} · no. {entry.number}</span>"
        f"<p>{escape(seconds_to_minutes_in_text(entry.reason))}</p></li>"
        for entry in entries
    )
    st.html(f'<ol class="timeline">{items}</ol>')


def _row(entry: LogEntry) -> dict[str, object]:
    return msgspec.structs.asdict(entry) | {
        "how": ACTION_LABELS[entry.action],
        "at": format_timestamp(entry.at),
        "reason": seconds_to_minutes_in_text(entry.reason),
    }


def _comparison_section(log: tuple[LogEntry, ...]) -> None:
    """The comparison behind a promotion, rule by rule."""
    comparisons_by_number = {
        entry.number: comparison for entry in reversed(log) if (comparison := read_comparison(entry)) is not None
    }
    if not comparisons_by_number:
        return
    st.subheader("The comparison behind a promotion")
    selected_number = st.selectbox(
        "Promotion",
        list(comparisons_by_number),
        format_func=lambda entry_number: f"no. {entry_number}: {comparisons_by_number[entry_number].challenger}",
        key="comparison-entry",
    )
    show_comparison(comparisons_by_number[selected_number])


def show_comparison(comparison: Comparison) -> None:
    """What a comparison was about, and each of its rules."""
    baseline_text = (
        f"the champion {comparison.champion}" if comparison.champion else "the lookup alone: there was no champion"
    )
    days_text = f" from {comparison.first_day} to {comparison.last_day}" if comparison.first_day else ""
    caption(
        f"{comparison.challenger} against {baseline_text}, on {format_count(comparison.orders, 'order')}{days_text} that neither had seen."
    )
    data_table(
        [
            {
                "rule": check.rule,
                "found": seconds_to_minutes_in_text(check.result),
                "held": "✓ held" if check.passed else "✗ not held",
            }
            for check in comparison.checks
        ],
        (Column("rule", "rule"), Column("found", "found", "long"), Column("held", "")),
        key="checks",
    )


def read_comparison(entry: LogEntry) -> Comparison | None:
    """The comparison that led to a promotion, where there was one that this code can read."""
    if entry.comparison is None:
        return None
    try:
        return msgspec.convert(entry.comparison, Comparison, strict=False)
    except msgspec.ValidationError:
        return None
