"""Rules on counts, metrics, and distributions: quiet by chance, and alerts for real changes."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from preptime.monitoring.daily_metrics import DailyCounts, GroupMetrics
from preptime.monitoring.document import Alert, BacktestBaseline, DateRange, PredictionMetrics
from preptime.monitoring.drift import _compare
from preptime.monitoring.monitor import _evaluate_share_rules
from preptime.monitoring.outcomes import UnusableOrders
from preptime.monitoring.reference import BinnedDays
from preptime.monitoring.rule_evaluation import DailyShare, LastDay, evaluate_metrics, evaluate_share, evaluate_volume
from preptime.monitoring.rules import (
    FALLBACK_RATE,
    RULES,
    VOLUME_HIGH,
    VOLUME_LOW,
    RuleResult,
    find_rule,
    overall_status,
    summarize_statuses,
)

LAST = dt.date(2015, 6, 21)
LAST_DAY = LastDay(LAST, 0, UnusableOrders())
FRACTIONS = np.linspace(0.0, 0.99, 60).tolist()
ORDERS_BY_WEEKDAY = np.array([940.0, 920, 950, 890, 1_200, 1_270, 1_330])


def orders_per_day(days: int = 28) -> NDArray[np.float64]:
    """Return orders of days that end with a Sunday, with a weekly pattern."""
    return np.tile(ORDERS_BY_WEEKDAY, -(-days // 7))[-days:]


def test_rules_have_reason_rate_and_unique_name() -> None:
    assert len({rule.name for rule in RULES}) == len(RULES)
    for rule in RULES:
        assert rule.description
        assert rule.threshold_reason
        assert rule.false_alarm_rate
        assert find_rule(rule.name) is rule
    assert find_rule("no_such_rule") is None


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(8, 42))
def test_evaluate_volume_by_chance_is_quiet(seed: int, days: int) -> None:
    """Poisson counts with a weekly pattern and a day error of 8% raise no alert, for any number of days."""
    rng = np.random.default_rng(seed)
    orders = np.stack([orders_per_day(days), 0.06 * orders_per_day(days)]) * rng.normal(1, 0.08, days)
    low, high = evaluate_volume(rng.poisson(orders).astype(float), ("all", "Paris"), LAST_DAY)
    assert (low.to_report().status, high.to_report().status) == ("quiet", "quiet")


@pytest.mark.parametrize("days", [8, 14, 42])
def test_evaluate_volume_truncated_and_doubled_day_fire(days: int) -> None:
    truncated, doubled = orders_per_day(days), orders_per_day(days)
    truncated[-1] *= 0.3
    doubled[-1] *= 2.4
    low, _ = evaluate_volume(truncated[None], ("all",), LAST_DAY)
    assert [alert.rule for alert in low.alerts] == [VOLUME_LOW.name]
    assert "on 2015-06-21" in low.message
    _, high = evaluate_volume(doubled[None], ("all",), LAST_DAY)
    assert [alert.rule for alert in high.alerts] == [VOLUME_HIGH.name]


def test_evaluate_volume_without_orders_names_segment() -> None:
    no_orders, paris = orders_per_day(), 0.06 * orders_per_day()
    no_orders[-1] = 0
    low, _ = evaluate_volume(np.stack([no_orders, 0.9 * no_orders]), ("all", "London"), LAST_DAY)
    assert [(alert.segment, alert.value) for alert in low.alerts] == [("overall", "all")]
    paris[-1] = 0
    low, _ = evaluate_volume(np.stack([orders_per_day(), paris]), ("all", "Paris"), LAST_DAY)
    assert [(alert.segment, alert.value) for alert in low.alerts] == [("city", "Paris")]
    assert "in Paris" in low.message


def test_evaluate_volume_closed_weekday_is_quiet() -> None:
    closed = np.tile([940.0, 920, 950, 890, 1_200, 1_270, 0], 4)
    for result in evaluate_volume(closed[None], ("all",), LAST_DAY):
        assert result.status == "quiet"
        assert result.message == "0 usable orders on 2015-06-21, a weekday that usually has none."
    low, high = evaluate_volume(closed[None], ("all",), LAST_DAY)
    assert (low.observed, high.observed) == (1.0, 0.0)


def test_evaluate_volume_on_closed_weekday_is_high() -> None:
    """An export is misdated or repeated. A few orders are within chance."""
    orders = np.where(np.arange(36) % 7 == 0, 0.0, 200.0)
    orders[-1] = 500.0
    low, high = evaluate_volume(orders[None], ("all",), LAST_DAY)
    assert (low.status, high.status) == ("quiet", "alerting")
    assert high.message == "500 usable orders on 2015-06-21, a weekday that usually has none."
    orders[-1] = 7.0
    assert [result.status for result in evaluate_volume(orders[None], ("all",), LAST_DAY)] == ["quiet", "quiet"]


def test_evaluate_volume_first_week_has_insufficient_data() -> None:
    low, high = evaluate_volume(orders_per_day(7)[None], ("all",), LAST_DAY)
    assert (low.to_report().status, high.to_report().status) == ("undecided", "undecided")


@pytest.mark.parametrize("orders", [1, 10, 20])
def test_evaluate_volume_with_few_orders_is_undecided(orders: int) -> None:
    """Half of 20 orders is 10. A Poisson count with this mean is 0 with a probability of 5e-5, so 0 can be chance."""
    counts = np.full(29, float(orders))
    counts[-1] = 0.0
    low, high = evaluate_volume(counts[None], ("all",), LAST_DAY)
    assert (low.status, high.status) == ("undecided", "quiet")
    assert low.message == f"The normal number of usable orders on 2015-06-21 is {orders}. The rule needs 21."


@pytest.mark.parametrize("orders", [21, 32, 33, 1_000])
def test_evaluate_volume_day_without_orders_fires(orders: int) -> None:
    counts = np.full(29, float(orders))
    counts[-1] = 0.0
    low, _ = evaluate_volume(counts[None], ("all",), LAST_DAY)
    assert [alert.value for alert in low.alerts] == ["all"]


@pytest.mark.parametrize(
    ("orders", "is_low", "is_high"), [(9, True, False), (10, False, False), (157, False, False), (158, False, True)]
)
def test_evaluate_volume_uses_poisson_tail(orders: int, is_low: bool, is_high: bool) -> None:
    """Of 56 normal orders, half is 28 and twice is 112. The tails start at 9 and 158."""
    probability = stats.norm.sf(4)
    assert (stats.poisson.cdf(orders, 28) < probability) == is_low
    assert (stats.poisson.sf(orders - 1, 112) < probability) == is_high
    counts = np.append(np.full(28, 56.0), float(orders))
    low, high = evaluate_volume(counts[None], ("all",), LAST_DAY)
    assert (bool(low.alerts), bool(high.alerts)) == (is_low, is_high)


@pytest.mark.parametrize("days_with_orders", range(1, 28))
@pytest.mark.parametrize("starts", ["opening", "break"])
def test_evaluate_volume_new_city_is_quiet(days_with_orders: int, starts: str) -> None:
    """A city opened, or orders again after a break of two weeks. Its days without orders don't count as normal."""
    days, city = 42, np.full(42, 1_000.0)
    first = days - 1 - days_with_orders
    city[0 if starts == "opening" else max(first - 14, 0) : first] = 0.0
    city[-1] = 1_300.0
    _, high = evaluate_volume(np.stack([city + 3_000, city]), ("all", "Leeds"), LAST_DAY)
    assert high.status == "quiet"


