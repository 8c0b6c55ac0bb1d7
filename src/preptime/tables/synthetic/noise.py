"""The shapes of chance: normal scores, the kitchen's heavy-tailed noise, and its mixture over the kitchen's load."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

TAIL = 0.10
"""Weight of the tails: fits the spread of labels around their restaurant's level between 1 % and 99 %."""

LARGEST_SCORE = 3.2
"""Scores are cut here, one order in 700: beyond it the tail would give days of cooking."""

LOAD_STEPS = (0.0, 0.098, 0.336, 0.580, 0.830, 1.07, 1.27)
"""What 0, 1, 2 … orders open in the kitchen add to the logarithm of the cooking time, in units of the kitchen's noise
scale; the last counts for more as well. Calibrated: the medians of the deviations come out at +8, +83, +173, +304 s."""

QUANTILES = (0.1, 0.5, 0.8, 0.9)

_LARGEST_MEAN_LOAD = 40.0


def normal_score(p: float) -> float:
    """Below it lies the share `p` of a standard normal."""
    return NormalDist().inv_cdf(p)


def noise(score: NDArray[np.float64]) -> NDArray[np.float64]:
    """A standard normal score with its tails stretched (Tukey's h). Monotone, so quantiles go through it."""
    cut = score.clip(-LARGEST_SCORE, LARGEST_SCORE)
    stretched: NDArray[np.float64] = cut * np.exp(0.5 * TAIL * cut * cut)
    return stretched


def load_effect(open_orders: NDArray[np.int64]) -> NDArray[np.float64]:
    """[N] what the load adds, in units of the noise scale."""
    return np.array(LOAD_STEPS)[np.minimum(open_orders, len(LOAD_STEPS) - 1)]


def noise_below(value: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of the noise below each value."""
    stretched, cumulative = _distribution()
    below: NDArray[np.float64] = np.interp(value, stretched, cumulative, left=0.0, right=1.0)
    return below


def quantiles_given_load() -> NDArray[np.float64]:
    """[4] the noise's own quantiles."""
    return noise(np.array([normal_score(p) for p in QUANTILES]))


class LoadMixture:
    """Quantiles of load and noise together when only the expected number of open orders is known.

    The number is taken as Poisson (arrivals are, given their rate; a queue with unlimited servers keeps that). As the
    load counts in units of the noise scale, one table over the expected number serves every kitchen.
    """

    def __init__(self) -> None:
        """Tabulate."""
        self._root = np.linspace(0.0, np.sqrt(_LARGEST_MEAN_LOAD), 256)
        x = np.linspace(-5.0, 8.0, 2_601)
        below = np.array([noise_below(x - step) for step in LOAD_STEPS])
        probability = _poisson(self._root**2, len(LOAD_STEPS))
        self._mean_effect = probability @ np.array(LOAD_STEPS)
        self._mean_effect = probability @ np.array(LOAD_STEPS)
        mixed = probability @ below
        self._table = np.array([[np.interp(p, row, x) for row in mixed] for p in QUANTILES])

    def quantiles(self, expected_open: NDArray[np.float64]) -> Iterator[NDArray[np.float64]]:
        """[N] each: the QUANTILES of load effect plus noise, in units of the noise scale."""
        root = np.sqrt(expected_open)
        return (np.interp(root, self._root, row) for row in self._table)

    def mean_effect(self, expected_open: NDArray[np.float64]) -> NDArray[np.float64]:
        """[N] what the load adds on average, in units of the noise scale."""
        effect: NDArray[np.float64] = np.interp(np.sqrt(expected_open), self._root, self._mean_effect)
        return effect


@cache
def _distribution() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The noise at a fine grid of scores, and the share below it."""
    scores = np.linspace(-LARGEST_SCORE, LARGEST_SCORE, 3_001)
    return noise(scores), np.array([NormalDist().cdf(score) for score in scores])


def _poisson(mean: NDArray[np.float64], steps: int) -> NDArray[np.float64]:
    """[M, steps] probability of 0, 1 … and, last, of `steps - 1` or more."""
    term = np.exp(-mean)
    columns = []
    for k in range(steps - 1):
        columns.append(term)
        term = term * mean / (k + 1)
    columns.append(np.maximum(1 - sum(columns), 0.0))
    return np.stack(columns, axis=1)
