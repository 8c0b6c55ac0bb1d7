"""Tests of the conformal calibration on labels that the models weren't fitted on."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from preptime.domain.orders import QUANTILE_LEVELS
from preptime.errors import DataError
from preptime.formatting import format_count
from preptime.models.quantile import MIN_SCALED_SECONDS, QuantileModel
from preptime.training.calibration import (
    CALIBRATION_DAYS,
    FOLDS,
    MIN_CALIBRATION_ORDERS,
    _conformal_quantile,
    calibrate,
    calibration_days,
    calibration_shortfall,
)

SMALL = QuantileModel(tree_count=20, learning_rate=0.3, depth=3, border_count=32)


def make_orders(n: int, days: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.int64]]:
    """Return X, y, and days. Labels are log-normal around a level that depends on two features."""
    rng = np.random.default_rng(seed)
    X = rng.uniform(0, 1, (n, 3)).astype(np.float32)
    y = 600 * np.exp(X[:, 0] + 0.5 * (X[:, 1] > 0.5) + rng.normal(0, 0.5, n))
    return X, y, np.sort(rng.integers(0, days, n))


def test_calibrate_covers_later_days_at_each_level() -> None:
    """Models fitted and calibrated on twelve days predict later days. Their raw quantiles are far off."""
    n, later = 3_000, 20_000
    X, y, day = make_orders(n, 12, seed=1)
    later_X, later_y, _ = make_orders(later, 5, seed=2)
    calibration = calibrate(SMALL, X, y, day, threads=1, seed=12)
    raw = SMALL.fit(X, y, threads=1, seed=12)
    calibrated = raw.calibrated(np.array(calibration.scale)).predict(later_X)
    for column, level in enumerate(QUANTILE_LEVELS):
        # Four standard errors from two independent samples: the calibration orders and the later orders.
        bound = 4 * math.sqrt(level * (1 - level) * (1 / calibration.orders + 1 / later))
        assert abs(float(np.mean(later_y <= calibrated[:, column])) - level) <= bound


def test_calibrate_corrects_overfitted_quantiles() -> None:
    """Overfitted trees predict intervals that are too narrow for other orders."""
    overfitted = QuantileModel(tree_count=150, learning_rate=0.5, depth=7, border_count=64)
    X, y, day = make_orders(2_000, 12, seed=3)
    later_X, later_y, _ = make_orders(10_000, 5, seed=4)
    calibration = calibrate(overfitted, X, y, day, threads=1, seed=12)
    raw = overfitted.fit(X, y, threads=1, seed=12)
    before, after = (
        max(
            abs(float(np.mean(later_y <= column)) - level)
            for column, level in zip(quantiles.T, QUANTILE_LEVELS, strict=True)
        )
        for quantiles in (raw.predict(later_X), raw.calibrated(np.array(calibration.scale)).predict(later_X))
    )
    bound = 4 * math.sqrt(0.25 * (1 / calibration.orders + 1 / 10_000))
    assert after <= bound < before


def test_calibrate_scale_equals_quantile_of_relative_scores() -> None:
    """Compute the scale directly: four fits, each without a quarter of the latest days."""
    X, y, day = make_orders(800, 12, seed=5)
    calibration = calibrate(SMALL, X, y, day, threads=1, seed=12)
    latest = day > day.max() - 6  # half of twelve days, which is below the maximum of eight
    scores = []
    for fold in range(4):
        held_out = latest & (day % 4 == fold)
        predicted = SMALL.fit(X[~held_out], y[~held_out], threads=1, seed=12).predict(X[held_out]).astype(np.float64)
        scores += [
            [(label - q) / max(q, MIN_SCALED_SECONDS) for q in row]
            for label, row in zip(y[held_out], predicted, strict=True)
        ]
    n = len(scores)
    for column, level in enumerate(QUANTILE_LEVELS):
        ordered = sorted(row[column] for row in scores)
        assert calibration.scale[column] == ordered[min(math.ceil(round((n + 1) * level, 6)), n) - 1]
    assert (calibration.days, calibration.folds, calibration.orders) == (6, FOLDS, n)


def test_calibrate_uses_at_most_the_latest_eight_days() -> None:
    X, y, day = make_orders(1_000, 30, seed=6)
    calibration = calibrate(SMALL, X, y, day, threads=1, seed=12)
    assert (calibration.days, calibration.orders) == (CALIBRATION_DAYS, int((day >= 22).sum()))


def test_calibrate_is_equal_for_any_number_of_threads() -> None:
    X, y, day = make_orders(800, 12, seed=7)
    single, double = (calibrate(SMALL, X, y, day, threads=threads, seed=12) for threads in (1, 2))
    assert single == double


@pytest.mark.parametrize("days", [1, 4])
def test_calibrate_short_window_splits_folds_by_order(days: int) -> None:
    X, y, day = make_orders(900, days, seed=8)
    calibration = calibrate(SMALL, X, y, day, threads=1, seed=12)
    assert calibration.orders == int((day > day.max() - calibration.days).sum())
    assert calibration.days == max(days // 2, 1)


def test_calibrate_accepts_latest_days_without_orders() -> None:
    X, y, day = make_orders(900, 12, seed=9)
    has_orders = day % 4 != 3
    calibration = calibrate(SMALL, X[has_orders], y[has_orders], day[has_orders], threads=1, seed=12)
    assert calibration.orders == int((has_orders & (day > day[has_orders].max() - calibration.days)).sum())


def test_calibrate_rejects_too_few_orders() -> None:
    X, y, _ = make_orders(600, 12, seed=10)
    day = np.repeat([0, 11], [600 - MIN_CALIBRATION_ORDERS + 1, MIN_CALIBRATION_ORDERS - 1])
    with pytest.raises(DataError, match=r"Calibration needs 100 orders .* the latest 6 days .* Available: 99\."):
        calibrate(SMALL, X, y, day, threads=1, seed=12)


@given(st.lists(st.integers(0, 30), min_size=1, max_size=150))
def test_calibration_shortfall_states_what_is_enough(days: list[int]) -> None:
    """The stated number of additional orders on the latest day resolves the shortfall, and one less doesn't."""
    day = np.array(days)
    shortfall = calibration_shortfall(day)
    if shortfall is None:
        assert int((day > day.max() - calibration_days(day)).sum()) >= MIN_CALIBRATION_ORDERS
        return
    missing = shortfall.missing_orders
    assert f"Provide at least {format_count(missing, 'more order')} " in shortfall.remedy
    assert calibration_shortfall(np.append(day, [day.max()] * missing)) is None
    assert calibration_shortfall(np.append(day, [day.max()] * (missing - 1))) is not None


@pytest.mark.parametrize("level", QUANTILE_LEVELS)
@pytest.mark.parametrize("n", [9, 99, 100, 139, 1_000])
def test_conformal_quantile_has_smallest_sufficient_rank(n: int, level: float) -> None:
    """A new score falls into each of the n + 1 gaps with equal probability, so rank k covers k / (n + 1)."""
    scores = np.random.default_rng(n).permutation(n).astype(np.float64) + 1.0  # the k-th smallest is k
    rank = _conformal_quantile(scores, level)
    assert rank >= (n + 1) * level - 1e-6
    assert rank - 1 < (n + 1) * level - 1e-6


def test_conformal_quantile_with_few_scores_is_the_largest() -> None:
    assert _conformal_quantile(np.array([5.0, 1.0, 3.0]), 0.9) == 5.0
