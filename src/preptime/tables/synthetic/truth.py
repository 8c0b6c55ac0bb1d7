"""What could be known: the true quantiles of an honest label, with and without a look into the kitchen."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from preptime.tables.synthetic.clock import DAY_SECONDS, QUARTERS, Clock, wait_seconds
from preptime.tables.synthetic.dirt import FORGOTTEN_SHARE, forgotten_longer_than, forgotten_weight
from preptime.tables.synthetic.noise import LoadMixture, load_effect, noise_below, quantiles_given_load

_STEP_SECONDS = 300.0
_STEPS = int(DAY_SECONDS / _STEP_SECONDS)
_LOG_LEVELS = np.linspace(4.5, 8.5, 17)
_ORDER_SPREAD = 0.45
"""Spread of the cooking times of one restaurant: its noise, and what its orders contain."""


LOAD_ROUNDS = 2
"""How often the expected load is fed back into the pace; more changes nothing."""


class ExpectedLoad:
    """The number of open orders to expect from what is known without looking: the restaurant's rate, pace and the time.

    Tables give, per order that a restaurant gets on that day, how many are open at each time of the day, for each kind
    of opening hours and each pace: arrivals until then, times the probability to be still cooking (or waiting for the
    kitchen to open, or forgotten).
    """

    def __init__(self, clock: Clock) -> None:
        """Tabulate for the clock's opening hours."""
        self.mixture = LoadMixture()
        middle = (np.arange(_STEPS) + 0.5) * _STEP_SECONDS
        share = np.repeat(clock.quarter_share, _STEPS // QUARTERS, axis=1) / (_STEPS // QUARTERS)
        # Half of a step's own arrivals come before its middle, a quarter of a step earlier on average.
        age = middle[:, None] - middle[None, :]
        counted = np.where(age > 0, 1.0, np.where(age == 0, 0.5, 0.0))
        self._cooking = np.array(
            [
                [(counted * _still_cooking(middle, opening, level)) @ arrivals for level in _LOG_LEVELS]
                for arrivals, opening in zip(share, clock.opening_seconds, strict=True)
            ]
        )
        self._forgotten = _forgotten_open(middle, share)

    def __call__(
        self,
        opening: NDArray[np.int8],
        log_pace_seconds: NDArray[np.float64],
        scale: NDArray[np.float64],
        seconds_of_day: NDArray[np.float64],
        daily_orders: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """[N] expected number of open orders; the load that it means slows the kitchen down, which adds to it."""
        step = (seconds_of_day / _STEP_SECONDS).astype(np.int64)
        forgotten = self._forgotten[opening, step]
        expected = daily_orders * (self._open_share(opening, log_pace_seconds, step) + forgotten)
        for _ in range(LOAD_ROUNDS):
            slowed = log_pace_seconds + scale * self.mixture.mean_effect(expected)
            expected = daily_orders * (self._open_share(opening, slowed, step) + forgotten)
        return expected

    def _open_share(
        self, opening: NDArray[np.int8], log_pace_seconds: NDArray[np.float64], step: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        spacing = _LOG_LEVELS[1] - _LOG_LEVELS[0]
        position = ((log_pace_seconds - _LOG_LEVELS[0]) / spacing).clip(0, len(_LOG_LEVELS) - 1.001)
        level = position.astype(np.int64)
        part = position - level
        share: NDArray[np.float64] = (1 - part) * self._cooking[opening, level, step]
        share += part * self._cooking[opening, level + 1, step]
        return share


def true_quantiles(
    wait: NDArray[np.float64],
    location: NDArray[np.float64],
    scale: NDArray[np.float64],
    open_orders: NDArray[np.int64],
    mixed: Iterable[NDArray[np.float64]],
) -> NDArray[np.float32]:
    """[8, N] seconds: p10, p50, p80, p90 of an honest label given the open orders, then given only their expectation.

    `mixed` are the latter's quantiles of load effect and noise together, see LoadMixture.
    """
    load = load_effect(open_orders)
    given = (load + quantile for quantile in quantiles_given_load())
    return np.array([wait + np.exp(location + scale * shift) for shift in (*given, *mixed)], dtype=np.float32)


def _still_cooking(middle: NDArray[np.floating], opening: float, level: float) -> NDArray[np.float64]:
    """[time, arrival] probability that an arrival is still open at a time."""
    starts = middle + wait_seconds(opening, middle)
    cooking = middle[:, None] - starts[None, :]
    own = np.eye(len(middle), dtype=bool) & (cooking >= 0)
    cooking[own] = _STEP_SECONDS / 4
    started = cooking > 0
    ended = noise_below((np.log(np.where(started, cooking, 1.0)) - level) / _ORDER_SPREAD)
    return np.where(started, 1 - ended, 1.0)


def _forgotten_open(middle: NDArray[np.floating], share: NDArray[np.float64]) -> NDArray[np.float64]:
    """[opening kinds, time] forgotten orders still open, per order a day; they come from up to three days back."""
    weight = forgotten_weight(middle)
    rate = FORGOTTEN_SHARE * weight / (share @ weight)[:, None].mean() * share
    open_now = np.zeros_like(share)
    for days_back in range(4):
        age = middle[:, None] - middle[None, :] + days_back * DAY_SECONDS
        open_now += rate @ np.where(age > 0, forgotten_longer_than(age), 0.0).T
    return open_now
