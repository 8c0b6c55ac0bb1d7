"""The champion log: a time line of who served, by whose decision and why, and the same as a table."""

from __future__ import annotations

import datetime as dt
from html import escape

import msgspec
import streamlit as st

from preptime.bundle.champions import Action, Entry
from preptime.bundle.listing import Listing
from preptime.training.promote import Comparison
from preptime.ui.parts import lead, notice
from preptime.ui.show import Column, table
from preptime.ui.words import counted, said_in_minutes

ACTIONS: dict[Action, str] = {
    "promote": "won its comparison",
    "refresh": "this morning's history",
    "override": "promoted by a person",
    "rollback": "rolled back to",
}
"""What each kind of promotion is called."""

SHOWN_ENTRIES = 8
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


def show(found: Listing) -> None:
    """The log, latest first."""
    if not found.log:
        notice("Nothing has been promoted yet.", "`preptime train` promotes the first bundle that beats the lookup.")
        return
    st.subheader("Who served, and why")
    lead(f"The latest of {counted(len(found.log), 'promotion')}, newest first. Nothing is ever taken out of this log.")
    _time_line(found.log[-SHOWN_ENTRIES:][::-1])
    st.subheader("Every promotion")
    table([_row(entry) for entry in reversed(found.log)], _COLUMNS, key="log")
    _comparison(found.log)


def moment(at: str) -> str:
    """A moment of the log as people read it; as it stands where it is none."""
    try:
        return f"{dt.datetime.fromisoformat(at).astimezone(dt.UTC):%Y-%m-%d %H:%M} UTC"
    except ValueError:
        return at or "at an untold time"


def _time_line(entries: tuple[Entry, ...]) -> None:
    items = "".join(
        f'<li class="{entry.action}"><b>{escape(entry.bundle)}</b> <i>{escape(ACTIONS[entry.action])}</i>'
        f"<span>{escape(moment(entry.at))} · {escape(entry.by)} · no. {entry.number}</span>"
        f"<p>{escape(said_in_minutes(entry.reason))}</p></li>"
        for entry in entries
    )
    st.html(f'<ol class="timeline">{items}</ol>')


def _row(entry: Entry) -> dict[str, object]:
    return msgspec.structs.asdict(entry) | {
        "how": ACTIONS[entry.action],
        "at": moment(entry.at),
        "reason": said_in_minutes(entry.reason),
    }


def _comparison(log: tuple[Entry, ...]) -> None:
    """The comparison behind a promotion, rule by rule."""
    compared = {entry.number: found for entry in reversed(log) if (found := comparison_of(entry)) is not None}
    if not compared:
        return
    st.subheader("The comparison behind a promotion")
    number = st.selectbox(
        "Promotion", list(compared), format_func=lambda one: f"no. {one}: {compared[one].challenger}", key="compared"
    )
    rules(compared[number])


def rules(found: Comparison) -> None:
    """What a comparison was about, and each of its rules."""
    against = f"the champion {found.champion}" if found.champion else "the lookup alone: there was no champion"
    days = f" from {found.first_day} to {found.last_day}" if found.first_day else ""
    lead(f"{found.challenger} against {against}, on {counted(found.orders, 'order')}{days} that neither had seen.")
    table(
        [
            {"rule": one.rule, "found": said_in_minutes(one.found), "held": "✓ held" if one.passed else "✗ not held"}
            for one in found.checks
        ],
        (Column("rule", "rule"), Column("found", "found", "long"), Column("held", "")),
        key="checks",
    )


def comparison_of(entry: Entry) -> Comparison | None:
    """The comparison that led to a promotion, where there was one that this code can read."""
    if entry.comparison is None:
        return None
    try:
        return msgspec.convert(entry.comparison, Comparison, strict=False)
    except msgspec.ValidationError:
        return None
