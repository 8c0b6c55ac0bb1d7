"""What `monitor` wrote, morning by morning, for who shows it: nothing is worked out anew."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from preptime.errors import DataError
from preptime.monitoring.document import Day, Monitoring, decode
from preptime.tables.results import MONITORING, Results

MOST_MORNINGS = 60
"""How many are read at most: two months of alerts, and with the first one's window three months of days."""


@dataclass(frozen=True)
class Mornings:
    """The latest mornings that `monitor` looked at."""

    documents: tuple[Monitoring, ...]
    """Oldest first."""
    unreadable: dict[dt.date, str]
    """Why a morning's document cannot be read."""
    more: int
    """Earlier mornings that are there and were not read."""


def read_mornings(results: Results, most: int = MOST_MORNINGS) -> Mornings:
    """The latest `most` documents. Raises nothing for a damaged one: it is told beside the others."""
    days = results.days(MONITORING)
    documents, unreadable = list[Monitoring](), dict[dt.date, str]()
    for day in days[-most:]:
        path = results.path(day, MONITORING)
        try:
            documents.append(decode(path.read_bytes(), f"{MONITORING} of {day}"))
        except (DataError, OSError) as error:
            unreadable[day] = str(error)
    return Mornings(tuple(documents), unreadable, max(0, len(days) - most))


def known_days(documents: Sequence[Monitoring]) -> tuple[Day, ...]:
    """Every day that one of these mornings speaks of, as the latest of them knows it; oldest first."""
    found: dict[dt.date, Day] = {}
    for document in sorted(documents, key=lambda one: one.date):
        found |= {day.date: day for day in document.days}
    return tuple(found[date] for date in sorted(found))
