"""What `monitor` wrote, morning by morning, for who shows it: nothing is worked out anew."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from preptime.errors import DataError
from preptime.monitoring.document import Day, MonitoringDocument, decode
from preptime.tables.results import MONITORING_FILE, ResultsFolder

MAX_DOCUMENTS = 60
"""How many are read at most: two months of alerts, and with the first one's window three months of days."""


@dataclass(frozen=True)
class MonitoringHistory:
    """The latest mornings that `monitor` looked at."""

    documents: tuple[MonitoringDocument, ...]
    """Oldest first."""
    unreadable: dict[dt.date, str]
    """Why a morning's document cannot be read."""
    unread_count: int
    """Earlier mornings that are there and were not read."""


def read_monitoring_history(results: ResultsFolder, limit: int = MAX_DOCUMENTS) -> MonitoringHistory:
    """The latest `most` documents. Raises nothing for a damaged one: it is told beside the others."""
    days = results.days(MONITORING_FILE)
    documents, unreadable = list[MonitoringDocument](), dict[dt.date, str]()
    for day in days[-limit:]:
        path = results.path(day, MONITORING_FILE)
        try:
            documents.append(decode(path.read_bytes(), f"{MONITORING_FILE} of {day}"))
        except (DataError, OSError) as error:
            unreadable[day] = str(error)
    return MonitoringHistory(tuple(documents), unreadable, max(0, len(days) - limit))


def latest_days(documents: Sequence[MonitoringDocument]) -> tuple[Day, ...]:
    """Every day that one of these mornings speaks of, as the latest of them knows it; oldest first."""
    days_by_date: dict[dt.date, Day] = {}
    for document in sorted(documents, key=lambda one: one.date):
        days_by_date |= {day.date: day for day in document.days}
    return tuple(days_by_date[date] for date in sorted(days_by_date))