def make_share(counts: NDArray[np.float64], totals: NDArray[np.float64]) -> DailyShare:
    return DailyShare(counts, totals, "predictions", "use no restaurant history")


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0, 0.5), st.integers(30, 20_000))
def test_evaluate_share_by_chance_is_quiet(seed: int, share: float, orders: int) -> None:
    """Daily shares vary by one percentage point beyond chance."""
    rng = np.random.default_rng(seed)
    totals = rng.poisson(orders, 20).clip(30).astype(float)
    counts = rng.binomial(totals.astype(int), np.clip(rng.normal(share, 0.01, 20), 0, 1)).astype(float)
    assert not evaluate_share(FALLBACK_RATE, make_share(counts, totals), LAST).alerts


def test_evaluate_share_jump_fires_with_both_shares() -> None:
    totals = np.full(20, 1_000.0)
    counts = np.full(20, 20.0)
    counts[-1] = 200.0
    result = evaluate_share(FALLBACK_RATE, make_share(counts, totals), LAST)
    assert [alert.rule for alert in result.alerts] == ["fallback_rate"]
    assert result.message == (
        "On 2015-06-21, 20.0% of 1,000 predictions use no restaurant history. The normal share is 2.0%."
    )


@pytest.mark.parametrize(
    ("totals", "message"),
    [
        ([1_000.0] * 6, "5 past days with predictions. The rule needs 7."),
        ([1_000.0, 1_000.0], "1 past day with predictions. The rule needs 7."),
        ([1_000.0] * 8 + [29.0], "29 predictions on 2015-06-21. The rule needs 30."),
        ([], "0 past days with predictions. The rule needs 7."),
    ],
)
def test_evaluate_share_undecided_states_what_is_missing(totals: list[float], message: str) -> None:
    counts = np.array(totals)
    result = evaluate_share(FALLBACK_RATE, make_share(0 * counts, counts), LAST)
    assert (result.status, result.message) == ("undecided", message)


