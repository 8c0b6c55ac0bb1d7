"""Walking through days, each with what was known that morning."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from preptime.domain.orders import OrderColumns
from preptime.features.history import History, build_history, feature_matrix
from preptime.features.history_state import HistoryState
from preptime.features.spec import FEATURES
from preptime.progress import ProgressCallback, no_progress
from preptime.training.training_data import TrainingData, date_from_day_number, day_number


@dataclass(frozen=True, slots=True)
class DailySnapshot:
    """One day of a walk."""

    date: dt.date
    history: History
    rows: slice
    """The corpus's orders acknowledged on that local day."""


def iter_snapshots(data: TrainingData, first_day: dt.date, last_day: dt.date) -> Iterator[DailySnapshot]:
    """Every day from `first` to `last` (both included) that has orders, with the history of its morning.

    The state grows by what became ready on each day, so the walk counts every order once. A day without orders costs
    nothing, so one order with a date from years ago is only that.
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
    """The orders of a run of days, with what was known of each on its morning."""

    data: TrainingData
    offset: int
    """Position in the corpus of row 0."""
    X: NDArray[np.float32]
    lookup_seconds: NDArray[np.float32]
    """[N] seconds: the shrunken restaurant median of that morning."""
    global_median_seconds: NDArray[np.float32]
    fallback_level: NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.X)

    @property
    def orders(self) -> OrderColumns:
        """The orders of the rows."""
        return self.data.orders.take(self.rows)

    @property
    def rows(self) -> slice:
        """Where these orders stand in the corpus."""
        return slice(self.offset, self.offset + len(self.X))


def build_feature_matrix(
    data: TrainingData, first_day: dt.date, last_day: dt.date, progress: ProgressCallback = no_progress
) -> FeatureMatrix:
    """The matrix of all orders acknowledged from `first` to `last` (both included), built day by day (D1)."""
    start, end = np.searchsorted(data.acknowledged_day, [day_number(first_day), day_number(last_day) + 1])
    row_count = int(end - start)
    X = np.empty((row_count, len(FEATURES)), np.float32)
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
        progress("Features, morning by morning", ((snapshot.date - first_day).days + 1) / day_count)
    return FeatureMatrix(data, int(start), X, lookup_seconds, global_median_seconds, fallback_level)
