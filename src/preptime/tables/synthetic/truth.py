"""What could be known: the true quantiles of an honest label, with and without a look into the kitchen."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from preptime.tables.synthetic.clock import DAY_SECONDS, QUARTERS, DemandProfile, wait_seconds
from preptime.tables.synthetic.dirt import FORGOTTEN_SHARE, forgotten_share_longer_than, forgotten_weight
from preptime.tables.synthetic.noise import LoadMixture, load_effect, noise_cdf, noise_quantiles

_STEP_SECONDS = 300.0
_STEPS = int(DAY_SECONDS / _STEP_SECONDS)
_LOG_PACE_GRID = np.linspace(4.5, 8.5, 17)
_COOKING_LOG_SPREAD = 0.45
"""Spread of the cooking times of one restaurant: its noise, and what its orders contain."""


LOAD_ITERATIONS = 2
"""How often the expected load is fed back into the pace; more changes nothing."""


class ExpectedLoad:
    """The number of open orders to expect from what is known without looking: the restaurant's rate, pace and the time.

    Tables give, per order that a restaurant gets on that day, how many are open at each time of the day, for each kind
    of opening hours and each pace: arrivals until then, times the probability to be still cooking (or waiting for the
    kitchen to open, or forgotten).
    """

    def __init__(self, demand: DemandProfile) -> None:
        """Tabulate for the clock's opening hours."""
        self.mixture = LoadMixture()
        midpoints = (np.arange(_STEPS) + 0.5) * _STEP_SECONDS
        share = np.repeat(demand.quarter_share, _STEPS // QUARTERS, axis=1) / (_STEPS // QUARTERS)
        # Half of a step's own arrivals come before its middle, a quarter of a step earlier on average.
        age = midpoints[:, None] - midpoints[None, :]
        arrival_weight = np.where(age > 0, 1.0, np.where(age == 0, 0.5, 0.0))
        self._cooking_open_share = np.array(
            [
                [(arrival_weight * _open_probability(midpoints, opening, level)) @ arrivals for level in _LOG_PACE_GRID]
                for arrivals, opening in zip(share, demand.opening_seconds, strict=True)
            ]
        )
        self._forgotten_open_share = _forgotten_open_share(midpoints, share)

    def __call__(
        self,
        opening_kind: NDArray[np.int8],
        log_pace_seconds: NDArray[np.float64],
        scale: NDArray[np.float64],
        seconds_of_day: NDArray[np.float64],
        daily_orders: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """[N] expected number of open orders; the load that it means slows the kitchen down, which adds to it."""
        step = (seconds_of_day / _STEP_SECONDS).astype(np.int64)
        forgotten = self._forgotten_open_share[opening_kind, step]
        expected = daily_orders * (self._open_share(opening_kind, log_pace_seconds, step) + forgotten)
        for _ in range(LOAD_ITERATIONS):
            slowed = log_pace_seconds + scale * self.mixture.mean_effect(expected)
            expected = daily_orders * (self._open_share(opening_kind, slowed, step) + forgotten)
        return expected

    def _open_share(
        self, opening_kind: NDArray[np.int8], log_pace_seconds: NDArray[np.float64], step: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        spacing = _LOG_PACE_GRID[1] - _LOG_PACE_GRID[0]
        position = ((log_pace_seconds - _LOG_PACE_GRID[0]) / spacing).clip(0, len(_LOG_PACE_GRID) - 1.001)
        level = position.astype(np.int64)
        fraction = position - level
        share: NDArray[np.float64] = (1 - fraction) * self._cooking_open_share[opening_kind, level, step]
        share += fraction * self._cooking_open_share[opening_kind, level + 1, step]
        return share


def true_quantiles(
    wait: NDArray[np.float64],
    location: NDArray[np.float64],
    scale: NDArray[np.float64],
    open_orders: NDArray[np.int64],
    mixture_quantiles: Iterable[NDArray[np.float64]],
) -> NDArray[np.float32]:
    """[8, N] seconds: p10, p50, p80, p90 of an honest label given the open orders, then given only their expectation.

    `mixture_quantiles` are the latter's quantiles of load effect and noise together, see LoadMixture.
    """
    load_shift = load_effect(open_orders)
    load_quantiles = (load_shift + quantile for quantile in noise_quantiles())
    return np.array(
        [wait + np.exp(location + scale * shift) for shift in (*load_quantiles, *mixture_quantiles)], dtype=np.float32
    )


def _open_probability(middle: NDArray[np.floating], opening: float, level: float) -> NDArray[np.float64]:
    """[time, arrival] probability that an arrival is still open at a time."""
    starts = middle + wait_seconds(opening, middle)
    cooking = middle[:, None] - starts[None, :]
    same_step = np.eye(len(middle), dtype=bool) & (cooking >= 0)
    cooking[same_step] = _STEP_SECONDS / 4
    started = cooking > 0
    ended = noise_cdf((np.log(np.where(started, cooking, 1.0)) - level) / _COOKING_LOG_SPREAD)
    return np.where(started, 1 - ended, 1.0)


def _forgotten_open_share(middle: NDArray[np.floating], share: NDArray[np.float64]) -> NDArray[np.float64]:
    """[opening kinds, time] forgotten orders still open, per order a day; they come from up to three days back."""
    weight = forgotten_weight(middle)
    rate = FORGOTTEN_SHARE * weight / (share @ weight)[:, None].mean() * share
    open_now = np.zeros_like(share)
    for days_back in range(4):
        age = middle[:, None] - middle[None, :] + days_back * DAY_SECONDS
        open_now += rate @ np.where(age > 0, forgotten_share_longer_than(age), 0.0).T
    return open_now
