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
from preptime.features.clock import local_day
from preptime.features.directory import RestaurantIndex, Vocabularies
from preptime.features.history import build_history
from preptime.features.matrix import feature_matrix
from preptime.features.spec import FEATURES
from preptime.features.state import RECENT_DAYS, CompletedOrders, HistoryState
from preptime.monitoring.bins import BinnedDays
from preptime.monitoring.document import DateRange
from preptime.monitoring.joined import recode_orders
from preptime.monitoring.outcomes import batches_as_of, to_date, to_day_number
from preptime.tables.audit import AuditedOrders, to_order_columns
from preptime.tables.table import DataSource

DAYS_PER_WEEK = 7
MAX_WEEKS = 4
"""More would be another season; the more days, the surer the test."""
SKIPPED_DAYS = 7
"""Of a table are left out: with next to no history every restaurant looks alike."""
MAX_ORDERS_PER_DAY = 20_000
"""Evenly chosen of a day that has more: a share is known to 0.3 points then, better than days differ."""

_WEEKDAY_NAMES = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_COLUMNS = (
    "acknowledged_local",
    "restaurant_id",
    "order_value_gbp",
    "number_of_items",
    "country",
    "city",
    "type_of_food",
)


@dataclass(frozen=True)
class DriftReference:
    """What training gave the models."""

    days: DateRange
    features: dict[str, BinnedDays]
    """Each feature by its name, counted day by day."""
    orders: int
    """How many orders stand for it, at most `MOST_ORDERS_A_DAY` of each day."""
    vocabularies: Vocabularies
    """What codes of categories stand for."""
    history_is_filled: bool
    """Whether the history reached back `RECENT_DAYS` on the first of these days. Before that what it says of a
    restaurant changes from week to week by itself."""


def reference_days(manifest: Manifest) -> DateRange | None:
    """The latest whole weeks of a training window, its first seven days left out; None when that leaves no week."""
    window = manifest.window
    first = window.first_day + dt.timedelta(days=SKIPPED_DAYS)
    weeks = min(((window.last_day - first).days + 1) // DAYS_PER_WEEK, MAX_WEEKS)
    if weeks < 1:
        return None
    return DateRange(first=window.last_day - dt.timedelta(days=weeks * DAYS_PER_WEEK - 1), last=window.last_day)


@dataclass
class ReferenceCache:
    """Reads references and remembers them, for a caller that looks at many mornings."""

    _by_bundle: dict[str, DriftReference | None] = field(default_factory=dict)

    def get(self, manifest: Manifest, source: DataSource, restaurants: RestaurantIndex) -> DriftReference | None:
        """The reference of a trained bundle; None when its window has no whole week."""
        if manifest.id not in self._by_bundle:
            days = reference_days(manifest)
            self._by_bundle[manifest.id] = None if days is None else read_reference(manifest, days, source, restaurants)
        return self._by_bundle[manifest.id]


def read_reference(
    manifest: Manifest, days: DateRange, source: DataSource, restaurants: RestaurantIndex
) -> DriftReference:
    """The features of those days, from what was known when the bundle was trained.

    One pass over the table. Memory holds the state of the history, and the orders of those days.
    """
    first, last = to_day_number(days.first), to_day_number(days.last)
    state = HistoryState.empty(len(restaurants))
    completed_in_range, fitting_orders = list[CompletedOrders](), list[pl.DataFrame]()
    for batch in batches_as_of(source, restaurants, manifest.date):
        completed = _completed_orders(batch, Purpose.HISTORY)
        ready = local_day(completed.ready_at)
        state.add_orders(restaurants, completed.take(ready < first))
        completed_in_range.append(completed.take((ready >= first) & (ready < last)))
        fitting_orders.append(_fitting_orders(batch, first, last))
    rows = pl.concat(fitting_orders).sort(pl.all())
    acknowledged = local_day(rows["acknowledged_local"].to_physical().to_numpy() // MICROSECONDS)
    recoded_restaurants = restaurants.recoded(manifest.vocabularies)
    daily_matrices = []
    for number in range(first, last + 1):
        history = build_history(state, recoded_restaurants, to_date(number))
        of_day = rows.filter(pl.Series(acknowledged == number))
        orders = to_order_columns(of_day[evenly_spaced(len(of_day))])
        daily_matrices.append(
            feature_matrix(recode_orders(orders, restaurants.vocabularies, manifest.vocabularies), history)
        )
        for part in completed_in_range:
            state.add_orders(restaurants, part.take(local_day(part.ready_at) == number))
    history_is_filled = (days.first - manifest.window.first_day).days >= RECENT_DAYS
    return DriftReference(
        days,
        _bin_features(daily_matrices, manifest.vocabularies),
        sum(map(len, daily_matrices)),
        manifest.vocabularies,
        history_is_filled,
    )


def _bin_features(daily_matrices: list[NDArray[np.float32]], vocabularies: Vocabularies) -> dict[str, BinnedDays]:
    categories = {"weekday": _WEEKDAY_NAMES, "city": vocabularies.city, "type_of_food": vocabularies.type_of_food}
    return {
        feature.name: BinnedDays.from_days(
            [matrix[:, index] for matrix in daily_matrices], categories.get(feature.name)
        )
        for index, feature in enumerate(FEATURES)
    }


def evenly_spaced(size: int) -> NDArray[np.intp]:
    """Positions of at most `MOST_ORDERS_A_DAY` of `size` rows, evenly chosen."""
    if size <= MAX_ORDERS_PER_DAY:
        return np.arange(size)
    return np.linspace(0, size - 1, MAX_ORDERS_PER_DAY).astype(np.intp)


def _completed_orders(batch: AuditedOrders, purpose: Purpose) -> CompletedOrders:
    frame = batch.frame.filter(pl.Series(batch.usable_for(purpose)))
    ready = frame["ready_local"].to_physical().to_numpy() // MICROSECONDS
    return CompletedOrders(to_order_columns(frame), ready, frame["prep_time_seconds"].cast(pl.Int64).to_numpy())


def _fitting_orders(batch: AuditedOrders, first: int, last: int) -> pl.DataFrame:
    """What was fitted on of the days wanted."""
    frame = batch.frame.select(_COLUMNS).filter(pl.Series(batch.usable_for(Purpose.FITTING)))
    acknowledged = local_day(frame["acknowledged_local"].to_physical().to_numpy() // MICROSECONDS)
    return frame.filter(pl.Series((acknowledged >= first) & (acknowledged <= last)))