def test_fallback_rate_ignores_unknown_levels() -> None:
    """A late export: 40 of 100 predictions of the take-home route have no outcome yet, so their level is unknown."""
    zeros, totals = np.zeros(9), np.full(9, 100.0)
    by_level = np.zeros((5, 9))
    by_level[0] = [95.0] * 8 + [57.0]
    by_level[4] = [5.0] * 8 + [3.0]
    counts = DailyCounts(0, zeros, zeros, totals, zeros, zeros, by_level, *[zeros] * 7)
    result = next(result for result in _evaluate_share_rules(counts, LAST) if result.rule is FALLBACK_RATE)
    assert result.status == "quiet"
    assert result.message == (
        "On 2015-06-21, 5.0% of 60 predictions with a known fallback level use no restaurant history. "
        "The normal share is 5.0%."
    )


def make_results(quiet: int, undecided: int, alerting: int) -> list[RuleResult]:
    alert = Alert(
        rule="coverage", segment="overall", value="all", observed=9.0, threshold=5.0, since=LAST, message="Coverage."
    )
    return [
        *[RuleResult(FALLBACK_RATE, 0.0, "Quiet.")] * quiet,
        *[RuleResult(FALLBACK_RATE, None, "Too few days.")] * undecided,
        *[RuleResult(FALLBACK_RATE, 9.0, "Coverage.", (alert,))] * alerting,
    ]


@pytest.mark.parametrize(
    ("counts", "status", "sentence"),
    [
        ((7, 8, 0), "undecided", "7 of 15 rules had enough data: quiet. 8 are undecided."),
        ((14, 1, 0), "undecided", "14 of 15 rules had enough data: quiet. 1 is undecided."),
        ((15, 0, 0), "quiet", "All 15 rules had enough data: quiet."),
        ((0, 15, 0), "undecided", "None of the 15 rules has enough data. All are undecided."),
        ((4, 9, 2), "alerting", "6 of 15 rules had enough data: 2 alerting, 4 quiet. 9 are undecided."),
        ((13, 0, 2), "alerting", "All 15 rules had enough data: 2 alerting, 13 quiet."),
    ],
)
def test_summarize_statuses_counts_rules(counts: tuple[int, int, int], status: str, sentence: str) -> None:
    results = make_results(*counts)
    assert overall_status(results) == status
    assert summarize_statuses(results) == sentence


def make_baseline(mae: float) -> BacktestBaseline:
    metrics = PredictionMetrics(
        n=900, mae=mae, bias=0.0, within_5_min=0.5, coverage=0.8, lookup_mae=mae, lookup_n=900, quantiles=()
    )
    return BacktestBaseline(bundle="b", days=DateRange(first=LAST, last=LAST), metrics=metrics)


def make_week(mae: float, lookup: float, coverage: float, ties: float = 0.0, seed: int = 3) -> GroupMetrics:
    """Return seven days of 1,000 orders with a shared error per day. `ties` is the share of outcomes at p10 or p90."""
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
            "in_interval": (covered := n * coverage * rng.normal(1, 0.01, 7)),
            "inside_interval": covered - n * ties,
        }
    )


def test_evaluate_metrics_as_in_backtest_is_quiet() -> None:
    results = evaluate_metrics(make_week(440, 500, 0.79), make_baseline(430), LAST)
    assert [result.to_report().status for result in results] == ["quiet"] * 3


@pytest.mark.parametrize(
    ("daily_metrics", "rule"),
    [
        (make_week(440, 500, 0.6), "coverage"),
        (make_week(440, 500, 0.97), "coverage"),
        (make_week(700, 800, 0.8), "worse_than_backtest"),
        (make_week(440, 400, 0.8), "worse_than_lookup"),
    ],
)
def test_evaluate_metrics_worse_week_fires(daily_metrics: GroupMetrics, rule: str) -> None:
    results = evaluate_metrics(daily_metrics, make_baseline(430), LAST)
    assert [result.rule.name for result in results if result.alerts] == [rule]


@pytest.mark.parametrize(
    ("coverage", "ties", "fires"),
    # Outcomes of whole 5 minutes: the gate accepts 69.0% without and 89.1% with those at the ends.
    [(0.891, 0.201, False), (0.97, 0.05, True), (0.6, 0.3, True), (0.95, 0.2, False), (0.891, 0.0, True)],
)
def test_coverage_rule_uses_the_band_of_the_gate(coverage: float, ties: float, fires: bool) -> None:
    result = evaluate_metrics(make_week(440, 500, coverage, ties), make_baseline(430), LAST)[0]
    assert (result.rule.name, bool(result.alerts)) == ("coverage", fires)
    assert ("without those at its ends" in result.message) is (ties > 0)


