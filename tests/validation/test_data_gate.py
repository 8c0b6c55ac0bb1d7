from __future__ import annotations

from datetime import date, datetime

import msgspec
import polars as pl
import pytest

from preptime.errors import DataError
from preptime.validation.audit import AuditedOrders, audit_orders
from preptime.validation.data_gate import GateResult, GateThresholds, evaluate_gate, gate_error
from tests.validation.factories import make_month, make_restaurant_index

DAY = date(2015, 6, 29)  # the day after 28 days


def _audited(frame: pl.DataFrame) -> AuditedOrders:
    return audit_orders(frame, make_restaurant_index(), need_label=True)


def _failed_checks(frame: pl.DataFrame, day: date = DAY, thresholds: GateThresholds | None = None) -> set[str]:
    result = evaluate_gate(_audited(frame), day, thresholds or GateThresholds())
    assert result.passed == all(check.passed for check in result.checks)
    return {check.name for check in result.checks if not check.passed}


@pytest.fixture(scope="module")
def good_month() -> pl.DataFrame:
    return make_month(per_day=100)


def test_evaluate_gate_good_month_passes_without_notes(good_month: pl.DataFrame) -> None:
    result = evaluate_gate(_audited(good_month), DAY, GateThresholds())
    assert result.passed
    assert result.notes == ()
    assert msgspec.json.decode(msgspec.json.encode(result), type=GateResult) == result


@pytest.mark.parametrize("seed", range(12))
def test_evaluate_gate_small_complete_data_passes(seed: int) -> None:
    assert _failed_checks(make_month(days=10, per_day=200, seed=seed), date(2015, 6, 11)) == set()


def test_evaluate_gate_few_days_pass_with_notes() -> None:
    result = evaluate_gate(_audited(make_month(days=10, per_day=150)), date(2015, 6, 11), GateThresholds())
    assert result.passed
    assert "Three days are held out instead of seven" in result.notes[0]
    assert "weekday" in result.notes[1]


def test_evaluate_gate_too_few_days_or_orders_fails() -> None:
    assert _failed_checks(make_month(days=6, per_day=300), date(2015, 6, 7)) == {"days"}
    assert _failed_checks(make_month(per_day=30)) == {"orders"}


@pytest.mark.parametrize("last_hour", [12, 18])
def test_evaluate_gate_incomplete_day_fails(good_month: pl.DataFrame, last_hour: int) -> None:
    incomplete = good_month.filter(pl.col("order_acknowledged_at") < datetime(2015, 6, 28, last_hour))
    assert _failed_checks(incomplete) >= {"volume"}
    assert _failed_checks(incomplete) & {"last_evening", "freshness"}


def test_evaluate_gate_partial_recent_day_fails(good_month: pl.DataFrame) -> None:
    for day in (26, 27, 28):
        on_that_day = pl.col("order_acknowledged_at").dt.date() == date(2015, 6, day)
        assert _failed_checks(good_month.filter(~on_that_day | (pl.int_range(pl.len()) % 3 == 0))) == {"volume"}


def test_evaluate_gate_missing_yesterday_fails_by_default(good_month: pl.DataFrame) -> None:
    later = date(2015, 6, 30)
    assert _failed_checks(good_month, later) == {"freshness", "volume"}
    assert _failed_checks(good_month, later, GateThresholds(max_days_behind=2)) == set()


def test_evaluate_gate_ignores_orders_after_the_date(good_month: pl.DataFrame) -> None:
    known = good_month.filter(pl.col("order_acknowledged_at") < datetime(2015, 6, 20))
    as_of = date(2015, 6, 20)
    assert evaluate_gate(_audited(good_month), as_of, GateThresholds()) == evaluate_gate(
        _audited(known), as_of, GateThresholds()
    )


def test_evaluate_gate_many_unknown_restaurants_fails(good_month: pl.DataFrame) -> None:
    orders = good_month.with_columns(restaurant_id=pl.when(pl.int_range(pl.len()) % 8 == 0).then(99).otherwise(10))
    assert _failed_checks(orders) == {"unknown_restaurants"}
    assert _failed_checks(orders, thresholds=GateThresholds(max_unknown_restaurant_share=0.2)) == set()


@pytest.mark.parametrize("column", ["order_acknowledged_at", "prep_time_seconds"])
def test_evaluate_gate_many_invalid_cells_fails(good_month: pl.DataFrame, column: str) -> None:
    text = good_month.with_columns(pl.col(pl.Datetime).dt.strftime("%Y-%m-%dT%H:%M:%S")).cast(pl.String)
    invalid = text.with_columns(
        pl.when(pl.int_range(pl.len()) % 8 == 0).then(pl.lit("?")).otherwise(column).alias(column)
    )
    assert _failed_checks(invalid) == {"unusable_orders"}


def test_evaluate_gate_without_orders_fails(good_month: pl.DataFrame) -> None:
    assert _failed_checks(good_month, date(2014, 1, 1)) >= {"days", "orders", "freshness"}


def test_gate_error_names_check_value_and_threshold() -> None:
    result = evaluate_gate(_audited(make_month(days=5, per_day=60)), date(2015, 6, 6), GateThresholds())
    error = gate_error(result)
    assert isinstance(error, DataError)
    assert "There are 5 days with orders; the minimum is 7." in error.facts
    assert "the minimum is 1,000" in error.facts
    assert "(days, orders)" in error.hint
