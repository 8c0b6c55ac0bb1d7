"""The paired difference is the ratio estimator over days, and its test has the nominal error rate."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from preptime.evaluation.paired import SIGNIFICANCE_LEVEL, PairedDifference, paired_difference


def test_paired_difference_equals_values_computed_by_hand() -> None:
    """Differences are -3, -1 on day 7, -2 on day 8, and +1, -4, -3 on day 9: their mean is -2.

    The residuals of the days are -4 + 2·2 = 0, -2 + 2 = 0, and -6 + 3·2 = 0, so the standard error is 0.
    """
    reference, day = np.full(6, 10.0), np.array([7, 7, 8, 9, 9, 9])
    errors = reference + np.array([-3.0, -1.0, -2.0, 1.0, -4.0, -3.0])
    same = paired_difference("champion", errors, reference, day)
    assert same == PairedDifference("champion", 3, 6, 8.0, 10.0, -2.0, 0.0)
    assert same.is_better

    # Day 8 with 4 instead: the mean is -1. The residuals are -4 + 2 = -2, 4 + 1 = 5, and -6 + 3 = -3.
    errors[2] = 14.0
    other = paired_difference("champion", errors, reference, day)
    assert other is not None
    assert other.difference == pytest.approx(-1)
    assert other.standard_error == pytest.approx(math.sqrt(3 / 2 * (4 + 25 + 9)) / 6)
    assert not other.is_better
    assert not other.is_worse


@pytest.mark.parametrize(
    ("days", "critical"),
    # Quantiles of the t distribution with `days - 1` degrees of freedom for 95%, from a printed table.
    [(2, 6.314), (3, 2.920), (7, 1.943), (14, 1.771)],
)
def test_significance_uses_the_t_distribution_of_the_days(days: int, critical: float) -> None:
    difference = PairedDifference("champion", days, 1_000, 400.0, 400.0, -1.0, 1 / (critical + 0.001))
    assert difference.is_better
    almost = msgspec.structs.replace(difference, standard_error=1 / (critical - 0.001))
    assert not almost.is_better
    worse = msgspec.structs.replace(difference, difference=1.0)
    assert (worse.is_better, worse.is_worse) == (False, True)


def test_equal_predictions_and_one_day_are_not_significant() -> None:
    errors, day = np.random.default_rng(1).gamma(2.0, 200.0, 6), np.array([1, 1, 2, 2, 3, 3])
    equal = paired_difference("champion", errors, errors.copy(), day)
    assert equal is not None
    assert (equal.difference, equal.standard_error, equal.is_better, equal.is_worse) == (0, 0, False, False)
    one_day = paired_difference("champion", errors, errors + 1_000, np.ones(6, np.int64))
    assert one_day is not None
    assert (one_day.days, one_day.standard_error, one_day.is_better) == (1, None, False)
    assert paired_difference("champion", np.empty(0), np.empty(0), np.empty(0, np.int64)) is None


@given(st.permutations(range(6)), st.integers(1, 1_000))
def test_paired_difference_ignores_order_and_day_numbers(order: list[int], offset: int) -> None:
    errors, reference = np.array([1.0, 5.0, 2.0, 8.0, 3.0, 9.0]), np.array([2.0, 3.0, 4.0, 7.0, 9.0, 9.5])
    day = np.array([1, 1, 2, 2, 2, 3])
    expected, permuted = (
        paired_difference("champion", errors[rows], reference[rows], day[rows] * step)
        for rows, step in ((slice(None), 1), (order, offset))
    )
    assert expected is not None
    assert permuted is not None
    assert permuted.difference == pytest.approx(expected.difference)
    assert permuted.standard_error == pytest.approx(expected.standard_error)


@pytest.mark.parametrize("days", [3, 7])
def test_equal_models_are_promoted_in_one_of_twenty_gates(days: int) -> None:
    """Two models with the same error, in which each day favors one of them by chance: the rate is about 5%.

    The days have different numbers of orders. With 4,000 gates, the standard error of the rate is 0.34 points.
    """
    rng, gates = np.random.default_rng(20150617), 4_000
    orders = rng.integers(100, 200, days)
    day = np.repeat(np.arange(days), orders)
    passed = 0
    for _ in range(gates):
        reference = rng.gamma(2.0, 200.0, len(day))
        errors = reference + rng.normal(0, 20, days)[day] + rng.normal(0, 60, len(day))
        difference = paired_difference("champion", errors, reference, day)
        assert difference is not None
        passed += difference.is_better
    assert passed / gates == pytest.approx(SIGNIFICANCE_LEVEL, abs=0.015)
