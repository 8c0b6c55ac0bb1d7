"""The dispatch decision: when to send a courier, from the predicted distribution of the ready time.

A courier who arrives before the food waits, and food that is ready before the courier waits. With a cost per minute for
each, the expected cost is smallest if the courier arrives at a quantile of the ready time, the critical ratio
courier / (courier + food). It's the newsvendor problem (Arrow, Harris, and Marschak, "Optimal inventory policy", 1951).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from operator import mul
from typing import Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from preptime.domain.orders import QUANTILE_LEVELS
from preptime.errors import UsageError

MIN_LEVEL, MAX_LEVEL = QUANTILE_LEVELS[0], QUANTILE_LEVELS[-1]
"""A prediction has no quantiles outside of these levels, so a cost ratio must be from 1:9 to 9:1."""

MAX_TRAVEL_SECONDS = 21_600
"""Six hours: more than any delivery of food, and less than usual travel times in milliseconds."""

LOWER_TAIL_LENGTH = 0.6
"""The earliest ready time is p10 minus this part of p50 - p10, and not before acknowledgement."""
UPPER_TAIL_LENGTH = 4.0
"""The latest ready time is p90 plus this multiple of p90 - p80.

Below p10 and above p90, the quantile is linear in its level, as between the other levels. Both lengths were chosen on
real orders. docs/dispatch.md compares the expected waiting times with the actual ones, by cost ratio."""

_LEVEL_TOLERANCE = 1e-9


def dispatch_level(courier_cost: float, food_cost: float) -> float:
    """Return the quantile level of the ready time at which the courier should arrive.

    Args:
        courier_cost: Cost of a minute that a courier waits, in any unit, more than 0.
        food_cost: Cost of a minute that ready food waits, in the same unit, more than 0.

    Raises:
        UsageError: The ratio of the costs is outside 1:9 to 9:1.

    Example:
        >>> dispatch_level(1, 1)
        0.5
    """
    total = courier_cost + food_cost
    level = courier_cost / total if 0 < total < np.inf else np.nan
    if not MIN_LEVEL - _LEVEL_TOLERANCE <= level <= MAX_LEVEL + _LEVEL_TOLERANCE:
        raise UsageError(
            f"The cost of a minute is {courier_cost:g} for a courier and {food_cost:g} for food. A prediction has "
            f"quantiles from {MIN_LEVEL:.0%} to {MAX_LEVEL:.0%}, so the ratio must be from 1:9 to 9:1.",
            "Use costs whose ratio is from 1:9 to 9:1.",
        )
    return float(min(max(level, MIN_LEVEL), MAX_LEVEL))


def quantile_at(
    quantiles: NDArray[np.floating], level: float, levels: Sequence[float] = QUANTILE_LEVELS
) -> NDArray[np.float64]:
    """Return the quantile of N distributions at one level, interpolated linearly between the given levels.

    Args:
        quantiles: [N, len(levels)] seconds, ascending in each row.
        level: From the first to the last of `levels`.
        levels: Ascending.

    Example:
        >>> quantile_at(np.array([[300.0, 600.0, 900.0, 1200.0]]), 0.65)
        array([750.])
    """
    upper = int(np.clip(np.searchsorted(levels, level), 1, len(levels) - 1))
    share = (level - levels[upper - 1]) / (levels[upper] - levels[upper - 1])
    lower_values = quantiles[:, upper - 1].astype(np.float64)
    return lower_values + share * (quantiles[:, upper] - lower_values)


class Decision(NamedTuple):
    """The dispatch decision for one order."""

    dispatch_seconds: float
    """When to send the courier, in seconds after acknowledgement."""
    courier_wait_seconds: float
    """Expected waiting time of the courier, if it's sent then. NaN without an estimate."""
    food_wait_seconds: float
    """Expected waiting time of the ready food, if the courier is sent then. NaN without an estimate."""
    remaining_seconds: tuple[float, ...] | None
    """The time until the order is ready at the levels of `QUANTILE_LEVELS`. None without an estimate."""


