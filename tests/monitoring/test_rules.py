"""The rules about days, figures and distributions, one by one: what is ordinary stays quiet, what is not is named."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from preptime.monitoring.daily_metrics import GroupMetrics
from preptime.monitoring.document import BacktestBaseline, DateRange, PredictionMetrics
from preptime.monitoring.drift import _compare
from preptime.monitoring.outcomes import to_day_number
from preptime.monitoring.reference import BinnedDays
from preptime.monitoring.rule_evaluation import DailyShare, evaluate_metrics, evaluate_share, evaluate_volume
from preptime.monitoring.rules import FALLBACK_RATE, RULES, VOLUME_HIGH, VOLUME_LOW, find_rule

LAST = dt.date(2015, 6, 21)
WEEK = np.array([940.0, 920, 950, 890, 1_200, 1_270, 1_330])


def a_month(days: int = 28) -> NDArray[np.float64]:
    """Orders of days that end with a Sunday, weekdays as they differ."""
    return np.tile(WEEK, -(-days // 7))[-days:]


def test_every_rule_has_a_reason_a_measured_rate_and_one_name() -> None:
    assert len({rule.name for rule in RULES}) == len(RULES)
    for rule in RULES:
        assert rule.description
        assert rule.threshold_reason
        assert rule.false_alarm_rate
        assert find_rule(rule.name) is rule
    assert find_rule("no_such_rule") is None


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(8, 42))
def test_ordinary_days_are_neither_few_nor_many(seed: int, days: int) -> None:
    """Poisson counts with a day's error of 8 %, weekdays as they differ, however long the table is."""
    rng = np.random.default_rng(seed)
    orders = np.stack([a_month(days), 0.06 * a_month(days)]) * rng.normal(1, 0.08, days)
    low, high = evaluate_volume(rng.poisson(orders).astype(float), ("all", "Paris"), to_day_number(LAST))
    assert (low.to_report().status, high.to_report().status) == ("ok", "ok")


@pytest.mark.parametrize("days", [8, 14, 42])
def test_half_a_days_orders_and_a_day_delivered_twice_fire(days: int) -> None:
    half, twice = a_month(days), a_month(days)
    half[-1] *= 0.3
    twice[-1] *= 2.4
    low, _ = evaluate_volume(half[None], ("all",), to_day_number(LAST))
    assert [alert.rule for alert in low.alerts] == [VOLUME_LOW.name]
    assert "on 2015-06-21" in low.message
    _, high = evaluate_volume(twice[None], ("all",), to_day_number(LAST))
    assert [alert.rule for alert in high.alerts] == [VOLUME_HIGH.name]


def test_no_orders_at_all_fire_and_a_city_that_falls_silent_is_named() -> None:
    nothing, paris = a_month(), 0.06 * a_month()
    nothing[-1] = 0
    low, _ = evaluate_volume(np.stack([nothing, 0.9 * nothing]), ("all", "London"), to_day_number(LAST))
    assert [(alert.segment, alert.value) for alert in low.alerts] == [("overall", "all")]
    paris[-1] = 0
    low, _ = evaluate_volume(np.stack([a_month(), paris]), ("all", "Paris"), to_day_number(LAST))
    assert [(alert.segment, alert.value) for alert in low.alerts] == [("city", "Paris")]
    assert "in Paris" in low.message


def test_a_weekday_that_never_has_orders_is_not_missed() -> None:
    closed = np.tile([940.0, 920, 950, 890, 1_200, 1_270, 0], 4)
    low, high = evaluate_volume(closed[None], ("all",), to_day_number(LAST))
    assert low.to_report().status != "fired"
    assert high.to_report().status != "fired"


def test_the_first_week_says_too_little() -> None:
    low, high = evaluate_volume(a_month(7)[None], ("all",), to_day_number(LAST))
    assert (low.to_report().status, high.to_report().status) == ("insufficient_data", "insufficient_data")


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0, 0.5), st.integers(30, 20_000))
def test_an_ordinary_share_stays_quiet(seed: int, share: float, orders: int) -> None:
    """Shares whose days differ by a point beyond chance."""
    rng = np.random.default_rng(seed)
    whole = rng.poisson(orders, 20).clip(30).astype(float)
    part = rng.binomial(whole.astype(int), np.clip(rng.normal(share, 0.01, 20), 0, 1)).astype(float)
    assert not evaluate_share(FALLBACK_RATE, DailyShare(part, whole), LAST, "predictions").alerts


def test_a_share_that_jumps_fires_and_says_from_what_to_what() -> None:
    whole = np.full(20, 1_000.0)
    part = np.full(20, 20.0)
    part[-1] = 200.0
    judged = evaluate_share(
        FALLBACK_RATE, DailyShare(part, whole), LAST, "answers without an order of their restaurant"
    )
    assert [alert.rule for alert in judged.alerts] == ["fallback_rate"]
    assert "20.0\N{NO-BREAK SPACE}% of 1,000" in judged.message
    assert "2.0\N{NO-BREAK SPACE}% are usual" in judged.message
    assert (
        evaluate_share(FALLBACK_RATE, DailyShare(part[-6:], whole[-6:]), LAST, "predictions").to_report().status
        == "insufficient_data"
    )


