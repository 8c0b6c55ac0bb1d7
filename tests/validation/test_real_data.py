"""Tests with the real orders, if they are available (see `tests/requirements.py`): documented facts and reasons."""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl
import pytest

from benchmarks.custom_features import propose_schema
from preptime.domain.validation_reasons import Purpose, ValidationReason
from preptime.sources.registry import open_source
from preptime.validation.audit import AuditedOrders, audit_orders
from preptime.validation.audit_report import summarize_audit
from preptime.validation.data_gate import GateThresholds
from preptime.validation.derived_restaurants import derive_restaurants
from preptime.validation.gate_checks import evaluate_gate
from preptime.validation.restaurants import read_restaurants
from tests.requirements import real_data

LABEL = pl.col("prep_time_seconds").cast(pl.Int64)
ROW = pl.int_range(pl.len())
ON_LAST_DAY = pl.col("order_acknowledged_at").cast(pl.String).str.starts_with("2015-06-20")


@pytest.fixture(scope="module")
def audited() -> AuditedOrders:
    folder = real_data()
    restaurants = read_restaurants(open_source(folder / "restaurants.csv").frame())
    return audit_orders(open_source(folder / "orders.csv").frame(), restaurants, need_label=True)


def test_real_orders_have_the_documented_reasons(audited: AuditedOrders) -> None:
    report = summarize_audit(audited, 1_697)
    assert report.orders == 24_377
    assert {count.reason: count.rows for count in report.reasons} == {
        ValidationReason.LABEL_ZERO: 70,
        ValidationReason.LABEL_UNDER_A_MINUTE: 772,
        ValidationReason.LABEL_OVER_CAP: 142,
        ValidationReason.BEFORE_OPENING: 839,
    }


def test_real_evaluation_week_has_documented_labels(audited: AuditedOrders) -> None:
    day = pl.Series(audited.frame["acknowledged_local"].dt.date())
    week = ((day >= date(2015, 6, 17)) & (day <= date(2015, 6, 23))).to_numpy()
    assert int((week & audited.usable_for(Purpose.EVALUATION)).sum()) == 7_729


def test_real_orders_have_the_documented_local_days(audited: AuditedOrders) -> None:
    report = summarize_audit(audited, 1_697)
    assert (report.first_day, report.last_day) == ("2015-06-01", "2015-06-23")


@pytest.mark.parametrize("days", range(17))
def test_data_gate_passes_on_every_real_date(audited: AuditedOrders, days: int) -> None:
    result = evaluate_gate(audited, date(2015, 6, 8) + timedelta(days=days), GateThresholds())
    assert [check.message for check in result.checks if not check.passed] == []


def test_data_gate_accepts_a_second_company_and_its_jump() -> None:
    """The day of the largest jump, a final, is the evidence for the largest ratio of medians."""
    path = real_data() / "doordash" / "orders.csv"
    schema = propose_schema(path, "America/Los_Angeles")
    orders = open_source(path, schema).frame()
    audited = audit_orders(orders, derive_restaurants(orders, schema).index, need_label=True, schema=schema)
    ratios = {}
    for days in range(15):
        as_of = date(2015, 1, 28) + timedelta(days=days)
        result = evaluate_gate(audited, as_of, GateThresholds())
        assert [check.message for check in result.checks if not check.passed] == []
        ratios[as_of] = next(check.value for check in result.checks if check.name == "latest_median")
    assert max(ratios.values()) == ratios[date(2015, 2, 2)] == pytest.approx(1.489, abs=5e-4)


@pytest.mark.parametrize(
    ("label", "failed"),
    [
        (LABEL // 60, {"short_labels"}),
        (pl.when(ON_LAST_DAY).then(LABEL // 60).otherwise(LABEL), {"latest_short_labels", "latest_median"}),
        (pl.when(ON_LAST_DAY & (ROW % 5 == 0)).then(LABEL // 60).otherwise(LABEL), {"latest_short_labels"}),
        (pl.when(ON_LAST_DAY).then(LABEL + 3_600).otherwise(LABEL), {"latest_median"}),
        (pl.when(ON_LAST_DAY).then(LABEL * 19 // 10).otherwise(LABEL), set()),
        (pl.when(ROW % 5 != 0).then(LABEL), set()),
        (pl.when(ROW % 3 != 0).then(LABEL), {"open_orders"}),
        ((LABEL / 60).round() * 60, set()),
        ((LABEL / 9).round(), set()),
    ],
    ids=[
        "minutes",
        "last-day-in-minutes",
        "fifth-of-last-day-in-minutes",
        "last-day-an-hour-off",
        "last-day-nearly-twice-as-slow",
        "fifth-open",
        "third-open",
        "whole-minutes",
        "median-of-90-seconds",
    ],
)
def test_data_gate_on_changed_real_labels(label: pl.Expr, failed: set[str]) -> None:
    folder = real_data()
    restaurants = read_restaurants(open_source(folder / "restaurants.csv").frame())
    orders = open_source(folder / "orders.csv").frame().drop("order_ready_at")
    changed = orders.with_columns(prep_time_seconds=label.cast(pl.Int64))
    audited = audit_orders(changed, restaurants, need_label=True)
    result = evaluate_gate(audited, date(2015, 6, 21), GateThresholds())
    assert {check.name for check in result.checks if not check.passed} == failed
