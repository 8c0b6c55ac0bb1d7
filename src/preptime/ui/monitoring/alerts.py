"""What fired on a morning and before, and how every rule stands."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import streamlit as st

from preptime.evaluation.verdict import NO_VALUE, format_minutes, format_percent
from preptime.monitoring.document import MonitoringDocument
from preptime.ui.monitoring import charts as own
from preptime.ui.parts import caption, metric_cards, show_error, show_info, show_success
from preptime.ui.show import Column, chart_card, data_table
from preptime.ui.words import seconds_to_minutes_in_text

_STATE_LABELS = {"fired": "▲ fired", "ok": "● quiet", "insufficient_data": "– too little to judge by"}
_RULE_COLUMNS = (
    Column("rule", "rule"),
    Column("status", "status"),
    Column("observed", "observed", "r"),
    Column("threshold", "fires at", "r"),
    Column("unit", "unit"),
    Column("message", "in words", "long"),
    Column("description", "what it watches", "long"),
    Column("threshold_reason", "why there", "long"),
    Column("false_alarm_rate", "how often it is wrong", "long"),
)
_ALERT_COLUMNS = (
    Column("as_of", "as-of date", "date"),
    Column("rule", "rule"),
    Column("value", "where"),
    Column("since", "since", "date"),
    Column("message", "what", "long"),
)


def show_headline(document: MonitoringDocument) -> None:
    """Whether anything fired, in words, and the figures of the last seven days."""
    show_callout = show_error if document.alerts else show_success if document.metrics.n else show_info
    show_callout(
        seconds_to_minutes_in_text(document.headline[0]), seconds_to_minutes_in_text(" ".join(document.headline[1:]))
    )
    recent, baseline = document.recent_metrics, document.backtest_baseline
    baseline_text = f"{format_minutes(baseline.metrics.mae)} min promised" if baseline else "nothing promised"
    metric_cards(
        [
            ("mean error", _format_minutes(recent.mae), baseline_text),
            ("the lookup's", _format_minutes(recent.lookup_mae), "mean error of the restaurant lookup"),
            ("within five minutes", format_percent(recent.within_5_min), "of the answers"),
            ("inside p10–p90", format_percent(recent.coverage), "of the orders; 80 % are promised"),
        ]
    )
    window = document.recent_days
    caption(
        f"Of the last seven days, {window.first} to {window.last}; {recent.n:,} answered orders with an outcome. "
        f"Champion: {document.champion or 'none'}."
    )


def alerts_and_rules(document: MonitoringDocument, documents: Sequence[MonitoringDocument]) -> None:
    """What fired, every rule, and the alerts of the mornings before."""
    if len(documents) > 1:
        chart_card(
            "Alerts by as-of date",
            "Bars are what fired; a dot is a morning that looked and found nothing.",
            lambda width, palette: own.alert_counts(documents, width, palette),
        )
    alert_rows = [
        {"as_of": item.date, "rule": alert.rule, "value": group_name(alert.segment, alert.value), "since": alert.since,
         "message": seconds_to_minutes_in_text(alert.message)}
        for item in reversed(documents)
        for alert in item.alerts
    ]  # fmt: skip
    st.subheader("Alerts")
    if alert_rows:
        data_table(alert_rows, _ALERT_COLUMNS, key="alerts")
    else:
        caption("Nothing has fired on any morning that was looked at.")
    st.subheader("Rules")
    caption("Every rule, whether it fired or not, with its threshold and how often it is wrong.")
    data_table(
        [
            struct_to_dict(item)
            | {"status": _STATE_LABELS[item.status], "message": seconds_to_minutes_in_text(item.message)}
            for item in document.rules
        ],
        _RULE_COLUMNS,
        key="rules",
    )


def _format_minutes(seconds: float | None) -> str:
    return NO_VALUE if seconds is None else f"{format_minutes(seconds)} min"


def group_name(segment: str, value: str) -> str:
    return "all orders" if segment == "overall" else value


def struct_to_dict(struct: msgspec.Struct) -> dict[str, object]:
    return msgspec.structs.asdict(struct)