def promise(mae: float) -> BacktestBaseline:
    figures = PredictionMetrics(
        n=900, mae=mae, bias=0.0, within_5_min=0.5, coverage=0.8, lookup_mae=mae, lookup_n=900, quantiles=()
    )
    return BacktestBaseline(bundle="b", days=DateRange(first=LAST, last=LAST), metrics=figures)


def week(mae: float, lookup: float, coverage: float, seed: int = 3) -> GroupMetrics:
    """Seven days of 1,000 orders, days differing by some percent."""
    rng = np.random.default_rng(seed)
    n = np.full(7, 1_000.0)
    shared = rng.normal(1, 0.04, 7)
    return GroupMetrics(
        {
            "n": n,
            "has_interval": n,
            "has_lookup": n,
            "mae": n * mae * shared,
            "lookup_error": n * lookup * shared,
            "in_interval": n * coverage * rng.normal(1, 0.01, 7),
        }
    )


def test_a_week_as_promised_stays_quiet() -> None:
    judged = evaluate_metrics(week(440, 500, 0.79), promise(430), LAST)
    assert [one.to_report().status for one in judged] == ["ok"] * 3


@pytest.mark.parametrize(
    ("found", "rule"),
    [
        (week(440, 500, 0.6), "coverage"),
        (week(440, 500, 0.97), "coverage"),
        (week(700, 800, 0.8), "worse_than_backtest"),
        (week(440, 400, 0.8), "worse_than_lookup"),
    ],
)
def test_a_week_that_breaks_a_promise_is_named(found: GroupMetrics, rule: str) -> None:
    judged = evaluate_metrics(found, promise(430), LAST)
    assert [one.rule.name for one in judged if one.alerts] == [rule]


def test_without_a_promise_or_a_lookup_nothing_is_said_of_them() -> None:
    found = week(440, 400, 0.8)
    pruned = GroupMetrics({**found.sums, "has_lookup": found.sums["n"] / 2})
    judged = evaluate_metrics(pruned, None, LAST)
    assert [one.to_report().status for one in judged] == ["ok", "insufficient_data", "insufficient_data"]


def weeks(rng: np.random.Generator, days: int, shift: float = 0.0) -> list[NDArray[np.float64]]:
    """Days of 1,000 values each whose means differ by a tenth of their scatter from day to day."""
    return [rng.normal(shift + rng.normal(0, 0.1), 1.0, 1_000) for _ in range(days)]


def test_weeks_of_the_same_making_differ_by_chance_alone_in_a_hundredth_of_all_cases() -> None:
    """What a test of 7,000 independent orders would get wrong nearly always."""
    rng = np.random.default_rng(2)
    p = np.array([_compare(BinnedDays.from_days(weeks(rng, 14)), weeks(rng, 7)).p_value for _ in range(300)])
    assert np.mean(p <= 0.01) <= 0.02
    assert np.mean(p <= 0.1) <= 0.13


def test_a_week_that_differs_is_seen() -> None:
    rng = np.random.default_rng(2)
    found = _compare(BinnedDays.from_days(weeks(rng, 14)), weeks(rng, 7, shift=0.8))
    assert found.psi > 0.25
    assert found.p_value < 1e-3


def test_categories_are_the_most_frequent_and_the_rest() -> None:
    words = tuple(f"food {place}" for place in range(20))
    rng = np.random.default_rng(4)
    days = [rng.choice(20, 500, p=np.arange(20, 0, -1) / 210).astype(float) for _ in range(7)]
    binned = BinnedDays.from_days(days, words)
    assert [name for name, _, _ in binned.labels] == [*words[:9], "all others"]
    np.testing.assert_allclose(binned.shares.sum(axis=1), 1.0)
    unknown = binned.shares_of([np.full(10, -1.0)])
    assert unknown[0].tolist() == [0.0] * 9 + [1.0]


def test_a_feature_that_never_varies_has_one_bin_and_no_drift() -> None:
    same = [np.full(50, 3.0) for _ in range(7)]
    found = _compare(BinnedDays.from_days(same), same)
    assert (found.psi, found.p_value) == (0.0, 1.0)


def test_the_page_lists_every_rule_and_whether_it_asks_for_a_training() -> None:
    page = (Path(__file__).parents[2] / "docs" / "monitoring.md").read_text(encoding="utf-8")
    table = page.partition("| rule | fires when |")[2].partition("\n\n")[0]
    told = [line.split("|") for line in table.splitlines() if line.startswith("| `")]
    assert [(row[1].strip(" `"), row[3].strip() == "yes") for row in told] == [
        (rule.name, rule.triggers_training) for rule in RULES
    ]
