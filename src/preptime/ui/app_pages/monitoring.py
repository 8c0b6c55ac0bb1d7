"""The page Monitoring: the results of `preptime monitor` for each as-of date."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from preptime.monitoring.document import MonitoringDocument
from preptime.sources.results import MONITORING_REPORT_FILE, ResultsFolder
from preptime.ui.components import show_error, show_info
from preptime.ui.connections import get_context
from preptime.ui.formatting import format_day
from preptime.ui.monitoring import alerts, daily, drift_and_labels
from preptime.ui.monitoring.daily import load_documents, show_empty_state

VIEWS = ("Alerts and rules", "By day", "Actual vs. predicted", "By segment", "Drift", "Predictions and labels")


def page() -> None:
    """Draw the selected view of one as-of date. The other views aren't computed."""
    st.title("Monitoring")
    root = get_context().settings.results
    monitoring_documents = load_documents(root)
    for as_of, reason in monitoring_documents.unreadable.items():
        show_error(f"The monitoring result of {as_of} can't be read. {reason}")
    if not monitoring_documents.documents:
        if not monitoring_documents.unreadable:
            show_empty_state(root)
        return
    documents_by_date = {item.date: item for item in monitoring_documents.documents}
    newest_first = sorted(documents_by_date, reverse=True)
    as_of = st.selectbox(
        "As-of date",
        newest_first,
        format_func=lambda item: (
            f"{item:%a} {format_day(item)} {item.year} · {alerts.status_text(documents_by_date[item])}"
        ),
        key="as-of-date",
    )
    if monitoring_documents.unread_count:
        show_info(f"{monitoring_documents.unread_count:,} earlier as-of dates in {root} aren't shown.")
    document = documents_by_date[as_of]
    documents_until = [item for item in monitoring_documents.documents if item.date <= as_of]
    alerts.show_headline(document)
    _report_download(ResultsFolder(Path(root)), document)
    view = st.segmented_control(
        "View", VIEWS, default=VIEWS[0], required=True, key="monitoring-view", label_visibility="collapsed"
    )
    if view == "Alerts and rules":
        alerts.alerts_and_rules(document, documents_until)
    elif view == "By day":
        daily.daily_metrics(document, documents_until)
    elif view == "Actual vs. predicted":
        daily.ratio_by_day(document)
    elif view == "By segment":
        daily.segment_metrics(document)
    elif view == "Drift":
        drift_and_labels.feature_drift(document)
    else:
        drift_and_labels.predictions_and_labels(document)


def _report_download(results: ResultsFolder, document: MonitoringDocument) -> None:
    path = results.path(document.date, MONITORING_REPORT_FILE)
    if path.is_file():
        st.download_button(
            "Download the report",
            path.read_bytes(),
            f"monitoring-{document.date}.html",
            "text/html",
            key="monitoring-report",
            help="One HTML file with these charts. It works offline.",
        )