@dataclass(frozen=True, slots=True)
class Decisions:
    """The dispatch decisions for N orders. An order without an estimate has NaN, and is dispatched now."""

    dispatch_seconds: NDArray[np.float64]
    """[N] when to send the courier, in seconds after acknowledgement. Never before it, or before the elapsed time."""
    courier_wait_seconds: NDArray[np.float64]
    """[N] expected waiting time of the courier, if it's sent then."""
    food_wait_seconds: NDArray[np.float64]
    """[N] expected waiting time of the ready food, if the courier is sent then."""
    remaining_seconds: NDArray[np.float64]
    """[N, 4] the time until the order is ready at the levels of `QUANTILE_LEVELS`."""
    has_estimate: NDArray[np.bool_]
    """[N] whether the order is younger than its p90."""
    level: float
    """The quantile level of the ready time at which the courier should arrive."""


def decide(
    quantiles: NDArray[np.floating],
    travel_seconds: NDArray[np.floating],
    level: float,
    elapsed_seconds: NDArray[np.floating] | None = None,
) -> Decisions:
    """Return the dispatch decisions for N orders.

    The courier should arrive at the quantile `level` of the ready time. With an uncertain travel time, the dispatch
    time is this quantile of the ready time minus the travel time, which are independent.

    Args:
        quantiles: [N, 4] seconds after acknowledgement, ascending, at the levels of `QUANTILE_LEVELS`.
        travel_seconds: [N] travel time to the restaurant, or [N, 3] its p10, p50, and p90, ascending.
        level: From `dispatch_level`.
        elapsed_seconds: [N] time since acknowledgement, for orders that aren't ready yet. The ready time is then
            conditioned on being later. None: the orders were just acknowledged.

    Example:
        >>> decide(np.array([[300.0, 600.0, 900.0, 1200.0]]), np.array([240.0]), 0.5).dispatch_seconds
        array([360.])
    """
    values = quantiles.astype(np.float64)
    p10, p50, p80, p90 = values.T
    knots = _ready_knots(p10, p50, p80, p90, _ARRAYS)
    travel = travel_seconds.astype(np.float64)
    elapsed = None if elapsed_seconds is None else elapsed_seconds.astype(np.float64)
    ready = _ready_time(knots, level, elapsed, _ARRAYS)
    dispatch, courier_wait, food_wait = (
        _decide_known(ready, travel, _ARRAYS) if travel.ndim == 1 else _decide_uncertain(ready, travel, level)
    )
    if elapsed is None:
        return Decisions(dispatch, courier_wait, food_wait, values, np.ones(len(values), np.bool_), level)
    has_estimate = elapsed < p90
    return Decisions(
        np.where(has_estimate, dispatch, elapsed),
        np.where(has_estimate, courier_wait, np.nan),
        np.where(has_estimate, food_wait, np.nan),
        np.where(has_estimate[:, np.newaxis], np.stack(_remaining(ready, _ARRAYS), 1), np.nan),
        has_estimate,
        level,
    )


def decide_order(
    quantiles: Sequence[float],
    travel_seconds: float | Sequence[float],
    level: float,
    elapsed_seconds: float | None = None,
) -> Decision:
    """Return the dispatch decision for one order, as `decide` does for many.

    It's the same computation with numbers instead of arrays, which takes a tenth of the time.

    Example:
        >>> decide_order([300.0, 600.0, 900.0, 1200.0], 240.0, 0.5).dispatch_seconds
        360.0
    """
    p10, p50, p80, p90 = quantiles
    if elapsed_seconds is not None and elapsed_seconds >= p90:
        return Decision(elapsed_seconds, np.nan, np.nan, None)
    knots = _ready_knots(p10, p50, p80, p90, _NUMBERS)
    ready = _ready_time(knots, level, elapsed_seconds, _NUMBERS)
    if isinstance(travel_seconds, _NUMBER_TYPES):
        if elapsed_seconds is None and ready[1] >= travel_seconds:
            return _decide_on_time(ready, travel_seconds, level, quantiles)
        dispatch, courier_wait, food_wait = _decide_known(ready, travel_seconds, _NUMBERS)
    elif travel_seconds[0] == travel_seconds[2]:
        dispatch, courier_wait, food_wait = _decide_known(ready, travel_seconds[0], _NUMBERS)
    else:
        dispatch, courier_wait, food_wait = _decide_uncertain_order(ready, travel_seconds, level)
    remaining = (p10, p50, p80, p90) if elapsed_seconds is None else _remaining(ready, _NUMBERS)
    return Decision(dispatch, courier_wait, food_wait, remaining)


