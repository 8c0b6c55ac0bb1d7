"""Outcomes as of a date: independent of the order of rows, correct at clock changes, and without the future."""

from __future__ import annotations

import datetime as dt

import numpy as np
import polars as pl
import pytest

from preptime.domain.validation_reasons import Purpose, ValidationReason
from preptime.monitoring import outcomes
from preptime.monitoring.outcomes import read_outcomes, to_day_number
from preptime.synthetic import SynthesisPlan, synthesize_frames
from preptime.validation.restaurants import read_restaurants
from tests.monitoring.factories import RESTAURANT_INDEX, make_order, read_known_outcomes, with_outcome
from tests.monitoring.synthetic_months import FrameSource

SPRING_CHANGE = dt.date(2015, 3, 29)
AUTUMN_CHANGE = dt.date(2015, 10, 25)


def outcomes_of(rows: list[dict[str, object]], date: dt.date, first: dt.date) -> outcomes.Outcomes:
    return read_outcomes(FrameSource(pl.DataFrame(rows)), RESTAURANT_INDEX, date, first).outcomes


def test_read_outcomes_repeated_hour_keeps_both_orders() -> None:
    """01:30 in London occurs twice. The offset distinguishes both times, and both are on October 25."""
    orders = [
        with_outcome(make_order(0, order_acknowledged_at="2015-10-25T01:30:00+01:00")),
        with_outcome(make_order(0, order_acknowledged_at="2015-10-25T00:30:00Z", number_of_items=3)),
        with_outcome(make_order(0, order_acknowledged_at="2015-10-25T01:30:00Z")),
    ]
    outcomes_as_of = outcomes_of(orders, AUTUMN_CHANGE + dt.timedelta(days=1), AUTUMN_CHANGE)
    assert outcomes_as_of.day.tolist() == [to_day_number(AUTUMN_CHANGE)] * 3
    assert len(set(outcomes_as_of.key_hash.tolist())) == 3


def test_read_outcomes_skipped_hour_keeps_day() -> None:
    outcomes_as_of = outcomes_of(
        [with_outcome(make_order(0, order_acknowledged_at="2015-03-29 01:30:00"))],
        SPRING_CHANGE + dt.timedelta(days=1),
        SPRING_CHANGE,
    )
    assert outcomes_as_of.day.tolist() == [to_day_number(SPRING_CHANGE)]


def test_read_outcomes_short_and_long_days_end_at_midnight() -> None:
    """At 23:00, an order of 30 minutes is known the next day, and an order of two hours isn't."""
    for day in (SPRING_CHANGE, AUTUMN_CHANGE):
        acknowledged = f"{day} 23:00:00"
        rows = [
            with_outcome(make_order(0, order_acknowledged_at=acknowledged), 1_800),
            with_outcome(make_order(0, 20, order_acknowledged_at=acknowledged), 7_200),
        ]
        assert len(outcomes_of(rows, day + dt.timedelta(days=1), day)) == 1
        assert len(outcomes_of(rows, day + dt.timedelta(days=2), day)) == 2


def test_read_outcomes_excludes_later_orders() -> None:
    rows = [
        with_outcome(make_order(0, day=21), 600),
        with_outcome(make_order(0, 20, day=22), 600),
        with_outcome(make_order(299, day=21), 600),
    ]
    outcomes_as_of = read_known_outcomes(pl.DataFrame(rows))
    assert len(outcomes_as_of.outcomes) == 1
    assert len(outcomes_as_of.audited_days) == 1


def test_read_outcomes_counts_unparsable_times() -> None:
    outcomes_as_of = read_known_outcomes(
        pl.DataFrame([with_outcome(make_order(0)), with_outcome(make_order(0, order_acknowledged_at="yesterday"))])
    )
    assert len(outcomes_as_of.outcomes) == 1
    assert sorted(outcomes_as_of.audited_days.tolist()) == [-1, to_day_number(dt.date(2015, 6, 20))]


def test_read_outcomes_counts_invalid_labels() -> None:
    outcomes_as_of = read_known_outcomes(
        pl.DataFrame([with_outcome(make_order(0), 20_000), with_outcome(make_order(1), 0)])
    )
    assert outcomes_as_of.outcomes.is_evaluable.tolist() == [False, True]
    assert (
        sum(bool(reasons & ValidationReason.LABEL_ZERO.bit) for reasons in outcomes_as_of.audited_reasons.tolist()) == 1
    )


@pytest.fixture(scope="module")
def synthetic() -> tuple[pl.DataFrame, pl.DataFrame]:
    """Ten synthetic days."""
    orders, restaurants, _ = synthesize_frames(SynthesisPlan(orders=1_500, restaurants=40, days=10))
    return orders, restaurants


