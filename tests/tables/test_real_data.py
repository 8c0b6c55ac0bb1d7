"""The real orders, where they are (see `tests/requirements.py`): facts that their README states, and verdicts."""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl
import pytest

from preptime.domain.verdict import Purpose, Reason
from preptime.tables.audit import Audited, audit
from preptime.tables.directory import read_directory
from preptime.tables.gate import GateThresholds, gate
from preptime.tables.open import open_table
from preptime.tables.report import summary
from tests.requirements import real_data


@pytest.fixture(scope="module")
def audited() -> Audited:
    folder = real_data()
    restaurants = read_directory(open_table(folder / "restaurants.csv").frame())
    return audit(open_table(folder / "orders.csv").frame(), restaurants, need_label=True)


def test_every_order_is_read_and_few_have_a_reason(audited: Audited) -> None:
    report = summary(audited, 1_697)
    assert report.orders == 24_377
    assert {one.reason: one.rows for one in report.reasons} == {
        Reason.LABEL_ZERO: 70,
        Reason.LABEL_UNDER_A_MINUTE: 772,
        Reason.LABEL_OVER_CAP: 142,
        Reason.BEFORE_OPENING: 839,
    }


def test_the_week_that_is_evaluated_has_the_stated_labels(audited: Audited) -> None:
    day = pl.Series(audited.frame["acknowledged_local"].dt.date())
    week = ((day >= date(2015, 6, 17)) & (day <= date(2015, 6, 23))).to_numpy()
    assert int((week & audited.kept(Purpose.EVALUATION)).sum()) == 7_729


def test_local_days_are_those_of_the_file(audited: Audited) -> None:
    report = summary(audited, 1_697)
    assert (report.first_day, report.last_day) == ("2015-06-01", "2015-06-23")


@pytest.mark.parametrize("days", range(17))
def test_the_gate_lets_every_morning_pass(audited: Audited, days: int) -> None:
    result = gate(audited, date(2015, 6, 8) + timedelta(days=days), GateThresholds())
    assert [rule.sentence for rule in result.rules if not rule.passed] == []
