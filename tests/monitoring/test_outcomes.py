"""What was known on a morning: whatever the order of rows, on days when clocks are changed, and never the future."""

from __future__ import annotations

import datetime as dt

import numpy as np
import polars as pl
import pytest

from preptime.domain.validation_reasons import ValidationReason
from preptime.monitoring import outcomes
from preptime.monitoring.outcomes import read_outcomes, to_day_number
from preptime.synthetic import SynthesisPlan, synthesize_frames
from preptime.validation.restaurants import read_restaurants
from tests.monitoring.factories import DIRECTORY, done, known, order
from tests.monitoring.synthetic_months import Frame

SPRING = dt.date(2015, 3, 29)
AUTUMN = dt.date(2015, 10, 25)


def of(rows: list[dict[str, object]], date: dt.date, first: dt.date) -> outcomes.Outcomes:
    return read_outcomes(Frame(pl.DataFrame(rows)), DIRECTORY, date, first).outcomes


def test_both_half_past_ones_of_autumn_are_orders_of_that_day() -> None:
    """01:30 in London comes twice; the offset says which is which, and both are the 25th."""
    twice = [
        done(order(0, order_acknowledged_at="2015-10-25T01:30:00+01:00")),
        done(order(0, order_acknowledged_at="2015-10-25T00:30:00Z", number_of_items=3)),
        done(order(0, order_acknowledged_at="2015-10-25T01:30:00Z")),
    ]
    found = of(twice, AUTUMN + dt.timedelta(days=1), AUTUMN)
    assert found.day.tolist() == [to_day_number(AUTUMN)] * 3
    assert len(set(found.key_hash.tolist())) == 3


def test_the_half_past_two_that_spring_skips_is_still_an_order_of_that_day() -> None:
    found = of([done(order(0, order_acknowledged_at="2015-03-29 01:30:00"))], SPRING + dt.timedelta(days=1), SPRING)
    assert found.day.tolist() == [to_day_number(SPRING)]


def test_a_short_day_and_a_long_day_end_at_their_own_midnights() -> None:
    """An hour before midnight, half an hour of cooking: known the next morning; two hours: not yet."""
    for day in (SPRING, AUTUMN):
        late = f"{day} 23:00:00"
        rows = [
            done(order(0, order_acknowledged_at=late), 1_800),
            done(order(0, 20, order_acknowledged_at=late), 7_200),
        ]
        assert len(of(rows, day + dt.timedelta(days=1), day)) == 1
        assert len(of(rows, day + dt.timedelta(days=2), day)) == 2


def test_what_is_acknowledged_or_ready_later_is_not_known() -> None:
    rows = [done(order(0, day=21), 600), done(order(0, 20, day=22), 600), done(order(299, day=21), 600)]
    found = known(pl.DataFrame(rows))
    assert len(found.outcomes) == 1
    assert len(found.audited_days) == 1


def test_rows_whose_time_cannot_be_read_are_counted_and_no_outcome() -> None:
    found = known(pl.DataFrame([done(order(0)), done(order(0, order_acknowledged_at="yesterday"))]))
    assert len(found.outcomes) == 1
    assert sorted(found.audited_days.tolist()) == [-1, to_day_number(dt.date(2015, 6, 20))]


def test_a_bad_label_is_counted_and_not_evaluated() -> None:
    found = known(pl.DataFrame([done(order(0), 20_000), done(order(1), 0)]))
    assert found.outcomes.is_evaluable.tolist() == [False, True]
    assert sum(bool(one & ValidationReason.LABEL_ZERO.bit) for one in found.audited_reasons.tolist()) == 1


@pytest.fixture(scope="module")
def drawn() -> tuple[pl.DataFrame, pl.DataFrame]:
    """Ten synthetic days."""
    orders, restaurants, _ = synthesize_frames(SynthesisPlan(orders=1_500, restaurants=40, days=10))
    return orders, restaurants


@pytest.mark.parametrize("with_id", [True, False], ids=["ids", "no ids"])
def test_the_order_of_rows_and_the_size_of_batches_are_nothing(
    drawn: tuple[pl.DataFrame, pl.DataFrame], monkeypatch: pytest.MonkeyPatch, *, with_id: bool
) -> None:
    """Whole or in batches, as it came or shuffled, with rows repeated in another batch."""
    orders, restaurants = drawn
    orders = orders if with_id else orders.drop("order_id")
    directory = read_restaurants(restaurants)
    date, first = dt.date(2015, 6, 9), dt.date(2015, 6, 2)
    whole = read_outcomes(Frame(orders), directory, date, first).outcomes
    shuffled = pl.concat([orders.sample(fraction=1.0, shuffle=True, seed=4), orders[:200]])
    monkeypatch.setattr(outcomes, "BATCH_ROWS", 170)
    batched = read_outcomes(Frame(shuffled), directory, date, first).outcomes
    assert len(whole) > 900
    np.testing.assert_array_equal(whole.key_hash, batched.key_hash)
    np.testing.assert_array_equal(whole.completed.ready_at, batched.completed.ready_at)
    np.testing.assert_array_equal(whole.completed.orders.order_value_gbp, batched.completed.orders.order_value_gbp)


def test_what_the_table_got_later_changes_nothing(drawn: tuple[pl.DataFrame, pl.DataFrame]) -> None:
    """The table of that morning and today's say the same of it."""
    orders, restaurants = drawn
    directory = read_restaurants(restaurants)
    date, first = dt.date(2015, 6, 9), dt.date(2015, 6, 2)
    as_it_was = orders.filter(pl.col("order_ready_at") < dt.datetime(2015, 6, 8, 21, tzinfo=dt.UTC))
    later = orders.filter(pl.col("order_ready_at") >= dt.datetime(2015, 6, 8, 23, tzinfo=dt.UTC))
    then = read_outcomes(Frame(as_it_was), directory, date, first)
    now = read_outcomes(Frame(pl.concat([later, as_it_was])), directory, date, first)
    np.testing.assert_array_equal(then.outcomes.key_hash, now.outcomes.key_hash)
    np.testing.assert_array_equal(np.sort(then.audited_reasons), np.sort(now.audited_reasons))
