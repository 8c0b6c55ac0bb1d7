"""The shapes of chance: normal scores, the kitchen's heavy-tailed noise, and its mixture over the kitchen's load."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

TAIL_WEIGHT = 0.10
"""Weight of the tails: fits the spread of labels around their restaurant's level between 1 % and 99 %."""

MAX_SCORE = 3.2
"""Scores are cut here, one order in 700: beyond it the tail would give days of cooking."""

LOAD_EFFECTS = (0.0, 0.098, 0.336, 0.580, 0.830, 1.07, 1.27)
"""What 0, 1, 2 … orders open in the kitchen add to the logarithm of the cooking time, in units of the kitchen's noise
scale; the last counts for more as well. Calibrated: the medians of the deviations come out at +8, +83, +173, +304 s."""

QUANTILE_LEVELS = (0.1, 0.5, 0.8, 0.9)

_MAX_MEAN_LOAD = 40.0


def normal_score(p: float) -> float:
    """Below it lies the share `p` of a standard normal."""
    return NormalDist().inv_cdf(p)


def heavy_tailed_noise(score: NDArray[np.float64]) -> NDArray[np.float64]:
    """A standard normal score with its tails stretched (Tukey's h). Monotone, so quantiles go through it."""
    clipped = score.clip(-MAX_SCORE, MAX_SCORE)
    stretched: NDArray[np.float64] = clipped * np.exp(0.5 * TAIL_WEIGHT * clipped * clipped)
    return stretched


def load_effect(open_orders: NDArray[np.int64]) -> NDArray[np.float64]:
    """[N] what the load adds, in units of the noise scale."""
    return np.array(LOAD_EFFECTS)[np.minimum(open_orders, len(LOAD_EFFECTS) - 1)]


def noise_cdf(value: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of the noise below each value."""
    stretched, cumulative = _noise_distribution()
    cdf: NDArray[np.float64] = np.interp(value, stretched, cumulative, left=0.0, right=1.0)
    return cdf


def noise_quantiles() -> NDArray[np.float64]:
    """[4] the noise's own quantiles."""
    return heavy_tailed_noise(np.array([normal_score(p) for p in QUANTILE_LEVELS]))


class LoadMixture:
    """Quantiles of load and noise together when only the expected number of open orders is known.

    The number is taken as Poisson (arrivals are, given their rate; a queue with unlimited servers keeps that). As the
    load counts in units of the noise scale, one table over the expected number serves every kitchen.
    """

    def __init__(self) -> None:
        """Tabulate."""
        self._sqrt_load_grid = np.linspace(0.0, np.sqrt(_MAX_MEAN_LOAD), 256)
        x = np.linspace(-5.0, 8.0, 2_601)
        cdf_by_load = np.array([noise_cdf(x - step) for step in LOAD_EFFECTS])
        probability = _poisson_probabilities(self._sqrt_load_grid**2, len(LOAD_EFFECTS))
        self._mean_effect = probability @ np.array(LOAD_EFFECTS)
        self._mean_effect = probability @ np.array(LOAD_EFFECTS)
        mixture_cdf = probability @ cdf_by_load
        self._quantile_table = np.array([[np.interp(p, row, x) for row in mixture_cdf] for p in QUANTILE_LEVELS])

    def quantiles(self, expected_open: NDArray[np.float64]) -> Iterator[NDArray[np.float64]]:
        """[N] each: the QUANTILE_LEVELS of load effect plus noise, in units of the noise scale."""
        root = np.sqrt(expected_open)
        return (np.interp(root, self._sqrt_load_grid, row) for row in self._quantile_table)

    def mean_effect(self, expected_open: NDArray[np.float64]) -> NDArray[np.float64]:
        """[N] what the load adds on average, in units of the noise scale."""
        effect: NDArray[np.float64] = np.interp(np.sqrt(expected_open), self._sqrt_load_grid, self._mean_effect)
        return effect


@cache
def _noise_distribution() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The noise at a fine grid of scores, and the share below it."""
    scores = np.linspace(-MAX_SCORE, MAX_SCORE, 3_001)
    return heavy_tailed_noise(scores), np.array([NormalDist().cdf(score) for score in scores])


def _poisson_probabilities(mean: NDArray[np.float64], steps: int) -> NDArray[np.float64]:
    """[M, steps] probability of 0, 1 … and, last, of `steps - 1` or more."""
    term = np.exp(-mean)
    columns = []
    for k in range(steps - 1):
        columns.append(term)
        term = term * mean / (k + 1)
    columns.append(np.maximum(1 - sum(columns), 0.0))
    return np.stack(columns, axis=1)
