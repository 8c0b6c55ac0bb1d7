"""The few statistics that drift is told by, in NumPy alone; the tests hold them to SciPy's."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

MIN_SHARE = 1e-4
"""An empty bin counts as this share in a PSI, which would be infinite otherwise."""
_MAX_ITERATIONS = 300
_TINY = 1e-300


def psi(reference: NDArray[np.float64], recent: NDArray[np.float64]) -> float:
    """Population stability index of two sets of shares over the same bins: Σ (b - a) ln(b / a)."""
    a, b = np.maximum(reference, MIN_SHARE), np.maximum(recent, MIN_SHARE)
    return float(np.sum((b - a) * np.log(b / a)))


def welch_p_values(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """[K] two-sided p-values of Welch's t-test for columns of [n, K] and [m, K], two rows or more in each.

    Columns that don't vary in either are 1 where their means agree and 0 where they don't.
    """
    na, nb = len(a), len(b)
    va, vb = a.var(axis=0, ddof=1) / na, b.var(axis=0, ddof=1) / nb
    difference = np.abs(a.mean(axis=0) - b.mean(axis=0))
    spread = va + vb
    p = np.where(difference > 1e-12, 0.0, 1.0)
    for column in np.flatnonzero(spread > 1e-24):
        degrees_of_freedom = spread[column] ** 2 / (va[column] ** 2 / (na - 1) + vb[column] ** 2 / (nb - 1))
        p[column] = two_sided_p_value(float(difference[column] / math.sqrt(spread[column])), float(degrees_of_freedom))
    return p


def two_sided_p_value(t: float, degrees_of_freedom: float) -> float:
    """The probability that Student's t with so many degrees of freedom is at least |t| away from 0."""
    denominator = degrees_of_freedom + t * t
    return _incomplete_beta(degrees_of_freedom / 2, 0.5, degrees_of_freedom / denominator, t * t / denominator)


def holm_adjust(p_values: NDArray[np.float64]) -> NDArray[np.float64]:
    """[K] p-values adjusted after Holm (1979): whatever is true of the others, at most α of all families get one ≤ α.

    It holds however the K depend on each other.
    """
    order = np.argsort(p_values, kind="stable")
    stepped = np.maximum.accumulate((len(p_values) - np.arange(len(p_values))) * p_values[order])
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


def _incomplete_beta(a: float, b: float, x: float, complement: float) -> float:
    """The regularized incomplete beta function at `x`, by Lentz's continued fraction (DLMF 8.17.22).

    `rest` is 1 - x, which the caller knows to more digits.
    """
    if x <= 0.0 or complement <= 0.0:
        return 0.0 if x <= 0.0 else 1.0
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log(complement))
    if x < (a + 1) / (a + b + 2):
        return front * _beta_continued_fraction(a, b, x) / a
    return 1.0 - front * _beta_continued_fraction(b, a, complement) / b


def _beta_continued_fraction(a: float, b: float, x: float) -> float:
    c, d = 1.0, _away_from_zero(1.0 - (a + b) * x / (a + 1))
    d = 1.0 / d
    value = d
    for m in range(1, _MAX_ITERATIONS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        d, c = 1.0 / _away_from_zero(1.0 + even * d), _away_from_zero(1.0 + even / c)
        value *= d * c
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        d, c = 1.0 / _away_from_zero(1.0 + odd * d), _away_from_zero(1.0 + odd / c)
        step = d * c
        value *= step
        if abs(step - 1.0) < 1e-15:
            break
    return value


def _away_from_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY
