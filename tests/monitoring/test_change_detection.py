"""The scan for a shift: what it is by definition, how seldom chance makes it, how soon it sees a real one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from preptime.monitoring import change_detection
from preptime.monitoring.change_detection import MAX_LOG_RATIO, DailyRatios, clipped_log_ratio, scan_for_shifts

THRESHOLD = 5.0
DAYS = 30


def days_of(
    rng: np.random.Generator, orders: NDArray[np.int64], moved: NDArray[np.float64], day_error: float = 0.0115
) -> DailyRatios:
    """Orders of S parts on D days ([S, D]) with heavy-tailed log ratios, moved by [S, D], and an error each day."""
    parts, days = orders.shape
    part = np.repeat(np.repeat(np.arange(parts), days), orders.ravel())
    day = np.repeat(np.tile(np.arange(days), parts), orders.ravel())
    shared = moved + rng.normal(0, day_error, (parts, days))
    ratio = 0.45 * rng.standard_t(4, len(part)) + shared[part, day]
    return DailyRatios.from_orders(part, day, orders.shape, np.clip(ratio, -MAX_LOG_RATIO, MAX_LOG_RATIO))


def naive(daily: DailyRatios, part: int, day: int) -> float:
    """The evidence of one morning, without an alarm before, said as plainly as can be."""
    n, total = daily.orders[part], daily.sum_log_ratio[part]
    everything = daily.orders.sum()
    variance_of_all = daily.sum_squared_log_ratio.sum() / everything - (daily.sum_log_ratio.sum() / everything) ** 2
    scatter = daily.sum_squared_log_ratio[part].sum() - n.sum() * (total.sum() / n.sum()) ** 2
    variance = (scatter + 50 * variance_of_all) / (n.sum() + 50)
    inside = (daily.unclipped_orders[part].sum() + 50 * daily.unclipped_orders.sum() / everything) / (n.sum() + 50)
    best = 0.0
    for first in range(day, max(day - 7, 6), -1):
        now = [one for one in range(first, day + 1) if n[one]]
        past = [one for one in range(max(0, first - 28), first) if n[one]]
        if len(past) < 7 or min(n[now].sum(), n[past].sum()) < 30:
            continue
        usual = total[past].sum() / n[past].sum()
        weights = [(n[one] / (n[one] + variance / 0.01**2)) ** 2 for one in past]
        own = sum(
            weight * ((total[one] / n[one] - usual) ** 2 - variance / n[one])
            for weight, one in zip(weights, past, strict=True)
        )
        of_days = max((10 * 0.01**2 + own) / (10 + sum(weights)), 0.25 * 0.01**2)
        error = np.sqrt(variance * (1 / n[now].sum() + 1 / n[past].sum()) + of_days * (1 / len(now) + 1 / len(past)))
        difference = total[now].sum() / n[now].sum() - usual
        evidence = np.sign(difference) * max(abs(difference) - np.log(1.02) * inside, 0) / error
        if abs(evidence) > abs(best):
            best = float(evidence)
    return best


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_every_mornings_evidence_is_what_its_definition_says(seed: int) -> None:
    rng = np.random.default_rng(seed)
    orders = rng.poisson(rng.choice([0.5, 8, 60], (4, 1)), (4, 20))
    daily = days_of(rng, orders, np.zeros((4, 20)))
    if not daily.orders.sum(axis=1).all():
        return
    seen = scan_for_shifts(daily, threshold=np.inf)
    for part in range(4):
        for day in range(20):
            assert seen.statistic[part, day] == pytest.approx(naive(daily, part, day), abs=1e-9)


def test_chance_alone_fires_in_at_most_one_month_of_sixty() -> None:
    """100 parts of all sizes, 30 days, 60 months: heavier tails and larger day errors than quiet months have."""
    rng = np.random.default_rng(11)
    sizes = np.geomspace(2, 900, 100)[:, None]
    fired = 0
    for _ in range(60):
        daily = days_of(rng, rng.poisson(sizes, (100, DAYS)), np.zeros((100, DAYS)), day_error=0.015)
        fired += bool(scan_for_shifts(daily, THRESHOLD).fired.any())
    assert fired <= 1


def test_a_naive_test_of_orders_would_fire_always() -> None:
    """Why days are compared: the same quiet months, were every order independent of every other."""
    rng = np.random.default_rng(12)
    fired = 0
    for _ in range(20):
        daily = days_of(rng, np.full((1, DAYS), 20_000), np.zeros((1, DAYS)), day_error=0.015)
        mean = daily.sum_log_ratio[0] / daily.orders[0]
        error = np.sqrt(daily.sum_squared_log_ratio[0] / daily.orders[0] - mean**2) / np.sqrt(daily.orders[0])
        fired += bool((np.abs(mean[1:] - mean[:-1]) / (error[1:] * np.sqrt(2)) > THRESHOLD).any())
    assert fired >= 15
    quiet = days_of(rng, np.full((1, DAYS), 20_000), np.zeros((1, DAYS)), day_error=0.015)
    assert not scan_for_shifts(quiet, THRESHOLD).fired.any()


@pytest.mark.parametrize(
    ("a_day", "factor", "within", "told"),
    [(900, 1.15, 2, 0.1), (900, 0.85, 2, 0.1), (150, 1.3, 3, 0.2), (60, 1.3, 7, 0.35)],
)
def test_a_real_shift_fires_soon_and_its_size_is_told(a_day: int, factor: float, within: int, told: float) -> None:
    """Of few orders the size is told too large on the day it fires: had chance not helped, it would not have fired."""
    rng = np.random.default_rng(5)
    moved = np.zeros((1, DAYS))
    moved[:, 19:] = np.log(factor)
    for _ in range(10):
        seen = scan_for_shifts(days_of(rng, np.full((1, DAYS), a_day), moved), THRESHOLD)
        day = int(np.argmax(seen.fired[0]))
        assert seen.fired[0].any()
        assert 19 <= day < 19 + within
        assert np.sign(seen.statistic[0, day]) == np.sign(factor - 1)
        assert seen.recent_ratio[0, day] / seen.reference_ratio[0, day] == pytest.approx(factor, rel=told)


def test_after_it_fired_only_new_days_speak_and_the_shift_is_not_what_is_usual() -> None:
    """A single odd day fires once. A shift that lasts goes on firing, against the days before it."""
    rng = np.random.default_rng(6)
    once, lasting = np.zeros((1, DAYS)), np.zeros((1, DAYS))
    once[:, 19] = np.log(1.3)
    lasting[:, 19:] = np.log(1.3)
    orders = np.full((1, DAYS), 900)
    assert np.flatnonzero(scan_for_shifts(days_of(rng, orders, once), THRESHOLD).fired[0]).tolist() == [19]
    seen = scan_for_shifts(days_of(rng, orders, lasting), THRESHOLD)
    assert seen.fired[0, 19:].all()
    assert seen.reference_ratio[0, -1] == pytest.approx(1.0, abs=0.05)


def test_a_return_to_what_was_usual_is_no_alarm() -> None:
    rng = np.random.default_rng(8)
    moved = np.zeros((1, DAYS))
    moved[:, 15:20] = np.log(1.3)
    seen = scan_for_shifts(days_of(rng, np.full((1, DAYS), 900), moved), THRESHOLD)
    assert set(np.flatnonzero(seen.fired[0]).tolist()) == set(range(15, 20))


def test_nothing_is_known_before_a_week_has_passed_or_of_a_handful_of_orders() -> None:
    rng = np.random.default_rng(7)
    seen = scan_for_shifts(days_of(rng, np.full((1, DAYS), 900), np.zeros((1, DAYS))), THRESHOLD)
    assert not seen.has_enough_data[0, :7].any()
    assert seen.has_enough_data[0, 7:].all()
    few = scan_for_shifts(days_of(rng, np.full((1, DAYS), 1), np.full((1, DAYS), 5.0)), THRESHOLD)
    assert not few.has_enough_data.any()
    nobody = scan_for_shifts(days_of(rng, np.zeros((2, DAYS), np.int64), np.zeros((2, DAYS))), THRESHOLD)
    assert not nobody.has_enough_data.any()


def test_ratios_are_clipped_at_twice_and_half_and_a_second_is_the_least() -> None:
    found = np.exp(clipped_log_ratio(np.array([0.0, 90.0, 900.0, 40.0]), np.array([100.0, 100.0, 100.0, 0.0])))
    assert found == pytest.approx([0.5, 0.9, 2.0, 2.0])


def test_the_constants_are_those_that_were_calibrated() -> None:
    """Whoever changes one has to measure anew: `python -m benchmarks alerts`."""
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
