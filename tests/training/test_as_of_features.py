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
from tests.training.factories import Data, june


def from_scratch(corpus: TrainingData, date: dt.date) -> History:
    known = corpus.is_history & (corpus.ready_day < day_number(date))
    return build_history(
        HistoryState.from_orders(corpus.restaurants, corpus.completed.take(known)), corpus.restaurants, date
    )


def alike(one: History, other: History) -> bool:
    arrays, others = one.arrays(), other.arrays()
    return one.date == other.date and all(np.array_equal(arrays[name], others[name]) for name in arrays)


def test_every_morning_has_the_history_built_from_scratch(data: Data) -> None:
    walked = list(iter_snapshots(data.corpus, june(1), june(15)))
    assert [morning.date for morning in walked] == [june(day) for day in range(1, 16)]
    # Compared after the walk: what came later must not have got into an earlier morning's arrays.
    for morning in walked:
        assert alike(morning.history, from_scratch(data.corpus, morning.date))
        assert (data.corpus.acknowledged_day[morning.rows] == day_number(morning.date)).all()
    assert sum(len(data.corpus.labels[morning.rows]) for morning in walked) == len(data.corpus)


def test_a_walk_may_begin_on_any_day(data: Data) -> None:
    (only,) = iter_snapshots(data.corpus, june(9), june(9))
    assert alike(only.history, from_scratch(data.corpus, june(9)))


def test_the_matrix_is_each_days_features_with_its_mornings_history(data: Data, days: FeatureMatrix) -> None:
    assert len(days) == len(data.corpus)
    for date in (june(1), june(6), june(15)):
        rows = data.corpus.acknowledged_day == day_number(date)
        history, orders = from_scratch(data.corpus, date), data.corpus.orders.take(rows)
        assert np.array_equal(days.X[rows], feature_matrix(orders, history))
        assert np.array_equal(days.lookup_seconds[rows], history.lookup(orders))
        assert np.array_equal(days.fallback_level[rows], history.fallback_level_for(orders))
        assert (days.global_median_seconds[rows] == history.global_median_seconds).all()


def test_a_matrix_of_some_days_is_that_part_of_the_whole(data: Data, days: FeatureMatrix) -> None:
    part = build_feature_matrix(data.corpus, june(5), june(7))
    assert np.array_equal(part.X, days.X[part.rows])
    assert np.array_equal(part.orders.restaurant_id, data.corpus.orders.restaurant_id[part.rows])


def with_ready(data: Data, row: int, ready: dt.datetime) -> TrainingData:
    """The corpus with one order ready at that local moment."""
    ready_at = data.corpus.completed.ready_at.copy()
    ready_at[row] = int((ready - dt.datetime(1970, 1, 1)).total_seconds())
    return replace(data.corpus, completed=replace(data.corpus.completed, ready_at=ready_at))


@pytest.mark.parametrize(
    ("ready", "known"),
    [(dt.datetime(2015, 6, 5, 23, 59, 59), True), (dt.datetime(2015, 6, 6), False)],
)
def test_an_order_ready_at_midnight_is_not_in_that_mornings_history(
    data: Data, ready: dt.datetime, known: bool
) -> None:
    row = int(np.flatnonzero((data.corpus.acknowledged_day == day_number(june(5))) & data.corpus.is_history)[-1])
    corpus = with_ready(data, row, ready)
    without = replace(corpus, is_history=corpus.is_history & (np.arange(len(corpus)) != row))
    there, not_there = (next(iter_snapshots(one, june(6), june(6))).history for one in (corpus, without))
    assert alike(there, not_there) is not known
    # A day later it is known either way.
    assert not alike(*(next(iter_snapshots(one, june(7), june(7))).history for one in (corpus, without)))


def test_what_happens_on_a_day_or_after_it_changes_no_row_of_that_day(data: Data, days: FeatureMatrix) -> None:
    day = day_number(june(8))
    label = data.corpus.completed.prep_time_seconds
    later = data.corpus.ready_day >= day
    changed = replace(data.corpus.completed, prep_time_seconds=np.where(later, 3 * label + 60, label))
    other = build_feature_matrix(replace(data.corpus, completed=changed), june(1), june(15))
    until = data.corpus.acknowledged_day <= day
    assert np.array_equal(other.X[until], days.X[until])
    assert np.array_equal(other.lookup_seconds[until], days.lookup_seconds[until])
    # The control: the next day does know.
    next_day = data.corpus.acknowledged_day == day + 1
    assert not np.array_equal(other.X[next_day], days.X[next_day])


def test_days_without_orders_are_passed_over(data: Data) -> None:
    stray = data.orders.head(1).with_columns(
        order_id=pl.lit(999_999, pl.Int64),
        order_acknowledged_at=pl.col("order_acknowledged_at") - dt.timedelta(days=5_000),
        order_ready_at=pl.col("order_ready_at") - dt.timedelta(days=5_000),
    )
    corpus = Data.of(pl.concat([stray, data.orders]), data.restaurants).corpus
    walked = [morning.date for morning in iter_snapshots(corpus, corpus.first_day, june(15))]
    assert walked == [corpus.first_day, *(june(day) for day in range(1, 16))]
    told: list[float] = []
    assert len(build_feature_matrix(corpus, corpus.first_day, june(15), lambda _, done: told.append(done))) == len(
        corpus
    )
    assert told == sorted(told)
    assert told[-1] == 1.0