def test_evaluate_metrics_without_baseline_or_lookup() -> None:
    daily_metrics = make_week(440, 400, 0.8)
    pruned = GroupMetrics({**daily_metrics.sums, "has_lookup": daily_metrics.sums["n"] / 2})
    results = evaluate_metrics(pruned, None, LAST)
    assert [result.to_report().status for result in results] == ["quiet", "undecided", "undecided"]


def make_days(rng: np.random.Generator, days: int, shift: float = 0.0) -> list[NDArray[np.float64]]:
    """Return days of 1,000 values each. Daily means vary by a tenth of the standard deviation."""
    return [rng.normal(shift + rng.normal(0, 0.1), 1.0, 1_000) for _ in range(days)]


def test_compare_equal_distributions_rarely_differ() -> None:
    """A test that assumes 7,000 independent orders would almost always fire."""
    rng = np.random.default_rng(2)
    p = np.array([_compare(BinnedDays.from_days(make_days(rng, 14)), make_days(rng, 7)).p_value for _ in range(300)])
    assert np.mean(p <= 0.01) <= 0.02
    assert np.mean(p <= 0.1) <= 0.13


def test_compare_different_distributions_differ() -> None:
    rng = np.random.default_rng(2)
    comparison = _compare(BinnedDays.from_days(make_days(rng, 14)), make_days(rng, 7, shift=0.8))
    assert comparison.psi > 0.25
    assert comparison.p_value < 1e-3


def test_binned_days_keeps_most_frequent_categories() -> None:
    categories = tuple(f"food {index}" for index in range(20))
    rng = np.random.default_rng(4)
    days = [rng.choice(20, 500, p=np.arange(20, 0, -1) / 210).astype(float) for _ in range(7)]
    binned = BinnedDays.from_days(days, categories)
    assert [label for label, _, _ in binned.labels] == [*categories[:9], "all others"]
    np.testing.assert_allclose(binned.shares.sum(axis=1), 1.0)
    unknown = binned.shares_of([np.full(10, -1.0)])
    assert unknown[0].tolist() == [0.0] * 9 + [1.0]


@pytest.mark.parametrize(
    ("reference", "recent", "smallest_psi"),
    [
        ([0.0] * 95 + [1.0] * 5, [0.0] * 5 + [5.0] * 95, 5.0),  # mostly at the minimum
        ([0.0] * 5 + [1.0] * 90 + [2.0] * 5, [0.0] * 5 + [3.0] * 95, 5.0),  # mostly at another value
        ([3.0] * 100, [4.0] * 100, 10.0),
        ([3.0] * 100, [2.0] * 100, 10.0),
        (FRACTIONS + [1.0] * 40, FRACTIONS + [2.0] * 40, 2.0),  # often at the maximum
    ],
)
def test_compare_sees_changes_of_a_frequent_value(
    reference: list[float], recent: list[float], smallest_psi: float
) -> None:
    """A number is the same for most orders, for example 0 desserts, and then another one."""
    binned = BinnedDays.from_days([np.array(reference, np.float32)] * 14)
    comparison = _compare(binned, [np.array(recent, np.float32)] * 7)
    assert comparison.psi > smallest_psi
    assert comparison.p_value < 0.01
    assert _compare(binned, [np.array(reference, np.float32)] * 7).psi == pytest.approx(0.0, abs=1e-12)


def test_binned_days_bins_of_whole_numbers_are_values() -> None:
    binned = BinnedDays.from_days([np.repeat(np.arange(1.0, 6.0), (19, 20, 20, 20, 21))])
    assert [label for label, _, _ in binned.labels] == [
        "under 1",
        "1 to 2",
        "2 to 3",
        "3 to 4",
        "4 to 5",
        "5",
        "5 or more",
    ]
    np.testing.assert_allclose(binned.shares, [[0.0, 0.19, 0.2, 0.2, 0.2, 0.21, 0.0]])


def test_compare_constant_feature_has_no_drift() -> None:
    days = [np.full(50, 3.0) for _ in range(7)]
    comparison = _compare(BinnedDays.from_days(days), days)
    assert (comparison.psi, comparison.p_value) == (0.0, 1.0)


def test_monitoring_page_lists_every_rule() -> None:
    page = (Path(__file__).parents[2] / "docs" / "monitoring.md").read_text(encoding="utf-8")
    table = page.partition("| rule | fires when |")[2].partition("\n\n")[0]
    rows = [line.split("|") for line in table.splitlines() if line.startswith("| `")]
    assert [(row[1].strip(" `"), row[3].strip() == "yes") for row in rows] == [
        (rule.name, rule.triggers_training) for rule in RULES
    ]
