"""Tests of the conformal calibration on labels that the models weren't fitted on."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from preptime.domain.orders import MIN_SCALED_SECONDS, QUANTILE_LEVELS
from preptime.evaluation.metrics import compute_interval, coverage_in_band
from preptime.formatting import format_count
from preptime.models.quantile import QuantileModel
from preptime.training.calibration import (
    CALIBRATION_DAYS,
    FOLDS,
    MIN_CALIBRATION_ORDERS,
    MIN_REDUCED_CALIBRATION_ORDERS,
    _conformal_quantile,
    calibration_days,
    calibration_shortfall,
    conformal_scores,
    few_label_values,
    fit_calibrated,
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
    fitted, calibration = fit_calibrated(SMALL, X, y, day, threads=1, seed=12)
    calibrated = fitted.predict(later_X)
    for column, level in enumerate(QUANTILE_LEVELS):
        # Four standard errors from two independent samples: the calibration orders and the later orders.
        bound = 4 * math.sqrt(level * (1 - level) * (1 / calibration.orders + 1 / later))
        assert abs(float(np.mean(later_y <= calibrated[:, column])) - level) <= bound


def test_calibrate_corrects_overfitted_quantiles() -> None:
    """Overfitted trees predict intervals that are too narrow for other orders."""
    overfitted = QuantileModel(tree_count=150, learning_rate=0.5, depth=7, border_count=64)
    X, y, day = make_orders(2_000, 12, seed=3)
    later_X, later_y, _ = make_orders(10_000, 5, seed=4)
    fitted, calibration = fit_calibrated(overfitted, X, y, day, threads=1, seed=12)
    raw = overfitted.fit(X, y, threads=1, seed=12)
    before, after = (
        max(
            abs(float(np.mean(later_y <= column)) - level)
            for column, level in zip(quantiles.T, QUANTILE_LEVELS, strict=True)
        )
        for quantiles in (raw.predict(later_X), fitted.predict(later_X))
    )
    bound = 4 * math.sqrt(0.25 * (1 / calibration.orders + 1 / 10_000))
    assert after <= bound < before


def test_calibrate_scale_equals_quantile_of_relative_scores() -> None:
    """Compute the scale directly: four fits, each without a quarter of the latest days."""
    X, y, day = make_orders(800, 12, seed=5)
    _, calibration = fit_calibrated(SMALL, X, y, day, threads=1, seed=12)
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
    _, calibration = fit_calibrated(SMALL, X, y, day, threads=1, seed=12)
    assert (calibration.days, calibration.orders) == (CALIBRATION_DAYS, int((day >= 22).sum()))


def test_calibrate_is_equal_for_any_number_of_threads() -> None:
    X, y, day = make_orders(800, 12, seed=7)
    (fitted, single), (again, double) = (
        fit_calibrated(SMALL, X, y, day, threads=threads, seed=12) for threads in (1, 2)
    )
    assert single == double
    np.testing.assert_array_equal(fitted.predict(X), again.predict(X))


@pytest.mark.parametrize("days", [1, 4])
def test_calibrate_short_window_splits_folds_by_order(days: int) -> None:
    X, y, day = make_orders(900, days, seed=8)
    _, calibration = fit_calibrated(SMALL, X, y, day, threads=1, seed=12)
    assert calibration.orders == int((day > day.max() - calibration.days).sum())
    assert calibration.days == max(days // 2, 1)


def test_calibrate_accepts_latest_days_without_orders() -> None:
    X, y, day = make_orders(900, 12, seed=9)
    has_orders = day % 4 != 3
    _, calibration = fit_calibrated(SMALL, X[has_orders], y[has_orders], day[has_orders], threads=1, seed=12)
    assert calibration.orders == int((has_orders & (day > day[has_orders].max() - calibration.days)).sum())


@pytest.mark.parametrize("least", [MIN_CALIBRATION_ORDERS, MIN_REDUCED_CALIBRATION_ORDERS])
def test_calibration_shortfall_names_days_and_orders(least: int) -> None:
    shortfall = calibration_shortfall(np.repeat([0, 11], [600, least - 1]), least)
    assert shortfall is not None
    expected = rf"Calibration needs {least} orders .* the latest 6 days .* Available: {least - 1}\."
    assert re.search(expected, shortfall.message)
    assert calibration_shortfall(np.repeat([0, 11], [600, least]), least) is None


LATER = 20_000


def rounded_orders(
    minutes: int, n: int, seed: int
) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.int64]]:
    """Return the orders of `make_orders` with labels of whole multiples of some minutes."""
    X, y, day = make_orders(n, 12, seed)
    return X, np.maximum(np.round(y / (60 * minutes)), 1) * 60 * minutes, day


@pytest.mark.parametrize("minutes", [15, 10, 5, 1])
def test_calibrate_with_few_label_values_covers_with_ties(minutes: int) -> None:
    """Bounds are values that occur. The target is between the coverage without and with the labels at them."""
    fitted, calibration = fit_calibrated(SMALL, *rounded_orders(minutes, 3_000, seed=1), threads=1, seed=12)
    later_X, later_y, _ = rounded_orders(minutes, LATER, seed=2)
    predicted = fitted.predict(later_X)
    assert set(np.unique(predicted).tolist()) <= set(calibration.label_values)
    assert len(calibration.label_values) <= 200
    for column, level in enumerate(QUANTILE_LEVELS):
        bound = 4 * math.sqrt(level * (1 - level) * (1 / calibration.orders + 1 / LATER))
        below, reached = float((later_y < predicted[:, column]).mean()), float((later_y <= predicted[:, column]).mean())
        assert below - bound <= level <= reached + bound
    interval = compute_interval(later_y, predicted)
    assert interval.coverage is not None
    assert interval.coverage_inside is not None
    assert interval.coverage_inside <= 0.8 <= interval.coverage
    assert coverage_in_band(interval.coverage, interval.coverage_inside, 0.0)


def test_few_label_values_needs_repeated_labels() -> None:
    rng = np.random.default_rng(3)
    minutes = (rng.integers(1, 61, 3_000) * 60).astype(np.float64)
    assert few_label_values(minutes).tolist() == list(range(60, 3_601, 60))
    assert few_label_values(minutes[:599]).size == 0  # fewer than ten orders per value
    assert few_label_values(rng.integers(1, 202, 100_000).astype(np.float64)).size == 0  # more than 200 values
    assert few_label_values(rng.integers(1, 201, 100_000).astype(np.float64)).size == 200
    assert few_label_values(np.empty(0)).size == 0


def test_conformal_scores_reach_labels_by_crossing_a_border() -> None:
    predicted, values = np.array([[400.0, 500.0, 30.0, 740.0]]), np.array([300.0, 600.0, 900.0])
    assert conformal_scores(predicted, np.array([600.0]), np.empty(0))[0] == pytest.approx(
        [200 / 400, 100 / 500, 570 / 60, -140 / 740]
    )
    # A quantile above 450 s becomes 600 s or more.
    expected = [50.01 / 400, -49.99 / 500, 420.01 / 60, -289.99 / 740]
    assert conformal_scores(predicted, np.array([600.0]), values)[0] == pytest.approx(expected)
    # Each quantile becomes at least the lowest value.
    assert conformal_scores(predicted, np.array([300.0]), values)[0].tolist() == [-1.0] * 4


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
