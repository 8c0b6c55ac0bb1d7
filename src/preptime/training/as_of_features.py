"""Point-in-time features: for each day, the history and the feature matrix as of that day."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from preptime.domain.orders import OrderColumns
from preptime.features.history import History, feature_matrix
from preptime.features.history_state import HistoryState
from preptime.features.shrinkage import build_history
from preptime.progress import ProgressCallback, no_progress
from preptime.training.training_data import TrainingData, date_from_day_number, day_number


@dataclass(frozen=True, slots=True)
class DailySnapshot:
    """The history as of one date, and the orders of that date."""

    date: dt.date
    history: History
    rows: slice
    """Rows of the training data that were acknowledged on that local date."""


def iter_snapshots(data: TrainingData, first_day: dt.date, last_day: dt.date) -> Iterator[DailySnapshot]:
    """Yield a snapshot for each day from `first_day` through `last_day` that has orders.

    The history state grows by the orders that became ready on each day, so each order is counted once. A day without
    orders costs almost nothing, so a single order that is years older than the others isn't a problem.
    """
    start, end = day_number(first_day), day_number(last_day)
    ready = np.where(data.is_history, data.ready_day, end + 1)
    ready_order = np.argsort(ready, kind="stable")
    ready_bounds = np.searchsorted(ready[ready_order], np.arange(start, end + 2))
    row_bounds = np.searchsorted(data.acknowledged_day, np.arange(start, end + 2))
    state = HistoryState.from_orders(data.restaurants, data.completed.take(ready_order[: ready_bounds[0]]))
    for day in range(start, end + 1):
        index = day - start
        rows = slice(int(row_bounds[index]), int(row_bounds[index + 1]))
        if rows.start < rows.stop:
            date = date_from_day_number(day)
            yield DailySnapshot(date, build_history(state, data.restaurants, date), rows)
        state.add_orders(
            data.restaurants, data.completed.take(ready_order[ready_bounds[index] : ready_bounds[index + 1]])
        )


@dataclass(frozen=True, slots=True)
class FeatureMatrix:
    """The N orders of consecutive days, with features and baselines as of each order's day."""

    data: TrainingData
    offset: int
    """Index of row 0 in the training data."""
    X: NDArray[np.float32]
    """[N, F]."""
    lookup_seconds: NDArray[np.float32]
    """[N] seconds: the shrunken restaurant median as of the order's day."""
    global_median_seconds: NDArray[np.float32]
    """[N] seconds."""
    fallback_level: NDArray[np.int8]
    """[N] indices into `FALLBACK_LEVELS`."""

    def __len__(self) -> int:
        return len(self.X)

    @property
    def orders(self) -> OrderColumns:
        """The orders of the rows."""
        return self.data.orders.take(self.rows)

    @property
    def rows(self) -> slice:
        """The rows of the training data."""
        return slice(self.offset, self.offset + len(self.X))


def build_feature_matrix(
    data: TrainingData, first_day: dt.date, last_day: dt.date, progress: ProgressCallback = no_progress
) -> FeatureMatrix:
    """Return the features of all orders acknowledged from `first_day` through `last_day`, built day by day."""
    start, end = np.searchsorted(data.acknowledged_day, [day_number(first_day), day_number(last_day) + 1])
    row_count = int(end - start)
    X = np.empty((row_count, len(data.restaurants.feature_set)), np.float32)
    lookup_seconds, global_median_seconds = np.empty(row_count, np.float32), np.empty(row_count, np.float32)
    fallback_level = np.empty(row_count, np.int8)
    day_count = (last_day - first_day).days + 1
    for snapshot in iter_snapshots(data, first_day, last_day):
        orders = data.orders.take(snapshot.rows)
        target_rows = slice(snapshot.rows.start - int(start), snapshot.rows.stop - int(start))
        X[target_rows] = feature_matrix(orders, snapshot.history)
        lookup_seconds[target_rows] = snapshot.history.lookup(orders)
        global_median_seconds[target_rows] = snapshot.history.global_median_seconds
        fallback_level[target_rows] = snapshot.history.fallback_level_for(orders)
        progress("Features by day", ((snapshot.date - first_day).days + 1) / day_count)
    return FeatureMatrix(data, int(start), X, lookup_seconds, global_median_seconds, fallback_level)
