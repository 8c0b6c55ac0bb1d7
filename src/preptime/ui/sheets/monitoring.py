"""The page Monitoring: how the answers did, morning by morning, as `preptime monitor` saw it."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from preptime.monitoring.document import Monitoring
from preptime.tables.results import MONITORING_PAGE, Results
from preptime.ui.access import access
from preptime.ui.monitoring import alerts, days, given
from preptime.ui.monitoring.reading import mornings, nothing_yet
from preptime.ui.parts import notice, problem
from preptime.ui.words import day_of

VIEWS = ("Alerts and rules", "By day", "Longer or shorter", "By segment", "Drift", "Answers and labels")


def page() -> None:
    """One morning, in the view that somebody picks; only that one is drawn."""
    st.title("Monitoring")
    root = access().settings.results
    found = mornings(root)
    for day, why in found.unreadable.items():
        problem(f"The morning of {day} cannot be read. {why}")
    if not found.documents:
        if not found.unreadable:
            nothing_yet(root)
        return
    by_date = {one.date: one for one in found.documents}
    newest_first = sorted(by_date, reverse=True)
    day = st.selectbox(
        "Morning",
        newest_first,
        format_func=lambda one: f"{one:%a} {day_of(one)} {one.year} · {_alerts(len(by_date[one].alerts))}",
        key="morning",
    )
    if found.more:
        notice(f"{found.more:,} earlier mornings are in {root} and not shown here.")
    document = by_date[day]
    until = [one for one in found.documents if one.date <= day]
    alerts.head(document)
    _report(Results(Path(root)), document)
    view = st.segmented_control(
        "View", VIEWS, default=VIEWS[0], required=True, key="monitoring-view", label_visibility="collapsed"
    )
    if view == "Alerts and rules":
        alerts.this_morning(document, until)
    elif view == "By day":
        days.by_day(document, until)
    elif view == "Longer or shorter":
        days.longer_or_shorter(document)
    elif view == "By segment":
        days.by_segment(document)
    elif view == "Drift":
        given.drift(document)
    else:
        given.data(document)


def _report(results: Results, document: Monitoring) -> None:
    path = results.path(document.date, MONITORING_PAGE)
    if path.is_file():
        st.download_button(
            "Download this morning's report",
            path.read_bytes(),
            f"monitoring-{document.date}.html",
            "text/html",
            key="monitoring-report",
            help="One file with these pictures, to hand on. It needs no network.",
        )


def _alerts(count: int) -> str:
    return "quiet" if not count else "1 alert" if count == 1 else f"{count} alerts"
