"""Tests of what is usual on a day, with values that are computed by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from preptime.validation.daily_baselines import count_noise, measure_share_rise, usual_for_weekday


def test_measure_share_rise_equals_its_formula() -> None:
    """Two days before the last one. The prior has the weight of ten days with a standard deviation of one point."""
    rise = measure_share_rise(np.array([10.0, 30.0, 60.0]), np.array([100.0, 100.0, 200.0]))
    assert (rise.usual, rise.current) == (0.2, 0.3)
    pooled = 101 / 402
    chance = pooled * (1 - pooled)
    days = (10 * 0.01**2 + (0.1**2 - chance / 100) + (0.1**2 - chance / 100)) / 12
    assert rise.error == pytest.approx(math.sqrt(chance * (1 / 200 + 1 / 200) + days * (1 + 1 / 2)), rel=1e-12)
    assert rise.statistic() == pytest.approx(0.05 / rise.error, rel=1e-12)
    assert rise.statistic(0.04) == pytest.approx(0.06 / rise.error, rel=1e-12)
    assert rise.statistic(0.1) == pytest.approx(0.0, abs=1e-12)


def test_measure_share_rise_ignores_empty_and_old_days() -> None:
    recent = measure_share_rise(np.array([5.0] * 28 + [9.0]), np.array([100.0] * 28 + [100.0]))
    with_others = measure_share_rise(
        np.array([90.0, 0.0] + [5.0] * 28 + [9.0]), np.array([100.0, 0.0] + [100.0] * 28 + [100.0])
    )
    assert recent == with_others


def test_usual_for_weekday_is_the_median_of_four_weeks() -> None:
    values = {0: 1_000.0, 7: 10.0, 14: 20.0, 21: 40.0, 28: 30.0, 34: 5_000.0}
    assert usual_for_weekday(values, 35) == 25.0
    assert usual_for_weekday(values, 42) == 30.0
    assert usual_for_weekday(values, 36) is None


def test_count_noise_is_that_of_a_poisson_count() -> None:
    assert count_noise(900.0, 2.0) == 60.0
    assert count_noise(0.2, 4.0) == 4.0
