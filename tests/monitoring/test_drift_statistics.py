"""PSI, Welch's test and Holm's adjustment against SciPy and against what defines them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from preptime.monitoring.drift import holm_adjust, psi, two_sided_p_value, welch_p_values

SHARES = st.lists(st.floats(0.001, 1.0), min_size=2, max_size=12)


@settings(deadline=None)
@given(st.floats(-40, 40), st.floats(1.0, 400))
def test_p_values_are_scipys(t: float, freedom: float) -> None:
    expected = 2 * stats.t.sf(abs(t), freedom)
    assert two_sided_p_value(t, freedom) == pytest.approx(expected, rel=1e-8, abs=1e-290)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 30), st.integers(2, 30), st.floats(0.1, 10))
def test_welch_is_scipys(seed: int, n: int, m: int, spread: float) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.normal(0, 1, (n, 4)), rng.normal(0.3, spread, (m, 4))
    expected = stats.ttest_ind(a, b, equal_var=False).pvalue
    np.testing.assert_allclose(welch_p_values(a, b), expected, rtol=1e-8)


def test_columns_without_variance_say_whether_they_agree() -> None:
    a = np.array([[0.5, 0.2]] * 7)
    b = np.array([[0.5, 0.3]] * 7)
    assert welch_p_values(a, b).tolist() == [1.0, 0.0]


@settings(deadline=None)
@given(SHARES, st.integers(0, 2**32 - 1))
def test_psi_is_the_sum_of_both_relative_entropies(weights: list[float], seed: int) -> None:
    a = np.array(weights) / np.sum(weights)
    b = np.random.default_rng(seed).permutation(a)
    # Where a share is raised to the least one, the entropies are of other numbers.
    if min(a.min(), b.min()) > 1e-4:
        assert psi(a, b) == pytest.approx(stats.entropy(a, b) + stats.entropy(b, a), abs=1e-12)
    assert psi(a, a) == 0.0
    assert psi(a, b) == pytest.approx(psi(b, a))


def test_an_empty_bin_is_no_infinity() -> None:
    assert 0 < psi(np.array([0.5, 0.5, 0.0]), np.array([0.4, 0.5, 0.1])) < 1.0


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_holm_rejects_what_its_steps_reject(p_values: list[float]) -> None:
    p = np.array(p_values)
    adjusted = holm_adjust(p)
    assert (adjusted >= np.minimum(p * 1.0, 1.0)).all()
    for alpha in (0.01, 0.05, 0.2):
        rejected: set[int] = set()
        for step, place in enumerate(np.argsort(p, kind="stable")):
            if p[place] * (len(p) - step) > alpha:
                break
            rejected.add(int(place))
        assert set(np.flatnonzero(adjusted <= alpha).tolist()) == rejected


def test_holm_keeps_its_promise_whatever_the_dependence() -> None:
    """Of families without a difference, at most 5 % get a rejection at 5 %: independent, and all but the same."""
    rng = np.random.default_rng(3)
    for shared in (0.0, 0.95):
        z = np.sqrt(shared) * rng.normal(size=(4_000, 1)) + np.sqrt(1 - shared) * rng.normal(size=(4_000, 27))
        p = 2 * stats.norm.sf(np.abs(z))
        wrong = np.mean([holm_adjust(family).min() <= 0.05 for family in p])
        assert wrong <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 4_000)
