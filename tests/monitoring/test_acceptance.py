"""The synthesizer's months: quiet ones stay quiet, and a city that slows down is named two days later.

What is simplified in them says `tests/monitoring/synthetic_months.py`. Thresholds were set on seeds 1000 to 1059, not on these.
"""

from __future__ import annotations

import pytest

from preptime.monitoring.rules import RULES, SLOWER_THAN_PREDICTED
from preptime.synthetic import SynthesisPlan
from preptime.synthetic.world import Drift
from tests.monitoring.synthetic_months import Seen, Task, look_at_all

SEEDS = range(1, 21)
QUIET_DAYS = 30
TRAINED = 14
A_MONTH = SynthesisPlan()
DRIFTING_SEEDS = (1, 2, 3, 4)


def plan(seed: int, days: int, drift: str | None = None) -> SynthesisPlan:
    """As many orders a day as the default plan has."""
    return SynthesisPlan(
        orders=A_MONTH.orders * days // A_MONTH.days,
        days=days,
        seed=seed,
        drift=None if drift is None else Drift.parse(drift),
    )


@pytest.fixture(scope="module")
def quiet() -> list[Seen]:
    """Thirty mornings, each with answers of the day before, after a fortnight that was trained on."""
    first = TRAINED + 2
    return look_at_all(
        [Task(plan(seed, TRAINED + QUIET_DAYS), first, first + QUIET_DAYS - 1, TRAINED) for seed in SEEDS]
    )


@pytest.fixture(scope="module")
def drifting() -> list[Seen]:
    """The synthesizer's own month of 30 days, answered after a week; London is 15 % slower from day 20 on."""
    return look_at_all([Task(plan(seed, 30, "London:20:+15%"), 9, 22, trained_days=7) for seed in DRIFTING_SEEDS])


def test_thirty_quiet_days_fire_at_most_once_a_seed_and_in_at_most_four_seeds(quiet: list[Seen]) -> None:
    fired = {seen.seed: seen.alerts for seen in quiet if seen.alerts}
    assert len(quiet) == len(SEEDS)
    assert len(fired) <= 4, fired
    assert all(
        len(mornings) <= 1 and all(len(alerts) <= 1 for alerts in mornings.values()) for mornings in fired.values()
    )


def test_quiet_months_were_really_looked_at(quiet: list[Seen]) -> None:
    """Silence means something only where every rule had something to judge by."""
    for seen in quiet:
        assert seen.largest.keys() == {rule.name for rule in RULES}
        assert seen.evaluated > 25_000
        # The evidence of chance alone: neither nothing at all nor far beyond the threshold.
        assert 1.5 < seen.largest["slower_than_predicted"] < SLOWER_THAN_PREDICTED.threshold + 0.5


def test_a_city_that_slows_down_on_day_20_fires_by_day_22_and_is_named(drifting: list[Seen]) -> None:
    for seen in drifting:
        assert min(seen.alerts, default=99) in {21, 22}, seen
        first = seen.alerts[min(seen.alerts)]
        assert [(alert.rule, alert.segment, alert.value) for alert in first] == [
            ("slower_than_predicted", "city", "London")
        ]
        assert "London: food takes 1" in first[0].message
        assert first[0].since.day in {20, 21}
        # And nobody else is blamed by the morning of day 22.
        assert {alert.value for alerts in seen.alerts.values() for alert in alerts} == {"London"}
