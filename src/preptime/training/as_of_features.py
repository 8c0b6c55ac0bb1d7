"""Point-in-time features: for each day, the history and the feature matrix as of that day."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from preptime.domain.orders import OrderColumns
from preptime.features.history import History, feature_matrix
from preptime.features.kitchen import LIVE_FEATURES, live_features
from preptime.features.shrinkage import QUANTILE_LEVELS, build_history
from preptime.progress import ProgressCallback, no_progress
from preptime.training.training_data import TrainingData, date_from_day_number, day_number

_MEDIAN = QUANTILE_LEVELS.index(0.5)


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
    state = data.initial_state(ready_order[: ready_bounds[0]])
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
    """N orders of consecutive days, with features and baselines as of each order's day.

    They're all orders of these days, or those of the sample of a corpus.
    """

    data: TrainingData
    rows: NDArray[np.intp]
    """[N] the rows of the training data, ascending."""
    X: NDArray[np.float32]
    """[N, F]."""
    lookup_quantiles: NDArray[np.float32]
    """[N, 5] seconds: the shrunken quantiles of the restaurant as of the order's day (`History.lookup_quantiles`)."""
    global_quantiles: NDArray[np.float32]
    """[N, 5] seconds: the quantiles of all orders that were ready before the order's day."""
    fallback_level: NDArray[np.int8]
    """[N] indices into `FALLBACK_LEVELS`."""
    live: NDArray[np.float32]
    """[N, L] the live features, from what is known at each order's acknowledgement."""

    def __len__(self) -> int:
        return len(self.X)

    @property
    def live_matrix(self) -> NDArray[np.float32]:
        """The features of the live model, [N, F + L]."""
        return np.hstack([self.X, self.live])

    @property
    def lookup_seconds(self) -> NDArray[np.float32]:
        """The shrunken restaurant median as of each order's day, [N] seconds."""
        return self.lookup_quantiles[:, _MEDIAN]

    @property
    def global_median_seconds(self) -> NDArray[np.float32]:
        """The median of all orders as of each order's day, [N] seconds."""
        return self.global_quantiles[:, _MEDIAN]

    @property
    def orders(self) -> OrderColumns:
        """The orders of the rows."""
        return self.data.orders.take(self.rows)


def build_feature_matrix(
    data: TrainingData, first_day: dt.date, last_day: dt.date, progress: ProgressCallback = no_progress
) -> FeatureMatrix:
    """Return the features of the orders acknowledged from `first_day` through `last_day`, built day by day.

    For a sampled corpus, these are only the orders of the sample, so that the size of the matrix is that of the sample.
    """
    rows = data.rows_with_features
    first, last = np.searchsorted(data.acknowledged_day[rows], [day_number(first_day), day_number(last_day) + 1])
    rows = rows[first:last]
    row_count = len(rows)
    X = np.empty((row_count, len(data.restaurants.feature_set)), np.float32)
    lookup_quantiles, global_quantiles = np.empty((2, row_count, len(QUANTILE_LEVELS)), np.float32)
    fallback_level = np.empty(row_count, np.int8)
    live = np.empty((row_count, len(LIVE_FEATURES)), np.float32)
    kitchens = data.events.replay(data.orders.take(rows))
    day_count = (last_day - first_day).days + 1
    for snapshot in iter_snapshots(data, first_day, last_day):
        target_rows = slice(*np.searchsorted(rows, [snapshot.rows.start, snapshot.rows.stop]))
        orders = data.orders.take(rows[target_rows])
        X[target_rows] = feature_matrix(orders, snapshot.history)
        lookup_quantiles[target_rows] = snapshot.history.lookup_quantiles(orders)
        global_quantiles[target_rows] = snapshot.history.global_quantiles
        fallback_level[target_rows] = snapshot.history.fallback_level_for(orders)
        live[target_rows] = live_features(kitchens.take(target_rows), snapshot.history.lookup(orders))
        progress("Features by day", ((snapshot.date - first_day).days + 1) / day_count)
    return FeatureMatrix(data, rows, X, lookup_quantiles, global_quantiles, fallback_level, live)
