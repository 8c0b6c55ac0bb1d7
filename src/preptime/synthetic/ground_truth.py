"""The shapes of chance: normal scores, the kitchen's heavy-tailed noise, and its mixture over the kitchen's load.

Labels that are not preparation times: "ready" tapped at once, or forgotten for hours.

What could be known: the true quantiles of an honest label, with and without a look into the kitchen.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from preptime.domain.timestamps import SECONDS_PER_DAY
from preptime.synthetic.demand import QUARTERS, DemandProfile, wait_seconds
from preptime.synthetic.world import FORGOTTEN_SECONDS_QUANTILES, REFERENCE_ORDERS

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


ZERO_LABEL_SHARE = 103 / REFERENCE_ORDERS
FORGOTTEN_SHARE = 0.0047
"""With the honest labels over 3 hours (before opening, mostly) it makes 202 of 32,394."""

FORGOTTEN_HOURS = (13.0, 18.0)
FORGOTTEN_HOURS_WEIGHT = 10.0
"""An afternoon's order is forgotten that many times as often as another: nobody comes by until the evening."""

_LOG_TAP_SECONDS, _LOG_TAP_SPREAD = np.log(22.0), 0.75


def forgotten_weight(seconds_of_day: NDArray[np.floating]) -> NDArray[np.float64]:
    """[N] how likely an order acknowledged then is forgotten, relatively."""
    first, last = (hour * 3_600 for hour in FORGOTTEN_HOURS)
    return np.where((seconds_of_day >= first) & (seconds_of_day < last), FORGOTTEN_HOURS_WEIGHT, 1.0)


def forgotten_share_longer_than(seconds: NDArray[np.floating]) -> NDArray[np.float64]:
    """Share of forgotten orders whose label is larger."""
    share, label = zip(*FORGOTTEN_SECONDS_QUANTILES, strict=True)
    cumulative_share: NDArray[np.float64] = np.interp(np.log(np.maximum(seconds, 1.0)), np.log(label), share)
    return 1 - cumulative_share


def draw_label_noise(
    early_tap: NDArray[np.float64],
    seconds_of_day: NDArray[np.float64],
    before_opening: NDArray[np.bool_],
    rng: np.random.Generator,
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """[N] whether a label is dirty, and the seconds it then says.

    `early_tap` is the restaurant's probability of tapping at once. Orders before opening are clean. Zeros and forgotten
    orders are as many as their share says: of such rare ones chance would give another figure each time.
    """
    count = len(early_tap)
    noisy_seconds = np.exp(_LOG_TAP_SECONDS + _LOG_TAP_SPREAD * rng.standard_normal(count)).clip(3.0, 59.0)
    tapped_early = (rng.random(count) < early_tap) & ~before_opening
    zero_rows = rng.permutation(np.flatnonzero(tapped_early))[: _round_randomly(count, ZERO_LABEL_SHARE, rng)]
    noisy_seconds[zero_rows] = 0.5 * rng.random(len(zero_rows))

    forget_time = rng.standard_exponential(count) / forgotten_weight(seconds_of_day)
    forget_time[before_opening | tapped_early] = np.inf
    forgotten_count = min(_round_randomly(count, FORGOTTEN_SHARE, rng), int(np.isfinite(forget_time).sum()))
    forgotten_rows = rng.permutation(np.argsort(forget_time, kind="stable")[:forgotten_count])
    share, label = zip(*FORGOTTEN_SECONDS_QUANTILES, strict=True)
    noisy_seconds[forgotten_rows] = np.exp(
        np.interp(
            (np.arange(forgotten_count) + rng.random(forgotten_count)) / max(forgotten_count, 1), share, np.log(label)
        )
    )
    is_noisy = tapped_early
    is_noisy[forgotten_rows] = True
    return is_noisy, noisy_seconds


def _round_randomly(count: int, share: float, rng: np.random.Generator) -> int:
    """`count * share`, its fraction left to chance."""
    return int(count * share + rng.random())


_STEP_SECONDS = 300.0
_STEPS = int(SECONDS_PER_DAY / _STEP_SECONDS)
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
        age = middle[:, None] - middle[None, :] + days_back * SECONDS_PER_DAY
        open_now += rate @ np.where(age > 0, forgotten_share_longer_than(age), 0.0).T
    return open_now
