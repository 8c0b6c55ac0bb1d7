"""What the models that answer were trained on: the features of the latest whole weeks of their training window.

A bundle does not keep them, and need not: its manifest names the window, the table has the orders, and `feature_matrix`
is a function of both. Each day is given that morning's history, as training gave it (D1).
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import NDArray

from preptime.bundle.manifest import Manifest
from preptime.domain.timestamps import MICROSECONDS
from preptime.domain.verdict import Purpose
from preptime.features.clock import day
from preptime.features.directory import Directory, Vocabularies
from preptime.features.history import build_history
from preptime.features.matrix import feature_matrix
from preptime.features.spec import FEATURES
from preptime.features.state import RECENT_DAYS, CompletedOrders, HistoryState
from preptime.monitoring.bins import Binned
from preptime.monitoring.document import Days
from preptime.monitoring.joined import recoded
from preptime.monitoring.outcomes import date_of, day_number, known_batches
from preptime.tables.audit import Audited, to_order_columns
from preptime.tables.table import Table

WEEK = 7
MOST_WEEKS = 4
"""More would be another season; the more days, the surer the test."""
FIRST_DAYS = 7
"""Of a table are left out: with next to no history every restaurant looks alike."""
MOST_ORDERS_A_DAY = 20_000
"""Evenly chosen of a day that has more: a share is known to 0.3 points then, better than days differ."""

_DAYS_OF_WEEK = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_READ = (
    "acknowledged_local",
    "restaurant_id",
    "order_value_gbp",
    "number_of_items",
    "country",
    "city",
    "type_of_food",
)


@dataclass(frozen=True)
class Reference:
    """What training gave the models."""

    days: Days
    features: dict[str, Binned]
    """Each feature by its name, counted day by day."""
    orders: int
    """How many orders stand for it, at most `MOST_ORDERS_A_DAY` of each day."""
    vocabularies: Vocabularies
    """What codes of categories stand for."""
    history_is_filled: bool
    """Whether the history reached back `RECENT_DAYS` on the first of these days. Before that what it says of a
    restaurant changes from week to week by itself."""


def reference_days(trained: Manifest) -> Days | None:
    """The latest whole weeks of a training window, its first seven days left out; None when that leaves no week."""
    window = trained.window
    first = window.first_day + dt.timedelta(days=FIRST_DAYS)
    weeks = min(((window.last_day - first).days + 1) // WEEK, MOST_WEEKS)
    if weeks < 1:
        return None
    return Days(first=window.last_day - dt.timedelta(days=weeks * WEEK - 1), last=window.last_day)


@dataclass
class References:
    """Reads references and remembers them, for a caller that looks at many mornings."""

    _known: dict[str, Reference | None] = field(default_factory=dict)

    def of(self, trained: Manifest, table: Table, directory: Directory) -> Reference | None:
        """The reference of a trained bundle; None when its window has no whole week."""
        if trained.id not in self._known:
            days = reference_days(trained)
            self._known[trained.id] = None if days is None else read_reference(trained, days, table, directory)
        return self._known[trained.id]


def read_reference(trained: Manifest, days: Days, table: Table, directory: Directory) -> Reference:
    """The features of those days, from what was known when the bundle was trained.

    One pass over the table. Memory holds the state of the history, and the orders of those days.
    """
    first, last = day_number(days.first), day_number(days.last)
    state = HistoryState.empty(len(directory))
    inside, asked = list[CompletedOrders](), list[pl.DataFrame]()
    for batch in known_batches(table, directory, trained.date):
        completed = _completed(batch, Purpose.HISTORY)
        ready = day(completed.ready_at)
        state.count(directory, completed.take(ready < first))
        inside.append(completed.take((ready >= first) & (ready < last)))
        asked.append(_asked(batch, first, last))
    rows = pl.concat(asked).sort(pl.all())
    acknowledged = day(rows["acknowledged_local"].to_physical().to_numpy() // MICROSECONDS)
    coded = directory.named(trained.vocabularies)
    by_day = []
    for number in range(first, last + 1):
        history = build_history(state, coded, date_of(number))
        of_day = rows.filter(pl.Series(acknowledged == number))
        orders = to_order_columns(of_day[evenly(len(of_day))])
        by_day.append(feature_matrix(recoded(orders, directory.vocabularies, trained.vocabularies), history))
        for part in inside:
            state.count(directory, part.take(day(part.ready_at) == number))
    filled = (days.first - trained.window.first_day).days >= RECENT_DAYS
    return Reference(days, _binned(by_day, trained.vocabularies), sum(map(len, by_day)), trained.vocabularies, filled)


def _binned(by_day: list[NDArray[np.float32]], vocabularies: Vocabularies) -> dict[str, Binned]:
    words = {"weekday": _DAYS_OF_WEEK, "city": vocabularies.city, "type_of_food": vocabularies.type_of_food}
    return {
        feature.name: Binned.of([one[:, place] for one in by_day], words.get(feature.name))
        for place, feature in enumerate(FEATURES)
    }


def evenly(size: int) -> NDArray[np.intp]:
    """Positions of at most `MOST_ORDERS_A_DAY` of `size` rows, evenly chosen."""
    if size <= MOST_ORDERS_A_DAY:
        return np.arange(size)
    return np.linspace(0, size - 1, MOST_ORDERS_A_DAY).astype(np.intp)


def _completed(batch: Audited, purpose: Purpose) -> CompletedOrders:
    frame = batch.frame.filter(pl.Series(batch.kept(purpose)))
    ready = frame["ready_local"].to_physical().to_numpy() // MICROSECONDS
    return CompletedOrders(to_order_columns(frame), ready, frame["prep_time_seconds"].cast(pl.Int64).to_numpy())


def _asked(batch: Audited, first: int, last: int) -> pl.DataFrame:
    """What was fitted on of the days wanted."""
    frame = batch.frame.select(_READ).filter(pl.Series(batch.kept(Purpose.FITTING)))
    acknowledged = day(frame["acknowledged_local"].to_physical().to_numpy() // MICROSECONDS)
    return frame.filter(pl.Series((acknowledged >= first) & (acknowledged <= last)))
