"""The dispatch decision, compared with numeric minimization and with simulated orders."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from preptime.domain.dispatch import (
    LOWER_TAIL_LENGTH,
    MAX_LEVEL,
    MIN_LEVEL,
    UPPER_TAIL_LENGTH,
    decide,
    decide_order,
    dispatch_level,
    expected_waits,
    quantile_at,
)
from preptime.domain.orders import QUANTILE_LEVELS
from preptime.errors import UsageError
from tests.requirements import ROOT

QUANTILES = (458.0, 881.0, 1400.0, 1800.0)
POINTS = (np.arange(5_000) + 0.5) / 5_000
LEVELS = st.floats(MIN_LEVEL, MAX_LEVEL)
_WIDTHS = st.floats(0, 2_000).map(lambda width: round(width, 3))


@st.composite
def quantiles_of_orders(draw: st.DrawFn) -> tuple[float, ...]:
    """Return p10, p50, p80, and p90. Some are equal."""
    return tuple(np.cumsum([draw(_WIDTHS) for _ in QUANTILE_LEVELS]).tolist())


def ready_times(quantiles: tuple[float, ...], elapsed: float = -1.0) -> NDArray[np.float64]:
    """Return equally likely ready times after `elapsed`: the definition, without the formulas of the module."""
    p10, p50, p80, p90 = quantiles
    ends = max(p10 - LOWER_TAIL_LENGTH * (p50 - p10), 0), p90 + UPPER_TAIL_LENGTH * (p90 - p80)
    times = np.interp(POINTS, [0, 0.1, 0.5, 0.8, 0.9, 1], [ends[0], *quantiles, ends[1]])
    return times[times > elapsed]


def waits(times: NDArray[np.float64], arrival: float) -> tuple[float, float]:
    """Return the mean waiting times of courier and food."""
    return float(np.maximum(times - arrival, 0).mean()), float(np.maximum(arrival - times, 0).mean())


@pytest.mark.parametrize(
    ("courier_cost", "food_cost", "level"), [(1, 1, 0.5), (2, 1, 2 / 3), (1, 9, 0.1), (0.9, 0.1, 0.9), (30, 90, 0.25)]
)
def test_level_is_the_critical_ratio(courier_cost: float, food_cost: float, level: float) -> None:
    assert dispatch_level(courier_cost, food_cost) == pytest.approx(level, abs=1e-12)


@pytest.mark.parametrize(
    ("courier_cost", "food_cost"),
    [(10, 1), (1, 9.1), (0, 1), (1, 0), (-1, -1), (0, 0), (float("nan"), 1), (float("inf"), 1), (2, -1)],
)
def test_level_rejects_ratio_outside_the_quantiles(courier_cost: float, food_cost: float) -> None:
    with pytest.raises(UsageError, match="the ratio must be from 1:9 to 9:1"):
        dispatch_level(courier_cost, food_cost)


@given(quantiles_of_orders(), LEVELS, st.floats(0, 3_000))
def test_known_travel_gives_the_quantile_minus_travel(
    quantiles: tuple[float, ...], level: float, travel: float
) -> None:
    expected = max(float(quantile_at(np.array([quantiles]), level)[0]) - travel, 0.0)
    for travel_seconds in (travel, (travel, travel, travel)):
        decision = decide_order(quantiles, travel_seconds, level)
        assert decision.dispatch_seconds == pytest.approx(expected, abs=1e-9)
        assert decision.remaining_seconds == quantiles


@given(quantiles_of_orders(), LEVELS, st.floats(0, 3_000), st.none() | st.floats(0, 4_000))
def test_one_order_is_decided_like_many(
    quantiles: tuple[float, ...], level: float, travel: float, elapsed: float | None
) -> None:
    for travel_seconds in (travel, (travel * 0.7, travel, travel * 1.5)):
        decision = decide_order(quantiles, travel_seconds, level, elapsed)
        many = decide(
            np.array([quantiles] * 3),
            np.array([travel_seconds] * 3),
            level,
            None if elapsed is None else np.array([0.0, elapsed, elapsed]),
        )
        assert many.level == level
        assert bool(many.has_estimate[2]) is (decision.remaining_seconds is not None)
        assert many.dispatch_seconds[2] == pytest.approx(decision.dispatch_seconds, abs=1e-6)
        if decision.remaining_seconds is None:
            assert np.isnan([many.courier_wait_seconds[2], many.food_wait_seconds[2], *many.remaining_seconds[2]]).all()
            continue
        assert many.courier_wait_seconds[2] == pytest.approx(decision.courier_wait_seconds, abs=1e-6)
        assert many.food_wait_seconds[2] == pytest.approx(decision.food_wait_seconds, abs=1e-6)
        assert many.remaining_seconds[2] == pytest.approx(decision.remaining_seconds, abs=1e-6)


@given(quantiles_of_orders(), LEVELS, st.floats(0, 3_000), st.none() | st.floats(0, 0.95))
def test_decision_minimizes_the_expected_cost(
    quantiles: tuple[float, ...], level: float, travel: float, progress: float | None
) -> None:
    elapsed = None if progress is None else progress * quantiles[-1]
    decision = decide_order(quantiles, travel, level, elapsed)
    if decision.remaining_seconds is None:
        assert elapsed == quantiles[-1] == 0
        return
    times = ready_times(quantiles, -1.0 if elapsed is None else elapsed)
    courier_wait, food_wait = waits(times, decision.dispatch_seconds + travel)
    tolerance = 2e-3 * (1 + quantiles[-1] - quantiles[0] + UPPER_TAIL_LENGTH * (quantiles[-1] - quantiles[-2]))
    assert decision.courier_wait_seconds == pytest.approx(courier_wait, abs=tolerance)
    assert decision.food_wait_seconds == pytest.approx(food_wait, abs=tolerance)
    cost = level * courier_wait + (1 - level) * food_wait
    earliest = elapsed or 0.0
    for dispatch in np.linspace(earliest, max(times.max() - travel, earliest), 50):
        other_courier_wait, other_food_wait = waits(times, float(dispatch) + travel)
        assert cost <= level * other_courier_wait + (1 - level) * other_food_wait + tolerance


@given(quantiles_of_orders(), st.floats(0, 0.95))
def test_remaining_time_is_conditioned_on_not_ready(quantiles: tuple[float, ...], progress: float) -> None:
    elapsed = progress * quantiles[-1]
    decision = decide_order(quantiles, 0.0, 0.5, elapsed)
    if decision.remaining_seconds is None:
        assert elapsed == quantiles[-1] == 0
        return
    times = ready_times(quantiles, elapsed)
    assert list(decision.remaining_seconds) == sorted(decision.remaining_seconds)
    for level, remaining in zip(QUANTILE_LEVELS, decision.remaining_seconds, strict=True):
        assert remaining >= 0
        # Some quantiles are equal, so both sides of the quantile are checked.
        assert np.mean(times < elapsed + remaining - 0.01) <= level + 2e-3
        assert np.mean(times <= elapsed + remaining + 0.01) >= level - 2e-3


def test_uncertain_travel_matches_simulated_orders() -> None:
    rng = np.random.default_rng(14)
    travel = (400.0, 600.0, 1_100.0)
    for elapsed, level in ((None, 0.1), (None, 0.5), (None, 2 / 3), (None, 0.9), (700.0, 0.5), (700.0, 2 / 3)):
        ready = rng.choice(ready_times(QUANTILES, elapsed or -1.0), 400_000)
        travel_levels, travel_ends = [0, 0.1, 0.5, 0.9, 1], (250.0, 1_475.0)
        travelled = np.interp(rng.random(len(ready)), travel_levels, [travel_ends[0], *travel, travel_ends[1]])
        decision = decide_order(QUANTILES, travel, level, elapsed)
        late = ready - travelled - decision.dispatch_seconds
        courier_wait, food_wait = float(np.maximum(late, 0).mean()), float(np.maximum(-late, 0).mean())
        assert decision.courier_wait_seconds == pytest.approx(courier_wait, abs=6)
        assert decision.food_wait_seconds == pytest.approx(food_wait, abs=6)
        best = max(float(np.quantile(ready - travelled, level)), elapsed or 0.0)
        best_courier_wait, best_food_wait = waits(ready - travelled, best)
        assert level * (courier_wait - best_courier_wait) + (1 - level) * (food_wait - best_food_wait) < 0.2
        assert decision.dispatch_seconds == pytest.approx(best, abs=5 if level < 0.8 else 50)


@given(quantiles_of_orders(), st.floats(0, 5_000))
def test_expected_waits_are_those_of_simulated_orders(quantiles: tuple[float, ...], arrival: float) -> None:
    courier_wait, food_wait = expected_waits(np.array(quantiles), np.array([arrival]))
    expected = waits(ready_times(quantiles), arrival)
    assert (courier_wait.item(), food_wait.item()) == pytest.approx(expected, abs=1 + 1e-3 * quantiles[-1])


def test_uncertain_travel_approaches_known_travel() -> None:
    known = decide_order(QUANTILES, 600.0, 2 / 3)
    almost_known = decide_order(QUANTILES, (599.9, 600.0, 600.1), 2 / 3)
    assert almost_known.dispatch_seconds == pytest.approx(known.dispatch_seconds, abs=0.2)
    assert almost_known.courier_wait_seconds == pytest.approx(known.courier_wait_seconds, abs=0.2)
    assert almost_known.food_wait_seconds == pytest.approx(known.food_wait_seconds, abs=0.2)


def test_order_older_than_its_p90_is_dispatched_now() -> None:
    for travel in (600.0, (500.0, 600.0, 900.0)):
        for elapsed in (1_800.0, 90_000.0):
            older = decide_order(QUANTILES, travel, 0.5, elapsed)
            assert (older.dispatch_seconds, older.remaining_seconds) == (elapsed, None)
            assert np.isnan([older.courier_wait_seconds, older.food_wait_seconds]).all()
    # Of the times after 1,799 s, half are in the first half of the part above p90, which has a length of 1,600 s.
    younger = decide_order(QUANTILES, 600.0, 0.5, 1_799.0)
    assert younger.dispatch_seconds == pytest.approx(1_800 + 800 - 600, abs=2)


def test_docs_have_the_constants() -> None:
    page = (ROOT / "docs" / "dispatch.md").read_text(encoding="utf-8")
    assert f"p10 − {LOWER_TAIL_LENGTH:g} (p50 − p10)" in page
    assert f"p90 + {UPPER_TAIL_LENGTH:g} (p90 − p80)" in page


def test_decisions_of_large_batches_are_those_of_parts() -> None:
    rng = np.random.default_rng(7)
    quantiles = np.cumsum(rng.uniform(1, 600, (9_000, 4)), axis=1)
    travel = np.sort(rng.uniform(0, 1_200, (9_000, 3)), axis=1)
    travel[::7] = travel[::7, :1]
    everything, last = decide(quantiles, travel, 0.4), decide(quantiles[8_500:], travel[8_500:], 0.4)
    np.testing.assert_allclose(everything.dispatch_seconds[8_500:], last.dispatch_seconds, rtol=0, atol=1e-9)
    known = decide(quantiles[::7], travel[::7, 0], 0.4)
    np.testing.assert_array_equal(everything.dispatch_seconds[::7], known.dispatch_seconds)
    np.testing.assert_array_equal(everything.food_wait_seconds[::7], known.food_wait_seconds)
    assert len(decide(np.empty((0, 4)), np.empty(0), 0.5).dispatch_seconds) == 0
    assert len(decide(np.empty((0, 4)), np.empty((0, 3)), 0.5).dispatch_seconds) == 0
