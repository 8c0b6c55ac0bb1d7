"""The distributions of labels: heavy-tailed kitchen noise, label noise, and the true quantiles of each order.

Label noise means labels that aren't preparation times: "ready" is tapped too early, or forgotten for hours. The true
quantiles are those of a label without label noise, with and without knowledge of the open orders.
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
"""Weight of the tails (Tukey's h). It fits the spread of labels around their restaurant's level from 1% to 99%."""

MAX_SCORE = 3.2
"""Limit of the scores, which affects one order in 700. Without it, the tail would give days of cooking."""

LOAD_EFFECTS = (0.0, 0.098, 0.336, 0.580, 0.830, 1.07, 1.27)
"""Effect of 0, 1, 2, … open orders on the logarithm of the cooking time, in units of the kitchen's noise scale. The
last value also applies to more open orders. Calibrated so that the median deviations are +8, +83, +173, and +304 s."""

QUANTILE_LEVELS = (0.1, 0.5, 0.8, 0.9)

_MAX_MEAN_LOAD = 40.0


def normal_score(p: float) -> float:
    """Return the quantile `p` of the standard normal distribution."""
    return NormalDist().inv_cdf(p)


def heavy_tailed_noise(score: NDArray[np.float64]) -> NDArray[np.float64]:
    """Stretch the tails of standard normal scores (Tukey's h distribution). The map is monotone: it keeps quantiles."""
    clipped = score.clip(-MAX_SCORE, MAX_SCORE)
    stretched: NDArray[np.float64] = clipped * np.exp(0.5 * TAIL_WEIGHT * clipped * clipped)
    return stretched


def load_effect(open_orders: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the effect of the open orders, [N], in units of the noise scale."""
    return np.array(LOAD_EFFECTS)[np.minimum(open_orders, len(LOAD_EFFECTS) - 1)]


def noise_cdf(value: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the share of the noise below each value."""
    stretched, cumulative = _noise_distribution()
    cdf: NDArray[np.float64] = np.interp(value, stretched, cumulative, left=0.0, right=1.0)
    return cdf


def noise_quantiles() -> NDArray[np.float64]:
    """Return the quantiles of the noise, [4], at `QUANTILE_LEVELS`."""
    return heavy_tailed_noise(np.array([normal_score(p) for p in QUANTILE_LEVELS]))


class LoadMixture:
    """Quantiles of load effect plus noise if only the expected number of open orders is known.

    The number of open orders is assumed to be Poisson: arrivals are Poisson given their rate, and a queue with
    unlimited servers preserves that. The load effect is in units of the noise scale, so one table over the expected
    number is valid for every kitchen.
    """

    def __init__(self) -> None:
        """Compute the tables."""
        self._sqrt_load_grid = np.linspace(0.0, np.sqrt(_MAX_MEAN_LOAD), 256)
        x = np.linspace(-5.0, 8.0, 2_601)
        cdf_by_load = np.array([noise_cdf(x - step) for step in LOAD_EFFECTS])
        probability = _poisson_probabilities(self._sqrt_load_grid**2, len(LOAD_EFFECTS))
        self._mean_effect = probability @ np.array(LOAD_EFFECTS)
        mixture_cdf = probability @ cdf_by_load
        self._quantile_table = np.array([[np.interp(p, row, x) for row in mixture_cdf] for p in QUANTILE_LEVELS])

    def quantiles(self, expected_open: NDArray[np.float64]) -> Iterator[NDArray[np.float64]]:
        """Yield the quantiles of load effect plus noise at `QUANTILE_LEVELS`, [N] each, in units of the noise scale."""
        root = np.sqrt(expected_open)
        return (np.interp(root, self._sqrt_load_grid, row) for row in self._quantile_table)

    def mean_effect(self, expected_open: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the mean load effect, [N], in units of the noise scale."""
        effect: NDArray[np.float64] = np.interp(np.sqrt(expected_open), self._sqrt_load_grid, self._mean_effect)
        return effect


@cache
def _noise_distribution() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the noise on a fine grid of scores, and the share below each value."""
    scores = np.linspace(-MAX_SCORE, MAX_SCORE, 3_001)
    return heavy_tailed_noise(scores), np.array([NormalDist().cdf(score) for score in scores])


def _poisson_probabilities(mean: NDArray[np.float64], steps: int) -> NDArray[np.float64]:
    """Return the probabilities of 0, 1, …, and `steps - 1` or more events, [M, steps], for means [M]."""
    term = np.exp(-mean)
    columns = []
    for k in range(steps - 1):
        columns.append(term)
        term = term * mean / (k + 1)
    columns.append(np.maximum(1 - sum(columns), 0.0))
    return np.stack(columns, axis=1)


ZERO_LABEL_SHARE = 103 / REFERENCE_ORDERS
"""Share of labels of zero seconds."""
FORGOTTEN_SHARE = 0.0047
"""Share of orders that are forgotten. With the true labels over 3 hours (mostly before opening), this gives 202 labels
over 3 hours in 32,394 orders."""

FORGOTTEN_HOURS = (13.0, 18.0)
FORGOTTEN_HOURS_WEIGHT = 10.0
"""In these local hours, an order is forgotten this many times as often, because the kitchen is quiet until evening."""

_LOG_TAP_SECONDS, _LOG_TAP_SPREAD = np.log(22.0), 0.75


def forgotten_weight(seconds_of_day: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the relative probability that an order acknowledged at this time of day is forgotten, [N]."""
    first, last = (hour * 3_600 for hour in FORGOTTEN_HOURS)
    return np.where((seconds_of_day >= first) & (seconds_of_day < last), FORGOTTEN_HOURS_WEIGHT, 1.0)


def forgotten_share_longer_than(seconds: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the share of forgotten orders whose label is larger, elementwise."""
    share, label = zip(*FORGOTTEN_SECONDS_QUANTILES, strict=True)
    cumulative_share: NDArray[np.float64] = np.interp(np.log(np.maximum(seconds, 1.0)), np.log(label), share)
    return 1 - cumulative_share


def draw_label_noise(
    early_tap: NDArray[np.float64],
    seconds_of_day: NDArray[np.float64],
    before_opening: NDArray[np.bool_],
    rng: np.random.Generator,
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Draw which labels are noisy, [N], and the seconds of a noisy label, [N].

    Orders before opening aren't noisy. The numbers of zeros and forgotten orders are fixed by their shares, because
    independent draws of such rare events would vary too much.

    Args:
        early_tap: Probability that the restaurant taps "ready" too early, [N].
        seconds_of_day: Local time of acknowledgement, [N].
        before_opening: Whether the kitchen wasn't open yet, [N].
        rng: Random generator.
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
    """Return `count * share`, rounded up or down at random so that the mean is exact."""
    return int(count * share + rng.random())


_STEP_SECONDS = 300.0
_STEPS = int(SECONDS_PER_DAY / _STEP_SECONDS)
_LOG_PACE_GRID = np.linspace(4.5, 8.5, 17)
_COOKING_LOG_SPREAD = 0.45
"""Spread of the logarithm of the cooking times of one restaurant, from noise and from the contents of orders."""


LOAD_ITERATIONS = 2
"""How often the expected load is fed back into the pace. More iterations have no effect."""


class ExpectedLoad:
    """The expected number of open orders, given the restaurant's order rate, its pace, and the time of day.

    Tables contain, for one order per day, how many are open at each time of day, for each kind of opening hours and
    each pace. It's the sum of the arrivals until then, times the probability that they are still open: waiting for the
    kitchen to open, cooking, or forgotten.
    """

    def __init__(self, demand: DemandProfile) -> None:
        """Compute the tables for the opening hours of a demand profile."""
        self.mixture = LoadMixture()
        midpoints = (np.arange(_STEPS) + 0.5) * _STEP_SECONDS
        share = np.repeat(demand.quarter_share, _STEPS // QUARTERS, axis=1) / (_STEPS // QUARTERS)
        # Half of a step's own arrivals are before its midpoint, on average a quarter of a step earlier.
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
        """Return the expected number of open orders, [N], including the slowdown that this load causes."""
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
    """Return the true quantiles of labels without label noise, [8, N] seconds.

    The first four rows are p10, p50, p80, and p90 given the open orders. The last four are given only their expected
    number.

    Args:
        wait: Seconds until the kitchen opens, [N].
        location: Logarithm of the median cooking time in seconds without open orders, [N].
        scale: Noise scale of the kitchen, [N].
        open_orders: Open orders at acknowledgement, [N].
        mixture_quantiles: `LoadMixture.quantiles` of the expected number of open orders.
    """
    load_shift = load_effect(open_orders)
    load_quantiles = (load_shift + quantile for quantile in noise_quantiles())
    return np.array(
        [wait + np.exp(location + scale * shift) for shift in (*load_quantiles, *mixture_quantiles)], dtype=np.float32
    )


def _open_probability(middle: NDArray[np.floating], opening: float, level: float) -> NDArray[np.float64]:
    """Return the probability that an order that arrives at one time is open at another, [time, arrival]."""
    starts = middle + wait_seconds(opening, middle)
    cooking = middle[:, None] - starts[None, :]
    same_step = np.eye(len(middle), dtype=bool) & (cooking >= 0)
    cooking[same_step] = _STEP_SECONDS / 4
    started = cooking > 0
    ended = noise_cdf((np.log(np.where(started, cooking, 1.0)) - level) / _COOKING_LOG_SPREAD)
    return np.where(started, 1 - ended, 1.0)


def _forgotten_open_share(middle: NDArray[np.floating], share: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the open forgotten orders for one order per day, [opening kinds, time], from up to three days before."""
    weight = forgotten_weight(middle)
    rate = FORGOTTEN_SHARE * weight / (share @ weight)[:, None].mean() * share
    open_now = np.zeros_like(share)
    for days_back in range(4):
        age = middle[:, None] - middle[None, :] + days_back * SECONDS_PER_DAY
        open_now += rate @ np.where(age > 0, forgotten_share_longer_than(age), 0.0).T
    return open_now
