"""The few statistics that drift is told by, in NumPy alone; the tests hold them to SciPy's."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

LEAST_SHARE = 1e-4
"""An empty bin counts as this share in a PSI, which would be infinite otherwise."""
_ENOUGH_STEPS = 300
_TINY = 1e-300


def psi(reference: NDArray[np.float64], recent: NDArray[np.float64]) -> float:
    """Population stability index of two sets of shares over the same bins: Σ (b - a) ln(b / a)."""
    a, b = np.maximum(reference, LEAST_SHARE), np.maximum(recent, LEAST_SHARE)
    return float(np.sum((b - a) * np.log(b / a)))


def welch(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """[K] two-sided p-values of Welch's t-test for columns of [n, K] and [m, K], two rows or more in each.

    Columns that don't vary in either are 1 where their means agree and 0 where they don't.
    """
    na, nb = len(a), len(b)
    va, vb = a.var(axis=0, ddof=1) / na, b.var(axis=0, ddof=1) / nb
    difference = np.abs(a.mean(axis=0) - b.mean(axis=0))
    spread = va + vb
    p = np.where(difference > 1e-12, 0.0, 1.0)
    for place in np.flatnonzero(spread > 1e-24):
        freedom = spread[place] ** 2 / (va[place] ** 2 / (na - 1) + vb[place] ** 2 / (nb - 1))
        p[place] = two_sided_p(float(difference[place] / math.sqrt(spread[place])), float(freedom))
    return p


def two_sided_p(t: float, freedom: float) -> float:
    """The probability that Student's t with so many degrees of freedom is at least |t| away from 0."""
    whole = freedom + t * t
    return _incomplete_beta(freedom / 2, 0.5, freedom / whole, t * t / whole)


def holm(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """[K] p-values adjusted after Holm (1979): whatever is true of the others, at most α of all families get one ≤ α.

    It holds however the K depend on each other.
    """
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate((len(p) - np.arange(len(p))) * p[order])
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


def _incomplete_beta(a: float, b: float, x: float, rest: float) -> float:
    """The regularized incomplete beta function at `x`, by Lentz's continued fraction (DLMF 8.17.22).

    `rest` is 1 - x, which the caller knows to more digits.
    """
    if x <= 0.0 or rest <= 0.0:
        return 0.0 if x <= 0.0 else 1.0
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log(rest))
    if x < (a + 1) / (a + b + 2):
        return front * _fraction(a, b, x) / a
    return 1.0 - front * _fraction(b, a, rest) / b


def _fraction(a: float, b: float, x: float) -> float:
    c, d = 1.0, _away(1.0 - (a + b) * x / (a + 1))
    d = 1.0 / d
    value = d
    for m in range(1, _ENOUGH_STEPS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        d, c = 1.0 / _away(1.0 + even * d), _away(1.0 + even / c)
        value *= d * c
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        d, c = 1.0 / _away(1.0 + odd * d), _away(1.0 + odd / c)
        step = d * c
        value *= step
        if abs(step - 1.0) < 1e-15:
            break
    return value


def _away(value: float) -> float:
    return value if abs(value) > _TINY else _TINY
