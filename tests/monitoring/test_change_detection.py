"""Change detection: definition of the statistic, false alarms, and detection time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from preptime.monitoring import change_detection
from preptime.monitoring.change_detection import MAX_LOG_RATIO, DailyRatios, clipped_log_ratio, detect_changes

THRESHOLD = 5.0
DAYS = 30


def make_daily_ratios(
    rng: np.random.Generator, orders: NDArray[np.int64], shift: NDArray[np.float64], day_error: float = 0.0115
) -> DailyRatios:
    """Return ratios of S segments on D days with heavy-tailed log ratios, shifts, and a shared error per day.

    `orders` and `shift` are [S, D].
    """
    segments, days = orders.shape
    segment = np.repeat(np.repeat(np.arange(segments), days), orders.ravel())
    day = np.repeat(np.tile(np.arange(days), segments), orders.ravel())
    shared = shift + rng.normal(0, day_error, (segments, days))
    ratio = 0.45 * rng.standard_t(4, len(segment)) + shared[segment, day]
    return DailyRatios.from_orders(segment, day, orders.shape, np.clip(ratio, -MAX_LOG_RATIO, MAX_LOG_RATIO))


def reference_statistic(daily: DailyRatios, segment: int, day: int) -> float:
    """Return the test statistic of one day without earlier alerts, computed directly from its definition."""
    n, total = daily.orders[segment], daily.sum_log_ratio[segment]
    all_orders = daily.orders.sum()
    pooled_variance = daily.sum_squared_log_ratio.sum() / all_orders - (daily.sum_log_ratio.sum() / all_orders) ** 2
    scatter = daily.sum_squared_log_ratio[segment].sum() - n.sum() * (total.sum() / n.sum()) ** 2
    variance = (scatter + 50 * pooled_variance) / (n.sum() + 50)
    unclipped_share = (daily.unclipped_orders[segment].sum() + 50 * daily.unclipped_orders.sum() / all_orders) / (
        n.sum() + 50
    )
    best = 0.0
    for first in range(day, max(day - 7, 6), -1):
        recent = [number for number in range(first, day + 1) if n[number]]
        past = [number for number in range(max(0, first - 28), first) if n[number]]
        if len(past) < 7 or min(n[recent].sum(), n[past].sum()) < 30:
            continue
        reference = total[past].sum() / n[past].sum()
        weights = [(n[number] / (n[number] + variance / 0.01**2)) ** 2 for number in past]
        excess = sum(
            weight * ((total[number] / n[number] - reference) ** 2 - variance / n[number])
            for weight, number in zip(weights, past, strict=True)
        )
        day_variance = max((10 * 0.01**2 + excess) / (10 + sum(weights)), 0.25 * 0.01**2)
        error = np.sqrt(
            variance * (1 / n[recent].sum() + 1 / n[past].sum()) + day_variance * (1 / len(recent) + 1 / len(past))
        )
        difference = total[recent].sum() / n[recent].sum() - reference
        statistic = np.sign(difference) * max(abs(difference) - np.log(1.02) * unclipped_share, 0) / error
        if abs(statistic) > abs(best):
            best = float(statistic)
    return best


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_detect_changes_matches_definition(seed: int) -> None:
    rng = np.random.default_rng(seed)
    orders = rng.poisson(rng.choice([0.5, 8, 60], (4, 1)), (4, 20))
    daily = make_daily_ratios(rng, orders, np.zeros((4, 20)))
    if not daily.orders.sum(axis=1).all():
        return
    result = detect_changes(daily, threshold=np.inf)
    for segment in range(4):
        for day in range(20):
            assert result.statistic[segment, day] == pytest.approx(reference_statistic(daily, segment, day), abs=1e-9)


def test_detect_changes_rarely_fires_by_chance() -> None:
    """60 months of 100 segments, with heavier tails and larger day errors than quiet months, fire at most once."""
    rng = np.random.default_rng(11)
    sizes = np.geomspace(2, 900, 100)[:, None]
    fired = 0
    for _ in range(60):
        daily = make_daily_ratios(rng, rng.poisson(sizes, (100, DAYS)), np.zeros((100, DAYS)), day_error=0.015)
        fired += bool(detect_changes(daily, THRESHOLD).fired.any())
    assert fired <= 1


def test_comparing_orders_instead_of_days_fires_often() -> None:
    """The reason to compare days: a test that assumes independent orders fires in quiet months."""
    rng = np.random.default_rng(12)
    fired = 0
    for _ in range(20):
        daily = make_daily_ratios(rng, np.full((1, DAYS), 20_000), np.zeros((1, DAYS)), day_error=0.015)
        mean = daily.sum_log_ratio[0] / daily.orders[0]
        error = np.sqrt(daily.sum_squared_log_ratio[0] / daily.orders[0] - mean**2) / np.sqrt(daily.orders[0])
        fired += bool((np.abs(mean[1:] - mean[:-1]) / (error[1:] * np.sqrt(2)) > THRESHOLD).any())
    assert fired >= 15
    quiet = make_daily_ratios(rng, np.full((1, DAYS), 20_000), np.zeros((1, DAYS)), day_error=0.015)
    assert not detect_changes(quiet, THRESHOLD).fired.any()


@pytest.mark.parametrize(
    ("orders_per_day", "factor", "max_days", "tolerance"),
    [(900, 1.15, 2, 0.1), (900, 0.85, 2, 0.1), (150, 1.3, 3, 0.2), (60, 1.3, 7, 0.35)],
)
def test_detect_changes_detects_shift_and_size(
    orders_per_day: int, factor: float, max_days: int, tolerance: float
) -> None:
    """With few orders, the size is overestimated, because chance helped to reach the threshold."""
    rng = np.random.default_rng(5)
    shift = np.zeros((1, DAYS))
    shift[:, 19:] = np.log(factor)
    for _ in range(10):
        result = detect_changes(make_daily_ratios(rng, np.full((1, DAYS), orders_per_day), shift), THRESHOLD)
        day = int(np.argmax(result.fired[0]))
        assert result.fired[0].any()
        assert 19 <= day < 19 + max_days
        assert np.sign(result.statistic[0, day]) == np.sign(factor - 1)
        assert result.recent_ratio[0, day] / result.reference_ratio[0, day] == pytest.approx(factor, rel=tolerance)


def test_detect_changes_after_alert_needs_new_days() -> None:
    """A single deviating day fires once. A lasting shift keeps firing, compared with the days before it."""
    rng = np.random.default_rng(6)
    single, lasting = np.zeros((1, DAYS)), np.zeros((1, DAYS))
    single[:, 19] = np.log(1.3)
    lasting[:, 19:] = np.log(1.3)
    orders = np.full((1, DAYS), 900)
    assert np.flatnonzero(detect_changes(make_daily_ratios(rng, orders, single), THRESHOLD).fired[0]).tolist() == [19]
    result = detect_changes(make_daily_ratios(rng, orders, lasting), THRESHOLD)
    assert result.fired[0, 19:].all()
    assert result.reference_ratio[0, -1] == pytest.approx(1.0, abs=0.05)


def test_detect_changes_return_to_baseline_is_quiet() -> None:
    rng = np.random.default_rng(8)
    shift = np.zeros((1, DAYS))
    shift[:, 15:20] = np.log(1.3)
    result = detect_changes(make_daily_ratios(rng, np.full((1, DAYS), 900), shift), THRESHOLD)
    assert set(np.flatnonzero(result.fired[0]).tolist()) == set(range(15, 20))


def test_detect_changes_needs_a_week_and_enough_orders() -> None:
    rng = np.random.default_rng(7)
    result = detect_changes(make_daily_ratios(rng, np.full((1, DAYS), 900), np.zeros((1, DAYS))), THRESHOLD)
    assert not result.has_enough_data[0, :7].any()
    assert result.has_enough_data[0, 7:].all()
    few = detect_changes(make_daily_ratios(rng, np.full((1, DAYS), 1), np.full((1, DAYS), 5.0)), THRESHOLD)
    assert not few.has_enough_data.any()
    no_orders = detect_changes(make_daily_ratios(rng, np.zeros((2, DAYS), np.int64), np.zeros((2, DAYS))), THRESHOLD)
    assert not no_orders.has_enough_data.any()


def test_clipped_log_ratio_limits_and_minimum_second() -> None:
    ratios = np.exp(clipped_log_ratio(np.array([0.0, 90.0, 900.0, 40.0]), np.array([100.0, 100.0, 100.0, 0.0])))
    assert ratios == pytest.approx([0.5, 0.9, 2.0, 2.0])


def test_constants_match_calibration() -> None:
    """After a change, measure again with `python -m benchmarks alerts`."""
    assert (
        change_detection.RATIO_TOLERANCE,
        change_detection.PRIOR_DAY_SD,
        change_detection.MAX_WINDOW_DAYS,
        change_detection.MAX_REFERENCE_DAYS,
    ) == (
        0.02,
        0.01,
        7,
        28,
    )
