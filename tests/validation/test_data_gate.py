from __future__ import annotations

from datetime import date, datetime

import msgspec
import polars as pl
import pytest

from preptime.errors import DataError
from preptime.validation.audit import AuditedOrders, audit_orders
from preptime.validation.data_gate import GateResult, GateThresholds, evaluate_gate, gate_error
from tests.validation.factories import make_month, make_restaurant_index

DAY = date(2015, 6, 29)  # the morning after 28 days


def _audited(frame: pl.DataFrame) -> AuditedOrders:
    return audit_orders(frame, make_restaurant_index(), need_label=True)


def _failed(frame: pl.DataFrame, day: date = DAY, thresholds: GateThresholds | None = None) -> set[str]:
    result = evaluate_gate(_audited(frame), day, thresholds or GateThresholds())
    assert result.passed == all(rule.passed for rule in result.checks)
    return {rule.name for rule in result.checks if not rule.passed}


@pytest.fixture(scope="module")
def good() -> pl.DataFrame:
    return make_month(per_day=100)


def test_a_good_month_passes_without_notes(good: pl.DataFrame) -> None:
    result = evaluate_gate(_audited(good), DAY, GateThresholds())
    assert result.passed
    assert result.notes == ()
    assert msgspec.json.decode(msgspec.json.encode(result), type=GateResult) == result


@pytest.mark.parametrize("seed", range(12))
def test_small_but_whole_data_raises_no_alarm(seed: int) -> None:
    assert _failed(make_month(days=10, per_day=200, seed=seed), date(2015, 6, 11)) == set()


def test_fewer_days_pass_and_say_what_they_cost() -> None:
    result = evaluate_gate(_audited(make_month(days=10, per_day=150)), date(2015, 6, 11), GateThresholds())
    assert result.passed
    assert "Three days are held out instead of seven" in result.notes[0]
    assert "weekday" in result.notes[1]


def test_too_few_days_and_too_few_orders_are_told_apart() -> None:
    assert _failed(make_month(days=6, per_day=300), date(2015, 6, 7)) == {"days"}
    assert _failed(make_month(per_day=30)) == {"orders"}


@pytest.mark.parametrize("last_hour", [12, 18])
def test_a_day_cut_short_does_not_train(good: pl.DataFrame, last_hour: int) -> None:
    cut = good.filter(pl.col("order_acknowledged_at") < datetime(2015, 6, 28, last_hour))
    assert _failed(cut) >= {"volume"}
    assert _failed(cut) & {"last_evening", "freshness"}


def test_a_lost_half_of_any_recent_day_does_not_train(good: pl.DataFrame) -> None:
    for lost in (26, 27, 28):
        on_that_day = pl.col("order_acknowledged_at").dt.date() == date(2015, 6, lost)
        assert _failed(good.filter(~on_that_day | (pl.int_range(pl.len()) % 3 == 0))) == {"volume"}


def test_a_missing_yesterday_is_stale_unless_that_is_allowed(good: pl.DataFrame) -> None:
    later = date(2015, 6, 30)
    assert _failed(good, later) == {"freshness", "volume"}
    assert _failed(good, later, GateThresholds(max_days_behind=2)) == set()


def test_orders_of_the_day_itself_are_not_known_that_morning(good: pl.DataFrame) -> None:
    known = good.filter(pl.col("order_acknowledged_at") < datetime(2015, 6, 20))
    morning = date(2015, 6, 20)
    assert evaluate_gate(_audited(good), morning, GateThresholds()) == evaluate_gate(
        _audited(known), morning, GateThresholds()
    )


def test_an_old_restaurants_file_does_not_train(good: pl.DataFrame) -> None:
    strangers = good.with_columns(restaurant_id=pl.when(pl.int_range(pl.len()) % 8 == 0).then(99).otherwise(10))
    assert _failed(strangers) == {"unknown_restaurants"}
    assert _failed(strangers, thresholds=GateThresholds(max_unknown_restaurant_share=0.2)) == set()


@pytest.mark.parametrize("column", ["order_acknowledged_at", "prep_time_seconds"])
def test_dirt_does_not_train(good: pl.DataFrame, column: str) -> None:
    text = good.with_columns(pl.col(pl.Datetime).dt.strftime("%Y-%m-%dT%H:%M:%S")).cast(pl.String)
    dirty = text.with_columns(
        pl.when(pl.int_range(pl.len()) % 8 == 0).then(pl.lit("?")).otherwise(column).alias(column)
    )
    assert _failed(dirty) == {"unusable_orders"}


def test_no_order_before_the_day_fails_and_does_not_crash(good: pl.DataFrame) -> None:
    assert _failed(good, date(2014, 1, 1)) >= {"days", "orders", "freshness"}


def test_a_refusal_names_each_rule_its_value_and_the_threshold() -> None:
    result = evaluate_gate(_audited(make_month(days=5, per_day=60)), date(2015, 6, 6), GateThresholds())
    error = gate_error(result)
    assert isinstance(error, DataError)
    assert "There are 5 days with orders; the minimum is 7." in error.facts
    assert "the minimum is 1,000" in error.facts
    assert "(days, orders)" in error.hint
