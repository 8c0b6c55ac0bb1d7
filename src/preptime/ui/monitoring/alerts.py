"""What fired on a morning and before, and how every rule stands."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import streamlit as st

from preptime.evaluation.verdict import NO_VALUE, in_minutes, in_percent
from preptime.monitoring.document import Monitoring
from preptime.ui.monitoring import charts as own
from preptime.ui.parts import figures, good, lead, notice, problem
from preptime.ui.show import Column, picture, table
from preptime.ui.words import said_in_minutes

_STATES = {"fired": "▲ fired", "quiet": "● quiet", "unknown": "– too little to judge by"}
_RULES = (
    Column("rule", "rule"),
    Column("state", "this morning"),
    Column("found", "found", "r"),
    Column("threshold", "fires at", "r"),
    Column("unit", "unit"),
    Column("sentence", "in words", "long"),
    Column("meaning", "what it watches", "long"),
    Column("reason", "why there", "long"),
    Column("false_alarms", "how often it is wrong", "long"),
)
_ALERTS = (
    Column("morning", "morning", "date"),
    Column("rule", "rule"),
    Column("value", "where"),
    Column("since", "since", "date"),
    Column("sentence", "what", "long"),
)


def head(document: Monitoring) -> None:
    """Whether anything fired, in words, and the figures of the last seven days."""
    tell = problem if document.alerts else good if document.figures.n else notice
    tell(said_in_minutes(document.verdict[0]), said_in_minutes(" ".join(document.verdict[1:])))
    recent, promise = document.recent, document.promise
    promised = f"{in_minutes(promise.figures.mae)} min promised" if promise else "nothing promised"
    figures(
        [
            ("mean error", _minutes(recent.mae), promised),
            ("the lookup's", _minutes(recent.lookup_mae), "mean error of the restaurant lookup"),
            ("within five minutes", in_percent(recent.within_5_min), "of the answers"),
            ("inside p10–p90", in_percent(recent.coverage), "of the orders; 80 % are promised"),
        ]
    )
    days = document.recent_days
    lead(
        f"Of the last seven days, {days.first} to {days.last}; {recent.n:,} answered orders with an outcome. "
        f"Champion: {document.champion or 'none'}."
    )


def this_morning(document: Monitoring, documents: Sequence[Monitoring]) -> None:
    """What fired, every rule, and the alerts of the mornings before."""
    if len(documents) > 1:
        picture(
            "Alerts by morning",
            "Bars are what fired; a dot is a morning that looked and found nothing.",
            lambda width, palette: own.alerts(documents, width, palette),
        )
    every = [
        {"morning": one.date, "rule": alert.rule, "value": part_of(alert.segment, alert.value), "since": alert.since,
         "sentence": said_in_minutes(alert.sentence)}
        for one in reversed(documents)
        for alert in one.alerts
    ]  # fmt: skip
    st.subheader("Alerts")
    if every:
        table(every, _ALERTS, key="alerts")
    else:
        lead("Nothing has fired on any morning that was looked at.")
    st.subheader("Rules")
    lead("Every rule, whether it fired or not, with its threshold and how often it is wrong.")
    table(
        [
            fields_of(one) | {"state": _STATES[one.state], "sentence": said_in_minutes(one.sentence)}
            for one in document.rules
        ],
        _RULES,
        key="rules",
    )


def _minutes(seconds: float | None) -> str:
    return NO_VALUE if seconds is None else f"{in_minutes(seconds)} min"


def part_of(segment: str, value: str) -> str:
    return "all orders" if segment == "overall" else value


def fields_of(struct: msgspec.Struct) -> dict[str, object]:
    return msgspec.structs.asdict(struct)
