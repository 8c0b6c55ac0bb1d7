"""The mornings that `monitor` looked at, kept until one more is there or one was written anew."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from preptime.monitoring.reading import MOST_MORNINGS, Mornings, read_mornings
from preptime.tables.results import MONITORING, PREDICTIONS, Results
from preptime.ui.parts import notice
from preptime.ui.words import counted

_COMMAND = "preptime monitor --date DATE --orders ORDERS --restaurants RESTAURANTS --store STORE --results RESULTS"


def mornings(root: str) -> Mornings:
    """What the folder of results holds of monitoring."""
    results = Results(Path(root))
    written = tuple(
        (day.isoformat(), results.path(day, MONITORING).stat().st_mtime_ns)
        for day in results.days(MONITORING)[-MOST_MORNINGS:]
    )
    return _mornings(_Written(root, written))


def nothing_yet(root: str) -> None:
    """Says that there is nothing yet, and what fills the page."""
    predicted = Results(Path(root)).days(PREDICTIONS)
    if predicted:
        days = counted(len(predicted), "day")
        notice(
            f"There are predictions for {days} ({predicted[0]} to {predicted[-1]}), and nobody has looked yet at how "
            "they did.",
            f"Once the orders are ready: {_COMMAND}. The DAG daily_monitoring_run does it every day.",
        )
        return
    notice(
        "There is nothing to monitor yet: no day has been predicted and looked at.",
        f"`preptime score --date DATE` writes a day's predictions; the morning after, {_COMMAND} fills this page. "
        "The DAGs daily_prediction_run and daily_monitoring_run do both every day.",
    )


@dataclass(frozen=True)
class _Written:
    """A folder of results, and when each of its documents was written."""

    root: str
    documents: tuple[tuple[str, int], ...]


@st.cache_resource(max_entries=2, show_spinner="Reading the mornings")
def _mornings(written: _Written) -> Mornings:
    return read_mornings(Results(Path(written.root)))
