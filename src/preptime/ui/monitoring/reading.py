"""The mornings that `monitor` looked at, kept until one more is there or one was written anew."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from preptime.monitoring.reading import MAX_DOCUMENTS, MonitoringHistory, read_monitoring_history
from preptime.tables.results import MONITORING_FILE, PREDICTIONS_FILE, ResultsFolder
from preptime.ui.parts import show_info
from preptime.ui.words import format_count

_COMMAND = "preptime monitor --date DATE --orders ORDERS --restaurants RESTAURANTS --store STORE --results RESULTS"


def load_documents(results_path: str) -> MonitoringHistory:
    """What the folder of results holds of monitoring."""
    results = ResultsFolder(Path(results_path))
    modified_times = tuple(
        (day.isoformat(), results.path(day, MONITORING_FILE).stat().st_mtime_ns)
        for day in results.days(MONITORING_FILE)[-MAX_DOCUMENTS:]
    )
    return _load_documents(_ResultsVersion(results_path, modified_times))


def show_empty_state(results_path: str) -> None:
    """Says that there is nothing yet, and what fills the page."""
    predicted = ResultsFolder(Path(results_path)).days(PREDICTIONS_FILE)
    if predicted:
        days = format_count(len(predicted), "day")
        show_info(
            f"There are predictions for {days} ({predicted[0]} to {predicted[-1]}), and nobody has looked yet at how "
            "they did.",
            f"Once the orders are ready: {_COMMAND}. The DAG daily_monitoring_run does it every day.",
        )
        return
    show_info(
        "There is nothing to monitor yet: no day has been predicted and looked at.",
        f"`preptime score --date DATE` writes a day's predictions; the morning after, {_COMMAND} fills this page. "
        "The DAGs daily_prediction_run and daily_monitoring_run do both every day.",
    )


@dataclass(frozen=True)
class _ResultsVersion:
    """A folder of results, and when each of its documents was written."""

    results_path: str
    modified_times: tuple[tuple[str, int], ...]


@st.cache_resource(max_entries=2, show_spinner="Reading the monitoring results")
def _load_documents(version: _ResultsVersion) -> MonitoringHistory:
    return read_monitoring_history(ResultsFolder(Path(version.results_path)))
