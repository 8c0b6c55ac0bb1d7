"""PSI, Welch's test, and Holm's adjustment, compared with SciPy and with their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from preptime.monitoring.drift import holm_adjust, psi, welch_p_values

SHARES = st.lists(st.floats(0.001, 1.0), min_size=2, max_size=12)


@settings(deadline=None)
@given(st.floats(-40, 40), st.integers(2, 200))
def test_welch_p_values_are_accurate_in_the_tails(t: float, n: int) -> None:
    """Two samples with equal variances and a difference of `t` standard errors have 2n - 2 degrees of freedom."""
    sample = np.linspace(-1.0, 1.0, n)
    difference = t * np.sqrt(2 * sample.var(ddof=1) / n)
    p_values = welch_p_values(sample[:, None] + difference, sample[:, None])
    actual_t = (np.mean(sample + difference) - np.mean(sample)) / np.sqrt(2 * sample.var(ddof=1) / n)
    if abs(actual_t) > 1e-9:
        assert p_values[0] == pytest.approx(2 * stats.t.sf(abs(actual_t), 2 * n - 2), rel=1e-8, abs=1e-290)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 30), st.integers(2, 30), st.floats(0.1, 10))
def test_welch_p_values_match_scipy(seed: int, n: int, m: int, spread: float) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.normal(0, 1, (n, 4)), rng.normal(0.3, spread, (m, 4))
    expected = stats.ttest_ind(a, b, equal_var=False).pvalue
    np.testing.assert_allclose(welch_p_values(a, b), expected, rtol=1e-8)


def test_welch_p_values_without_variance() -> None:
    a = np.array([[0.5, 0.2]] * 7)
    b = np.array([[0.5, 0.3]] * 7)
    assert welch_p_values(a, b).tolist() == [1.0, 0.0]


@settings(deadline=None)
@given(SHARES, st.integers(0, 2**32 - 1))
def test_psi_is_sum_of_relative_entropies(weights: list[float], seed: int) -> None:
    a = np.array(weights) / np.sum(weights)
    b = np.random.default_rng(seed).permutation(a)
    # Shares below MIN_SHARE are raised, which changes the entropies.
    if min(a.min(), b.min()) > 1e-4:
        assert psi(a, b) == pytest.approx(stats.entropy(a, b) + stats.entropy(b, a), abs=1e-12)
    assert psi(a, a) == 0.0
    assert psi(a, b) == pytest.approx(psi(b, a))


def test_psi_with_empty_bin_is_finite() -> None:
    assert 0 < psi(np.array([0.5, 0.5, 0.0]), np.array([0.4, 0.5, 0.1])) < 1.0


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_holm_adjust_matches_step_down_procedure(p_values: list[float]) -> None:
    p = np.array(p_values)
    adjusted = holm_adjust(p)
    assert (adjusted >= np.minimum(p * 1.0, 1.0)).all()
    for alpha in (0.01, 0.05, 0.2):
        rejected: set[int] = set()
        for step, index in enumerate(np.argsort(p, kind="stable")):
            if p[index] * (len(p) - step) > alpha:
                break
            rejected.add(int(index))
        assert set(np.flatnonzero(adjusted <= alpha).tolist()) == rejected


def test_holm_adjust_bounds_error_under_dependence() -> None:
    """Without a difference, at most 5% of families have a rejection at 5%, independent or almost identical."""
    rng = np.random.default_rng(3)
    for shared in (0.0, 0.95):
        z = np.sqrt(shared) * rng.normal(size=(4_000, 1)) + np.sqrt(1 - shared) * rng.normal(size=(4_000, 27))
        p = 2 * stats.norm.sf(np.abs(z))
        error_rate = np.mean([holm_adjust(family).min() <= 0.05 for family in p])
        assert error_rate <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 4_000)
