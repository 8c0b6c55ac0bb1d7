"""The real orders, where they are (see `tests/requirements.py`): facts that their README states, and verdicts."""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl
import pytest

from preptime.domain.validation_reasons import Purpose, ValidationReason
from preptime.sources.registry import open_source
from preptime.validation.audit import AuditedOrders, audit_orders
from preptime.validation.audit_report import summarize_audit
from preptime.validation.data_gate import GateThresholds, evaluate_gate
from preptime.validation.restaurants import read_restaurants
from tests.requirements import real_data


@pytest.fixture(scope="module")
def audited() -> AuditedOrders:
    folder = real_data()
    restaurants = read_restaurants(open_source(folder / "restaurants.csv").frame())
    return audit_orders(open_source(folder / "orders.csv").frame(), restaurants, need_label=True)


def test_every_order_is_read_and_few_have_a_reason(audited: AuditedOrders) -> None:
    report = summarize_audit(audited, 1_697)
    assert report.orders == 24_377
    assert {one.reason: one.rows for one in report.reasons} == {
        ValidationReason.LABEL_ZERO: 70,
        ValidationReason.LABEL_UNDER_A_MINUTE: 772,
        ValidationReason.LABEL_OVER_CAP: 142,
        ValidationReason.BEFORE_OPENING: 839,
    }


def test_the_week_that_is_evaluated_has_the_stated_labels(audited: AuditedOrders) -> None:
    day = pl.Series(audited.frame["acknowledged_local"].dt.date())
    week = ((day >= date(2015, 6, 17)) & (day <= date(2015, 6, 23))).to_numpy()
    assert int((week & audited.usable_for(Purpose.EVALUATION)).sum()) == 7_729


def test_local_days_are_those_of_the_file(audited: AuditedOrders) -> None:
    report = summarize_audit(audited, 1_697)
    assert (report.first_day, report.last_day) == ("2015-06-01", "2015-06-23")


@pytest.mark.parametrize("days", range(17))
def test_the_gate_lets_every_morning_pass(audited: AuditedOrders, days: int) -> None:
    result = evaluate_gate(audited, date(2015, 6, 8) + timedelta(days=days), GateThresholds())
    assert [rule.message for rule in result.checks if not rule.passed] == []
