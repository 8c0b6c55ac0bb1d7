"""The paired difference is the jackknife of a ratio over days, and its test has at most the nominal error rate."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from preptime.evaluation.paired import (
    SIGNIFICANCE_LEVEL,
    PairedDifference,
    paired_difference,
    paired_difference_of_days,
)


def test_paired_difference_equals_values_computed_by_hand() -> None:
    """Differences are -3, -1 on day 7, -2 on day 8, and +1, -4, -3 on day 9.

    Their mean is -2, and also without any of the days, so the standard error is 0.
    """
    reference, day = np.full(6, 10.0), np.array([7, 7, 8, 9, 9, 9])
    errors = reference + np.array([-3.0, -1.0, -2.0, 1.0, -4.0, -3.0])
    same = paired_difference("champion", errors, reference, day)
    assert same is not None
    # The squared deviations from -2 are 1, 1, 0, 9, 4, and 1, with the sum 16.
    assert same.order_standard_error == pytest.approx(math.sqrt(16 / 5 / 6))
    assert msgspec.structs.replace(same, order_standard_error=None) == PairedDifference(
        "champion", 3, 6, 8.0, 10.0, -2.0, 0.0, 6**2 / (2**2 + 1 + 3**2)
    )
    assert same.is_better

    # Day 8 with 4 instead: the mean is -1. Without day 7, it's -2 / 4, without day 8 -10 / 5, and without day 9 0 / 3.
    errors[2] = 14.0
    other = paired_difference("champion", errors, reference, day)
    assert other is not None
    assert other.difference == pytest.approx(-1)
    assert other.standard_error == pytest.approx(math.sqrt(2 / 3 * (0.5**2 + 1 + 1)))
    assert not other.is_better
    assert not other.is_worse


@pytest.mark.parametrize("days", [2, 3, 7])
def test_equal_days_have_the_standard_error_of_the_mean_of_days(days: int) -> None:
    difference = np.random.default_rng(3).normal(0, 30, days)
    day = np.repeat(np.arange(days), 50)
    found = paired_difference("champion", difference[day], np.zeros(len(day)), day)
    assert found is not None
    assert found.standard_error == pytest.approx(difference.std(ddof=1) / math.sqrt(days))
    assert found.effective_days == pytest.approx(days)


def test_one_large_day_is_like_one_day() -> None:
    """One order on each of six other days doesn't make the difference of one day significant."""
    rng = np.random.default_rng(4)
    day = np.array([0] * 1_000 + [1, 2, 3, 4, 5, 6])
    reference = rng.gamma(2.0, 200.0, len(day))
    better, worse = (paired_difference("champion", reference + shift, reference, day) for shift in (-12.0, 12.0))
    assert better is not None
    assert worse is not None
    assert (better.days, better.has_enough_days, better.is_better) == (7, False, False)
    assert better.effective_days == pytest.approx(1.012, abs=1e-3)
    assert worse.is_worse


def test_document_of_an_earlier_release_counts_all_days() -> None:
    document = b'{"reference":"champion","days":7,"orders":700,"mae":9,"reference_mae":10,"difference":-1,'
    old = msgspec.json.decode(document + b'"standard_error":0.5}', type=PairedDifference)
    assert (old.effective_days, old.counted_days, old.is_better) == (None, 7.0, True)
    one_day = msgspec.structs.replace(old, days=1, standard_error=None, difference=9.0)
    assert (one_day.is_better, one_day.is_worse) == (False, False)


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
    assert (one_day.days, one_day.standard_error, one_day.is_better, one_day.is_worse) == (1, None, False, False)
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


@pytest.mark.parametrize(("difference", "is_better"), [(-39.6, False), (-39.8, True)])
def test_uncertainty_states_the_limit_that_decides(difference: float, is_better: bool) -> None:
    """The 95% quantile of t with two degrees of freedom is 2.92, so 2.8 standard errors aren't significant."""
    found = PairedDifference("champion", 3, 500, 400.0, 400.0 - difference, difference, 13.6)
    assert found.uncertainty == "standard error 13.6 s, significant from 39.7 s"
    assert found.is_better is is_better


@pytest.mark.parametrize(
    ("noise", "is_worse"),
    # The mean of 400 orders has a standard error of 3 s or 6 s, and the 95% quantile of t is 1.649.
    [(60.0, True), (120.0, False)],
)
def test_worse_on_one_day_uses_the_standard_error_over_orders(noise: float, is_worse: bool) -> None:
    reference = np.full(400, 500.0)
    spread = np.tile([1.0, -1.0], 200) * noise * math.sqrt(399 / 400)
    found = paired_difference("restaurant_lookup", reference + 7.0 + spread, reference, np.zeros(400, np.int64))
    assert found is not None
    assert found.order_standard_error == pytest.approx(noise / 20)
    assert (found.is_worse, found.is_better) == (is_worse, False)
    lower = paired_difference("restaurant_lookup", reference - 300.0, reference, np.zeros(400, np.int64))
    assert lower is not None
    assert (lower.is_worse, lower.is_better) == (False, False)


NOMINAL = SIGNIFICANCE_LEVEL
GATES = 4_000


@pytest.mark.parametrize(
    ("orders", "lowest", "highest"),
    [
        ([150] * 3, NOMINAL, NOMINAL),
        ([150] * 7, NOMINAL, NOMINAL),
        ([122, 187, 145], NOMINAL, NOMINAL),
        ([300, 500, 700, 1_000, 1_500, 900, 400], NOMINAL, NOMINAL),
        ([3_000, 3_000, 60], NOMINAL, NOMINAL),
        # A few days with most of the orders: fewer than 5%.
        ([1_000] * 3 + [3] * 4, 0, NOMINAL),
        ([2_500, 2_500, 5, 5, 5, 5, 5], 0, NOMINAL),
        ([2_000] + [600] * 2, 0, NOMINAL),
        ([5_000] + [500] * 6, 0, NOMINAL),
        # Nearly one day: never.
        ([5_000] + [200] * 6, 0, 0),
        ([5_000] + [20] * 6, 0, 0),
        ([5_000] + [1] * 6, 0, 0),
        ([2_000] + [100] * 2, 0, 0),
        ([2_000] + [5] * 2, 0, 0),
    ],
)
def test_equal_models_are_promoted_in_one_of_twenty_gates(orders: list[int], lowest: float, highest: float) -> None:
    """Two models with the same error, in which each day favors one of them by chance.

    The rate is at most about 5%, with three binomial standard errors of 0.34 points for 4,000 gates.
    """
    rng, n = np.random.default_rng(20150617), np.array(orders)
    tolerance = 3 * math.sqrt(NOMINAL * (1 - NOMINAL) / GATES)
    passed = 0
    for _ in range(GATES):
        sums = n * (rng.normal(0, 5, len(n)) + rng.normal(0, 60 / np.sqrt(n)))
        passed += paired_difference_of_days("champion", (500 * n + sums).tolist(), (500 * n).tolist(), orders).is_better
    assert (lowest - tolerance if lowest else 0) <= passed / GATES <= (highest + tolerance if highest else 0)
