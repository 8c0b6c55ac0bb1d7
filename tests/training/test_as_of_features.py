"""Walking through days: each knows what was known that morning, and nothing else."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from preptime.features.history import History, build_history, feature_matrix
from preptime.features.history_state import HistoryState
from preptime.training.as_of_features import FeatureMatrix, build_feature_matrix, iter_snapshots
from preptime.training.training_data import TrainingData, day_number
from tests.training.factories import SyntheticData, june


def from_scratch(corpus: TrainingData, date: dt.date) -> History:
    known = corpus.is_history & (corpus.ready_day < day_number(date))
    return build_history(
        HistoryState.from_orders(corpus.restaurants, corpus.completed.take(known)), corpus.restaurants, date
    )


def alike(one: History, other: History) -> bool:
    arrays, others = one.arrays(), other.arrays()
    return one.date == other.date and all(np.array_equal(arrays[name], others[name]) for name in arrays)


def test_iter_snapshots_matches_history_built_from_scratch(data: SyntheticData) -> None:
    walked = list(iter_snapshots(data.training_data, june(1), june(15)))
    assert [morning.date for morning in walked] == [june(day) for day in range(1, 16)]
    # Compared after the walk: what came later must not have got into an earlier morning's arrays.
    for morning in walked:
        assert alike(morning.history, from_scratch(data.training_data, morning.date))
        assert (data.training_data.acknowledged_day[morning.rows] == day_number(morning.date)).all()
    assert sum(len(data.training_data.labels[morning.rows]) for morning in walked) == len(data.training_data)


def test_iter_snapshots_can_start_on_any_day(data: SyntheticData) -> None:
    (only,) = iter_snapshots(data.training_data, june(9), june(9))
    assert alike(only.history, from_scratch(data.training_data, june(9)))


def test_feature_matrix_uses_history_as_of_each_day(data: SyntheticData, days: FeatureMatrix) -> None:
    assert len(days) == len(data.training_data)
    for date in (june(1), june(6), june(15)):
        rows = data.training_data.acknowledged_day == day_number(date)
        history, orders = from_scratch(data.training_data, date), data.training_data.orders.take(rows)
        assert np.array_equal(days.X[rows], feature_matrix(orders, history))
        assert np.array_equal(days.lookup_seconds[rows], history.lookup(orders))
        assert np.array_equal(days.fallback_level[rows], history.fallback_level_for(orders))
        assert (days.global_median_seconds[rows] == history.global_median_seconds).all()


def test_feature_matrix_of_some_days_equals_slice_of_all(data: SyntheticData, days: FeatureMatrix) -> None:
    part = build_feature_matrix(data.training_data, june(5), june(7))
    assert np.array_equal(part.X, days.X[part.rows])
    assert np.array_equal(part.orders.restaurant_id, data.training_data.orders.restaurant_id[part.rows])


def with_ready(data: SyntheticData, row: int, ready: dt.datetime) -> TrainingData:
    """The corpus with one order ready at that local moment."""
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
    corpus = with_ready(data, row, ready)
    without = replace(corpus, is_history=corpus.is_history & (np.arange(len(corpus)) != row))
    there, not_there = (next(iter_snapshots(one, june(6), june(6))).history for one in (corpus, without))
    assert alike(there, not_there) is not known
    # A day later it is known either way.
    assert not alike(*(next(iter_snapshots(one, june(7), june(7))).history for one in (corpus, without)))


def test_feature_matrix_ignores_labels_from_same_day_on(data: SyntheticData, days: FeatureMatrix) -> None:
    day = day_number(june(8))
    label = data.training_data.completed.prep_time_seconds
    later = data.training_data.ready_day >= day
    changed = replace(data.training_data.completed, prep_time_seconds=np.where(later, 3 * label + 60, label))
    other = build_feature_matrix(replace(data.training_data, completed=changed), june(1), june(15))
    until = data.training_data.acknowledged_day <= day
    assert np.array_equal(other.X[until], days.X[until])
    assert np.array_equal(other.lookup_seconds[until], days.lookup_seconds[until])
    # The control: the next day does know.
    next_day = data.training_data.acknowledged_day == day + 1
    assert not np.array_equal(other.X[next_day], days.X[next_day])


def test_iter_snapshots_skips_days_without_orders(data: SyntheticData) -> None:
    stray = data.orders.head(1).with_columns(
        order_id=pl.lit(999_999, pl.Int64),
        order_acknowledged_at=pl.col("order_acknowledged_at") - dt.timedelta(days=5_000),
        order_ready_at=pl.col("order_ready_at") - dt.timedelta(days=5_000),
    )
    corpus = SyntheticData.from_frames(pl.concat([stray, data.orders]), data.restaurants).training_data
    walked = [morning.date for morning in iter_snapshots(corpus, corpus.first_day, june(15))]
    assert walked == [corpus.first_day, *(june(day) for day in range(1, 16))]
    told: list[float] = []
    assert len(build_feature_matrix(corpus, corpus.first_day, june(15), lambda _, done: told.append(done))) == len(
        corpus
    )
    assert told == sorted(told)
    assert told[-1] == 1.0
