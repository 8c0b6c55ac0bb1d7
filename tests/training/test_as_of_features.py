"""Tests that the features of each day use only what was known as of that day."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from preptime.features.history import History, feature_matrix
from preptime.features.history_state import HistoryState
from preptime.features.kitchen import KitchenStates, count_kitchen, live_features
from preptime.features.shrinkage import QUANTILE_LEVELS, build_history
from preptime.training.as_of_features import FeatureMatrix, build_feature_matrix, iter_snapshots
from preptime.training.training_data import TrainingData, day_number
from tests.training.factories import SyntheticData, june


def history_from_scratch(training_data: TrainingData, date: dt.date) -> History:
    known = training_data.is_history & (training_data.ready_day < day_number(date))
    return build_history(
        HistoryState.from_orders(training_data.restaurants, training_data.completed.take(known)),
        training_data.restaurants,
        date,
    )


def equal_histories(first: History, second: History) -> bool:
    arrays, other_arrays = first.arrays(), second.arrays()
    return first.date == second.date and all(np.array_equal(arrays[name], other_arrays[name]) for name in arrays)


def test_iter_snapshots_matches_history_built_from_scratch(data: SyntheticData) -> None:
    snapshots = list(iter_snapshots(data.training_data, june(1), june(15)))
    assert [snapshot.date for snapshot in snapshots] == [june(day) for day in range(1, 16)]
    # Compared after the iteration, so that later orders can't be in the arrays of an earlier snapshot.
    for snapshot in snapshots:
        assert equal_histories(snapshot.history, history_from_scratch(data.training_data, snapshot.date))
        assert (data.training_data.acknowledged_day[snapshot.rows] == day_number(snapshot.date)).all()
    assert sum(len(data.training_data.labels[snapshot.rows]) for snapshot in snapshots) == len(data.training_data)


def test_iter_snapshots_can_start_on_any_day(data: SyntheticData) -> None:
    (only,) = iter_snapshots(data.training_data, june(9), june(9))
    assert equal_histories(only.history, history_from_scratch(data.training_data, june(9)))


def test_feature_matrix_uses_history_as_of_each_day(data: SyntheticData, features: FeatureMatrix) -> None:
    assert len(features) == len(data.training_data)
    for date in (june(1), june(6), june(15)):
        rows = data.training_data.acknowledged_day == day_number(date)
        history, orders = history_from_scratch(data.training_data, date), data.training_data.orders.take(rows)
        assert np.array_equal(features.X[rows], feature_matrix(orders, history))
        assert np.array_equal(features.lookup_seconds[rows], history.lookup(orders))
        assert np.array_equal(features.fallback_level[rows], history.fallback_level_for(orders))
        assert (features.global_median_seconds[rows] == history.global_median_seconds).all()
        assert np.array_equal(features.lookup_quantiles[rows], history.lookup_quantiles(orders))
        known = data.training_data.is_history & (data.training_data.ready_day < day_number(date))
        if known.any():  # on the first day, no order is known
            known_labels = data.training_data.labels[known]
            exact = np.quantile(known_labels, QUANTILE_LEVELS)
            assert features.global_quantiles[rows] == pytest.approx(np.tile(exact, (rows.sum(), 1)), rel=0.05)


def test_feature_matrix_of_some_days_equals_slice_of_all(data: SyntheticData, features: FeatureMatrix) -> None:
    part = build_feature_matrix(data.training_data, june(5), june(7))
    assert np.array_equal(part.X, features.X[part.rows])
    assert np.array_equal(part.orders.restaurant_id, data.training_data.orders.restaurant_id[part.rows])


def with_ready(data: SyntheticData, row: int, ready: dt.datetime) -> TrainingData:
    """Return the data with another local ready time for one order."""
    ready_at = data.training_data.completed.ready_at.copy()
    ready_at[row] = int((ready - dt.datetime(1970, 1, 1)).total_seconds())
    return replace(data.training_data, completed=replace(data.training_data.completed, ready_at=ready_at))


@pytest.mark.parametrize(
    ("ready", "known"),
    [(dt.datetime(2015, 6, 5, 23, 59, 59), True), (dt.datetime(2015, 6, 6), False)],
)
def test_snapshot_excludes_order_ready_at_midnight(data: SyntheticData, ready: dt.datetime, known: bool) -> None:
    row = int(
        np.flatnonzero((data.training_data.acknowledged_day == day_number(june(5))) & data.training_data.is_history)[-1]
    )
    training_data = with_ready(data, row, ready)
    without = replace(training_data, is_history=training_data.is_history & (np.arange(len(training_data)) != row))
    included, excluded = (next(iter_snapshots(rows, june(6), june(6))).history for rows in (training_data, without))
    assert equal_histories(included, excluded) is not known
    # A day later, it's known in both cases.
    assert not equal_histories(
        *(next(iter_snapshots(rows, june(7), june(7))).history for rows in (training_data, without))
    )


def test_feature_matrix_ignores_labels_from_same_day_on(data: SyntheticData, features: FeatureMatrix) -> None:
    day = day_number(june(8))
    label = data.training_data.completed.prep_time_seconds
    later = data.training_data.ready_day >= day
    changed = replace(data.training_data.completed, prep_time_seconds=np.where(later, 3 * label + 60, label))
    other = build_feature_matrix(replace(data.training_data, completed=changed), june(1), june(15))
    until = data.training_data.acknowledged_day <= day
    assert np.array_equal(other.X[until], features.X[until])
    assert np.array_equal(other.lookup_quantiles[until], features.lookup_quantiles[until])
    assert np.array_equal(other.global_quantiles[until], features.global_quantiles[until])
    # Control: the next day's features change.
    next_day = data.training_data.acknowledged_day == day + 1
    assert not np.array_equal(other.X[next_day], features.X[next_day])
    assert not np.array_equal(other.global_quantiles[next_day], features.global_quantiles[next_day])


def test_iter_snapshots_skips_days_without_orders(data: SyntheticData) -> None:
    stray = data.orders.head(1).with_columns(
        order_id=pl.lit(999_999, pl.Int64),
        order_acknowledged_at=pl.col("order_acknowledged_at") - dt.timedelta(days=5_000),
        order_ready_at=pl.col("order_ready_at") - dt.timedelta(days=5_000),
    )
    training_data = SyntheticData.from_frames(pl.concat([stray, data.orders]), data.restaurants).training_data
    dates = [snapshot.date for snapshot in iter_snapshots(training_data, training_data.first_day, june(15))]
    assert dates == [training_data.first_day, *(june(day) for day in range(1, 16))]
    fractions: list[float] = []
    assert len(
        build_feature_matrix(
            training_data, training_data.first_day, june(15), lambda _, fraction: fractions.append(fraction)
        )
    ) == len(training_data)
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0


def test_live_features_equal_those_of_requests(data: SyntheticData, features: FeatureMatrix) -> None:
    """A request sends what is known at its acknowledgement. The lookup is as of the order's day."""
    training_data, events = data.training_data, data.training_data.events
    orders, instants = training_data.orders, training_data.orders.acknowledged_utc
    assert instants is not None
    rows = np.arange(0, len(training_data), 97)
    counted = []
    for row in rows.tolist():
        now, is_own = int(instants[row]), events.restaurant_id == orders.restaurant_id[row]
        is_ready = events.ready_utc < now
        open_orders = events.acknowledged_utc[is_own & ~is_ready].tolist()
        columns = events.ready_utc, events.ready_day, events.prep_time_seconds
        completed = zip(*(column[is_own & is_ready].tolist() for column in columns), strict=True)
        counted.append(count_kitchen(now, int(training_data.acknowledged_day[row]), open_orders, completed))
    expected = live_features(KitchenStates.from_rows(counted), features.lookup_seconds[rows])
    assert np.array_equal(features.live[rows], expected)
    assert np.array_equal(features.live_matrix[rows], np.hstack([features.X[rows], expected]))
    open_counts, residuals = expected.T
    assert open_counts.max() >= 2
    assert len(np.unique(residuals)) > len(rows) / 3


def test_live_features_count_orders_that_are_never_ready(data: SyntheticData, features: FeatureMatrix) -> None:
    """Open orders and orders without a label can't be used for fitting, but they are in the kitchen."""
    has_no_ready_time = pl.int_range(pl.len()) % 10 == 0
    names = ("order_ready_at", "prep_time_seconds")
    orders = data.orders.with_columns(
        pl.when(has_no_ready_time).then(None).otherwise(pl.col(name)).alias(name) for name in names
    )
    changed = SyntheticData.from_frames(orders, data.restaurants).training_data
    assert len(changed) < len(data.orders) == len(changed.events.ready_utc)
    live = build_feature_matrix(changed, june(1), june(15)).live
    assert live[:, 0].mean() > features.live[:, 0].mean()