@pytest.mark.parametrize("with_id", [True, False], ids=["ids", "no ids"])
def test_read_outcomes_ignores_row_order_and_batches(
    synthetic: tuple[pl.DataFrame, pl.DataFrame], monkeypatch: pytest.MonkeyPatch, *, with_id: bool
) -> None:
    """The result is the same in one batch or several, shuffled, and with rows repeated in another batch."""
    orders, restaurant_rows = synthetic
    orders = orders if with_id else orders.drop("order_id")
    restaurants = read_restaurants(restaurant_rows)
    date, first = dt.date(2015, 6, 9), dt.date(2015, 6, 2)
    whole = read_outcomes(FrameSource(orders), restaurants, date, first).outcomes
    shuffled = pl.concat([orders.sample(fraction=1.0, shuffle=True, seed=4), orders[:200]])
    monkeypatch.setattr(outcomes, "BATCH_ROWS", 170)
    batched = read_outcomes(FrameSource(shuffled), restaurants, date, first).outcomes
    assert len(whole) > 900
    np.testing.assert_array_equal(whole.key_hash, batched.key_hash)
    np.testing.assert_array_equal(whole.completed.ready_at, batched.completed.ready_at)
    np.testing.assert_array_equal(whole.completed.orders.order_value, batched.completed.orders.order_value)


def test_read_outcomes_ignores_later_rows(synthetic: tuple[pl.DataFrame, pl.DataFrame]) -> None:
    """The orders known then and today's orders give the same outcomes."""
    orders, restaurant_rows = synthetic
    restaurants = read_restaurants(restaurant_rows)
    date, first = dt.date(2015, 6, 9), dt.date(2015, 6, 2)
    known_then = orders.filter(pl.col("order_ready_at") < dt.datetime(2015, 6, 8, 21, tzinfo=dt.UTC))
    later = orders.filter(pl.col("order_ready_at") >= dt.datetime(2015, 6, 8, 23, tzinfo=dt.UTC))
    outcomes_then = read_outcomes(FrameSource(known_then), restaurants, date, first)
    outcomes_now = read_outcomes(FrameSource(pl.concat([later, known_then])), restaurants, date, first)
    np.testing.assert_array_equal(outcomes_then.outcomes.key_hash, outcomes_now.outcomes.key_hash)
    np.testing.assert_array_equal(np.sort(outcomes_then.audited_reasons), np.sort(outcomes_now.audited_reasons))


def test_read_outcomes_counts_each_unusable_order_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A repeated unusable row in another batch, and an unusable row of an order with an outcome, count once."""
    broken = with_outcome(make_order(0, day=21, order_id="A", number_of_items=None))
    rows = [
        broken,
        with_outcome(make_order(1, day=21, order_id="B")),
        broken,
        with_outcome(make_order(1, day=21, order_id="B", number_of_items=None)),
        with_outcome(make_order(2, day=21, order_id="C"), None),
        with_outcome(make_order(3, day=21, order_id="C"), 300),
        with_outcome(make_order(4, day=21, order_id="D"), None),
    ]
    monkeypatch.setattr(outcomes, "BATCH_ROWS", 2)
    read = read_known_outcomes(pl.DataFrame(rows))
    assert len(read.outcomes) == 2
    assert read.unusable_days.tolist() == [to_day_number(dt.date(2015, 6, 21))]
    assert read.unusable_on_last_day.open_orders == 1
    assert read.unusable_on_last_day.describe() == "1 without number_of_items, 1 without an outcome"


@pytest.mark.parametrize("batch_rows", [1, 100])
@pytest.mark.parametrize(
    "unusable",
    [
        {"number_of_items": None},
        {"order_ready_at": "soon", "prep_time_seconds": None},
    ],
    ids=["missing value", "unreadable ready time"],
)
def test_read_outcomes_corrected_row_has_the_outcome(
    monkeypatch: pytest.MonkeyPatch, unusable: dict[str, object], batch_rows: int
) -> None:
    """The first usable row counts, wherever a batch ends. It's evaluated like any other."""
    monkeypatch.setattr(outcomes, "BATCH_ROWS", batch_rows)
    complete = make_order(0, day=21, order_id="A", order_ready_at="2015-06-21 19:15:00", prep_time_seconds=900)
    rows = pl.DataFrame([{**complete, **unusable}, complete, {**complete, **unusable}, complete])
    for ordered in (rows, rows.reverse()):
        read = read_known_outcomes(ordered)
        assert read.outcomes.completed.prep_time_seconds.tolist() == [900]
        assert read.outcomes.is_evaluable.tolist() == [True]
        assert read.outcomes.usable_for(Purpose.FITTING).tolist() == [True]
        assert read.unusable_days.tolist() == []
        assert read.unusable_on_last_day.describe() == ""


def test_read_outcomes_open_order_can_have_unknown_restaurant() -> None:
    """A flag doesn't make an order without an outcome unusable. The data gate uses the same definition."""
    rows = [with_outcome(make_order(0, day=21)), with_outcome(make_order(1, day=21, restaurant_id="99"), None)]
    read = read_known_outcomes(pl.DataFrame(rows))
    assert read.unusable_days.tolist() == []
    assert read.unusable_on_last_day.describe() == "1 without an outcome"


def test_read_outcomes_names_cause_of_unusable_orders() -> None:
    rows = [
        with_outcome(make_order(0, day=21, order_value_gbp="-3.0")),
        with_outcome(make_order(1, day=21, order_value_gbp="9.0", number_of_items=99_999_999)),
        with_outcome(make_order(2, day=20, order_value_gbp="-3.0")),
    ]
    read = read_known_outcomes(pl.DataFrame(rows))
    assert read.unusable_on_last_day.describe() == (
        "1 with negative_value in order_value_gbp, 1 with out_of_range in number_of_items"
    )
