"""Synthetic months: quiet months raise almost no alerts, and a slower city is detected within two days.

For the simplifications, see `tests/monitoring/synthetic_months.py`. Thresholds were set on seeds 1000 to 1059, not on
these.
"""

from __future__ import annotations

import pytest

from preptime.monitoring.rules import RULES, SLOWER_THAN_PREDICTED
from preptime.synthetic import SynthesisPlan
from preptime.synthetic.world import Drift
from tests.monitoring.synthetic_months import MonthResult, MonthTask, monitor_months

SEEDS = range(1, 21)
MONITORED_DAYS = 30
TRAINED = 14
DEFAULT_PLAN = SynthesisPlan()
SLOWER_SEEDS = (1, 2, 3, 4)


def make_plan(seed: int, days: int, drift: str | None = None) -> SynthesisPlan:
    """Return a plan with the default number of orders per day."""
    return SynthesisPlan(
        orders=DEFAULT_PLAN.orders * days // DEFAULT_PLAN.days,
        days=days,
        seed=seed,
        drift=None if drift is None else Drift.parse(drift),
    )


@pytest.fixture(scope="module")
def quiet_months() -> list[MonthResult]:
    """Months that are monitored for 30 days, after 14 days of training."""
    first = TRAINED + 2
    return monitor_months(
        [
            MonthTask(make_plan(seed, TRAINED + MONITORED_DAYS), first, first + MONITORED_DAYS - 1, TRAINED)
            for seed in SEEDS
        ]
    )


@pytest.fixture(scope="module")
def slower_months() -> list[MonthResult]:
    """Months of 30 days with predictions after a week. London is 15% slower from day 20."""
    return monitor_months(
        [MonthTask(make_plan(seed, 30, "London:20:+15%"), 9, 22, trained_days=7) for seed in SLOWER_SEEDS]
    )


def test_quiet_months_fire_at_most_once_in_four_months(quiet_months: list[MonthResult]) -> None:
    fired = {month.seed: month.alerts for month in quiet_months if month.alerts}
    assert len(quiet_months) == len(SEEDS)
    assert len(fired) <= 4, fired
    assert all(len(by_day) <= 1 and all(len(alerts) <= 1 for alerts in by_day.values()) for by_day in fired.values())


def test_quiet_months_evaluate_every_rule(quiet_months: list[MonthResult]) -> None:
    """A month without alerts counts only if every rule had enough data."""
    for month in quiet_months:
        assert month.largest.keys() == {rule.name for rule in RULES}
        assert month.evaluated > 25_000
        # Chance alone gives a statistic above 0 and below the threshold.
        assert 1.5 < month.largest["slower_than_predicted"] < SLOWER_THAN_PREDICTED.threshold + 0.5


def test_slower_city_from_day_20_fires_by_day_22(slower_months: list[MonthResult]) -> None:
    for month in slower_months:
        assert min(month.alerts, default=99) in {21, 22}, month
        first = month.alerts[min(month.alerts)]
        assert [(alert.rule, alert.segment, alert.value) for alert in first] == [
            ("slower_than_predicted", "city", "London")
        ]
        assert "London: actual times are 1" in first[0].message
        assert first[0].since.day in {20, 21}
        # No other segment has an alert by day 22.
        assert {alert.value for alerts in month.alerts.values() for alert in alerts} == {"London"}
