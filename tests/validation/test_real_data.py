"""Tests with the real orders, if they are available (see `tests/requirements.py`): documented facts and reasons."""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl
import pytest

from preptime.domain.validation_reasons import Purpose, ValidationReason
from preptime.sources.registry import open_source
from preptime.validation.audit import AuditedOrders, audit_orders
from preptime.validation.audit_report import summarize_audit
from preptime.validation.data_gate import GateThresholds
from preptime.validation.gate_checks import evaluate_gate
from preptime.validation.restaurants import read_restaurants
from tests.requirements import real_data


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