def expected_waits(
    quantiles: NDArray[np.floating], arrival_seconds: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the expected waiting times of courier and food, in seconds, for N arrivals of a courier.

    Args:
        quantiles: [N, 4] or [4] seconds after acknowledgement, ascending, at the levels of `QUANTILE_LEVELS`.
        arrival_seconds: [N] times of arrival, in seconds after acknowledgement.

    Example:
        >>> courier_wait, food_wait = expected_waits(np.array([300.0, 600.0, 900.0, 1200.0]), np.array([0.0, 6000.0]))
        >>> courier_wait.tolist(), food_wait.tolist()
        ([711.0, 0.0], [0.0, 5289.0])
    """
    p10, p50, p80, p90 = np.broadcast_to(quantiles.astype(np.float64), (len(arrival_seconds), 4)).T
    knots = _ready_knots(p10, p50, p80, p90, _ARRAYS)
    _, _, mean, _, _ = _ready_time(knots, MIN_LEVEL, None, _ARRAYS)
    courier_wait = _excess(knots, arrival_seconds.astype(np.float64), _ARRAYS)
    return courier_wait, np.maximum(arrival_seconds - mean + courier_wait, 0.0)


_NUMBER_TYPES = (float, int)
_Values = TypeVar("_Values", float, NDArray[np.float64])
"""Numbers of one order or of N orders, with which the same functions compute."""

_LEVELS = (0.0, *QUANTILE_LEVELS, 1.0)
_WIDTHS = tuple(end - start for start, end in pairwise(_LEVELS))
_HALF_WIDTHS = tuple(width / 2 for width in _WIDTHS)
"""The distance between two levels, and half of it."""
_MEAN_WEIGHTS = tuple((after - before) / 2 for before, after in zip((0.0, *_LEVELS), (*_LEVELS[1:], 1.0), strict=False))
"""The mean of a distribution whose quantiles are linear between levels is this weighted sum of them."""
_SMALLEST_WIDTH_SECONDS = 1e-6
"""Quantiles can be equal. This width avoids a division by zero, and is too small to change a result visibly."""


class _Operations(NamedTuple, Generic[_Values]):
    """What differs between numbers and arrays."""

    maximum: Callable[[_Values, _Values | float], _Values]
    quantile: Callable[[Sequence[_Values], _Values], _Values]
    """Takes the quantiles at `_LEVELS`, and a level for each order."""


_ReadyTime = tuple[Sequence[_Values], _Values, _Values, _Values, _Values]
"""The distribution of the ready time, given that it's later than now:

- its unconditional quantiles at `_LEVELS`
- the quantile at which the courier should arrive
- the mean
- now, in seconds after acknowledgement
- the probability that it's later than now
"""


def _ready_knots(
    p10: _Values, p50: _Values, p80: _Values, p90: _Values, operations: _Operations[_Values]
) -> Sequence[_Values]:
    """Return the quantiles at `_LEVELS`: those of the prediction, and the two ends."""
    first = operations.maximum(p10 - LOWER_TAIL_LENGTH * (p50 - p10), 0.0)
    return first, p10, p50, p80, p90, p90 + UPPER_TAIL_LENGTH * (p90 - p80)


def _ready_time(
    knots: Sequence[_Values], level: float, elapsed: _Values | None, operations: _Operations[_Values]
) -> _ReadyTime[_Values]:
    """Return the distribution of the ready time."""
    if elapsed is None:
        zero = knots[0] * 0
        return knots, _interpolate(knots, level), sum(map(mul, knots, _MEAN_WEIGHTS), zero), zero, zero + 1
    # The probability is smaller only for an order without an estimate.
    open_share = operations.maximum(_open_share(knots, elapsed, operations), 1 - MAX_LEVEL)
    target = operations.quantile(knots, 1 - open_share * (1 - level))
    return knots, target, elapsed + _excess(knots, elapsed, operations) / open_share, elapsed, open_share


def _decide_known(
    ready: _ReadyTime[_Values], travel: _Values, operations: _Operations[_Values]
) -> tuple[_Values, _Values, _Values]:
    """Return the dispatch time and the expected waiting times of courier and food, for a known travel time."""
    knots, target, mean, now, open_share = ready
    dispatch = operations.maximum(target - travel, now)
    arrival = dispatch + travel
    courier_wait = _excess(knots, arrival, operations) / open_share
    # For an arrival at a and a ready time T: E[(a - T)+] = a - E[T] + E[(T - a)+]
    return dispatch, courier_wait, operations.maximum(arrival - mean + courier_wait, 0.0)


def _decide_on_time(ready: _ReadyTime[float], travel: float, level: float, quantiles: Sequence[float]) -> Decision:
    """Return the decision of `_decide_known` for a courier who arrives at the quantile of a new order.

    It's the usual case of a request. The excess over a quantile is a weighted sum of the quantiles, which is faster.
    """
    knots, target, mean, _, _ = ready
    courier_wait = max(sum(map(mul, knots, _excess_weights(level))), 0.0)
    return Decision(target - travel, courier_wait, max(target - mean + courier_wait, 0.0), tuple(quantiles))


@lru_cache(maxsize=256)
def _excess_weights(level: float) -> tuple[float, ...]:
    """Return the weights of the quantiles at `_LEVELS` in E[(T - Q(level))+].

    It's the integral of Q(u) - Q(level) from `level` to 1. Q is linear between levels: the trapezoidal rule is exact.
    """
    points = np.array([level, *(other for other in _LEVELS if other > level)])
    shares = _weights(_LEVELS, points)
    weights = np.trapezoid(shares, points, axis=1) - (1 - level) * shares[:, 0]
    return tuple(weights.tolist())


def _remaining(ready: _ReadyTime[_Values], operations: _Operations[_Values]) -> tuple[_Values, ...]:
    """Return the quantiles of the time until an order in progress is ready."""
    knots, _, _, now, open_share = ready
    return tuple(
        operations.maximum(operations.quantile(knots, 1 - open_share * (1 - level)) - now, 0.0)
        for level in QUANTILE_LEVELS
    )


def _open_share(knots: Sequence[_Values], at: _Values, operations: _Operations[_Values]) -> _Values:
    """Return P(T > at) for the time T with these quantiles."""
    maximum = operations.maximum
    probability = at * 0
    for lower, upper, width in zip(knots, knots[1:], _WIDTHS, strict=False):
        seconds = maximum(upper - lower, _SMALLEST_WIDTH_SECONDS)
        part = maximum(upper - maximum(at, upper - seconds), 0.0)
        probability = probability + part / seconds * width
    return probability


def _excess(knots: Sequence[_Values], at: _Values, operations: _Operations[_Values]) -> _Values:
    """Return E[(T - at)+] for the time T with these quantiles.

    In each part, T is uniform between two quantiles. So it's the mean of the ends' excess, for the share above `at`.
    """
    maximum = operations.maximum
    lower = knots[0]
    lower_excess = maximum(lower - at, 0.0)
    total = lower_excess * 0
    for upper, half_width in zip(knots[1:], _HALF_WIDTHS, strict=False):
        excess = maximum(upper - at, 0.0)
        share = (excess - lower_excess + _SMALLEST_WIDTH_SECONDS) / (upper - lower + _SMALLEST_WIDTH_SECONDS)
        total = total + half_width * share * (excess + lower_excess)
        lower, lower_excess = upper, excess
    return total


def _interpolate(knots: Sequence[_Values], level: float) -> _Values:
    """Return the quantile at one level for all orders."""
    position = min(bisect_right(_LEVELS, level), len(_LEVELS) - 1)
    share = (level - _LEVELS[position - 1]) / _WIDTHS[position - 1]
    return knots[position - 1] + share * (knots[position] - knots[position - 1])


def _interpolate_each(knots: Sequence[NDArray[np.float64]], level: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the quantile at the level of each order."""
    value = knots[0]
    for lower, upper, start, width in zip(knots, knots[1:], _LEVELS, _WIDTHS, strict=False):
        value = value + np.clip((level - start) / width, 0.0, 1.0) * (upper - lower)
    return value


_NUMBERS: _Operations[float] = _Operations(max, _interpolate)
_ARRAYS: _Operations[NDArray[np.float64]] = _Operations(np.maximum, _interpolate_each)

_TRAVEL_LEVELS = (0.0, 0.1, 0.5, 0.9, 1.0)
_TRAVEL_TAIL_LENGTH = 0.75
"""The travel time ends at p90 plus this part of p90 - p50, and starts at p10 minus this part of p50 - p10. With it, a
normal distribution keeps its mean beyond p90."""
_LATTICE_SIZE, _LATTICE_STEP = 233, 144
"""Consecutive Fibonacci numbers. The points (k / 233, 144 k / 233 modulo 1) cover the unit square so evenly that few of
them combine two distributions (Niederreiter, "Random Number Generation and Quasi-Monte Carlo Methods", 1992)."""
_BLOCK_ORDERS = 8192
"""Orders whose points are in memory at the same time: 15 MB."""


def _decide_uncertain(
    ready: _ReadyTime[NDArray[np.float64]], travel: NDArray[np.float64], level: float
) -> NDArray[np.float64]:
    """Return the dispatch times and the expected waiting times of courier and food for travel times [N, 3]."""
    knots, target, mean, now, open_share = ready
    ready_knots = np.stack(knots, 1)
    low, middle, high = travel.T
    travel_knots = np.stack(_travel_knots(low, middle, high, _ARRAYS), 1)
    results = np.empty((3, len(travel)))
    for start in range(0, len(travel), _BLOCK_ORDERS):
        rows = slice(start, start + _BLOCK_ORDERS)
        results[:, rows] = _decide_on_lattice(ready_knots[rows], travel_knots[rows], level, now[rows], open_share[rows])
    known = low == high
    if known.any():
        if_known = ([knot[known] for knot in knots], target[known], mean[known], now[known], open_share[known])
        results[:, known] = _decide_known(if_known, middle[known], _ARRAYS)
    return results


def _decide_uncertain_order(
    ready: _ReadyTime[float], travel: Sequence[float], level: float
) -> tuple[float, float, float]:
    """Return the dispatch time and the expected waiting times of courier and food."""
    knots, _, _, now, open_share = ready
    low, middle, high = travel
    dispatch, courier_wait, food_wait = _decide_on_lattice(
        np.array([knots]),
        np.array([_travel_knots(low, middle, high, _NUMBERS)]),
        level,
        np.array([now]),
        np.array([open_share]),
    )
    return dispatch.item(), courier_wait.item(), food_wait.item()


def _travel_knots(p10: _Values, p50: _Values, p90: _Values, operations: _Operations[_Values]) -> Sequence[_Values]:
    """Return the quantiles of the travel time at `_TRAVEL_LEVELS`."""
    first = operations.maximum(p10 - _TRAVEL_TAIL_LENGTH * (p50 - p10), 0.0)
    return first, p10, p50, p90, p90 + _TRAVEL_TAIL_LENGTH * (p90 - p50)


def _decide_on_lattice(
    ready_knots: NDArray[np.float64],
    travel_knots: NDArray[np.float64],
    level: float,
    now: NDArray[np.float64],
    open_share: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the dispatch time and the expected waiting times, [N] each, for independent ready and travel times.

    The courier waits for the ready time minus the travel time minus the dispatch time, if that's positive, and the food
    for the opposite. So the best dispatch time is a quantile of the ready time minus the travel time.
    """
    differences = _ready_times(ready_knots, open_share) - travel_knots @ _TRAVEL_WEIGHTS
    differences.sort(axis=1)
    position = level * _LATTICE_SIZE - 0.5
    index = int(position)
    below = differences[:, index]
    dispatch = np.maximum(below + (position - index) * (differences[:, index + 1] - below), now)
    distances = differences - dispatch[:, np.newaxis]
    courier_wait = np.maximum(distances, 0.0) @ _LATTICE_MEAN
    return dispatch, courier_wait, courier_wait - distances @ _LATTICE_MEAN


def _ready_times(knots: NDArray[np.float64], open_share: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the quantiles of the ready time at the levels of the points, [N, points]."""
    if (open_share == 1).all():
        return knots @ _READY_WEIGHTS
    levels = 1 - open_share[:, np.newaxis] * (1 - _READY_POINTS)
    return np.stack([np.interp(at, _LEVELS, order) for at, order in zip(levels, knots, strict=True)])


def _weights(levels: Sequence[float], at: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return [L, K] weights that interpolate quantiles at L levels to K others."""
    return np.stack([np.interp(at, levels, unit) for unit in np.eye(len(levels))])


_READY_POINTS = (np.arange(_LATTICE_SIZE) + 0.5) / _LATTICE_SIZE
_LATTICE_MEAN = np.full(_LATTICE_SIZE, 1 / _LATTICE_SIZE)
_READY_WEIGHTS = _weights(_LEVELS, _READY_POINTS)
_TRAVEL_WEIGHTS = _weights(_TRAVEL_LEVELS, _READY_POINTS[np.arange(_LATTICE_SIZE) * _LATTICE_STEP % _LATTICE_SIZE])
