"""From integer sums to finished float32 rows: empirical-Bayes shrinkage, done once, when a history is built.

A group's mean is pulled towards its parent's by k orders' worth: (sum + k·parent) / (n + k). Under normal errors the
best k is the variance within groups over the variance between them (Efron and Morris, 1975). Measured on log
preparation times of 16 days by `benchmarks/shrinkage.py`: restaurants within their city and food 5.8, city 3.3, type of
food 8.5, city and food 4.4, rounded up here; a restaurant's slots differ from its mean plus the slot's by nothing
measurable, so they are pulled hard. Why each is what it is: docs/history.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from preptime.features.clock import SLOTS
from preptime.features.directory import Directory
from preptime.features.durations import (
    BIN_WIDTH,
    BINS,
    SHORTEST_SECONDS,
    quantile_positions,
    seconds_at,
    squared_deviations,
)
from preptime.features.spec import HISTORY_FEATURES
from preptime.features.state import NEVER, NO_ORDER, RECENT_DAYS, HistoryState

_Number = NDArray[np.float64] | NDArray[np.int64] | NDArray[np.int32] | np.float64 | np.int64 | float

K_RESTAURANT = 6.0
K_CITY = 4.0
K_FOOD = 9.0
K_CITY_FOOD = 5.0
K_SLOT = 20.0
K_RECENT = 3.0
"""Recent means are pulled to the restaurant's own long mean, which is near: half the pull, same error (±0.3 s)."""
K_BASKET = 6.0
K_FIRST_READY = 2.0
HALF_LIFE_DAYS = 5.0
"""3, 5 and 8 days gave the same p50 MAE within 0.2 s."""

QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)

FIRST_GUESS_SECONDS = 820
"""Before the first order: the median of the public data."""
FIRST_GUESS_POSITION = float(np.log(FIRST_GUESS_SECONDS / SHORTEST_SECONDS) / BIN_WIDTH - 0.5)
FIRST_GUESS_VARIANCE = (0.77 / BIN_WIDTH) ** 2
"""0.77 is the standard deviation of log preparation time there."""
NORMAL_QUANTILES = np.array([-1.2816, -0.6745, 0.0, 0.6745, 1.2816])
"""Of the standard normal distribution, at `QUANTILES`."""
FIRST_GUESS_ITEMS = 4.0
FIRST_GUESS_VALUE_GBP = 26.55
FIRST_GUESS_FIRST_READY = np.array([13.0, 17.75]) * 3600
"""Seconds of the day at which the first lunch and the first dinner are ready."""
FIRST_GUESS_ORDERS = 1.0
"""How many orders the first guesses weigh."""

_CHUNK = 65_536
"""Subjects finished at a time, so that a million restaurants need no second copy of their histograms."""


@dataclass(frozen=True, slots=True)
class Overall:
    """What all orders together say: the root that everything is shrunken to. Times are positions on the log scale."""

    level: float
    variance: float
    quantiles: NDArray[np.float64]
    """[QUANTILES] distance of each quantile from `level`."""
    slots: NDArray[np.float64]
    """[SLOTS] distance of each slot's mean from `level`."""
    items: float
    value_gbp: float
    lunch_share: float
    first_ready: NDArray[np.float64]
    """[SERVICES] seconds of the day: mean of the restaurants' earliest ready times, each weighed by its orders."""


def overall(state: HistoryState) -> Overall:
    """All restaurants together, pulled to declared first guesses that the first few orders outweigh."""
    bins = state.bins.sum(axis=0, dtype=np.int64)
    n = np.float64(bins.sum())
    level = _pull(np.float64(state.slot_bins.sum()), n, FIRST_GUESS_POSITION, FIRST_GUESS_ORDERS)
    variance = _pull(squared_deviations(bins[None])[0], n, FIRST_GUESS_VARIANCE, FIRST_GUESS_ORDERS)
    guessed = level + np.sqrt(variance) * NORMAL_QUANTILES
    observed = quantile_positions(bins[None], QUANTILES)[0]
    quantiles = _pull(n * observed, n, guessed, FIRST_GUESS_ORDERS) - level
    slots = _pull(state.slot_bins.sum(axis=0), state.slot_orders.sum(axis=0, dtype=np.int64), level, K_SLOT) - level
    first, worked = _first_ready(state)
    return Overall(
        level=float(level),
        variance=float(variance),
        quantiles=quantiles,
        slots=slots,
        items=float(_pull(state.items.sum(), n, FIRST_GUESS_ITEMS, FIRST_GUESS_ORDERS)),
        value_gbp=float(_pull(state.value_pence.sum() / 100, n, FIRST_GUESS_VALUE_GBP, FIRST_GUESS_ORDERS)),
        lunch_share=float(_pull(state.service_orders[:, 0].sum(), n, 0.5, FIRST_GUESS_ORDERS)),
        first_ready=_pull((first * worked).sum(axis=0), worked.sum(axis=0), FIRST_GUESS_FIRST_READY, K_FIRST_READY),
    )


def place_levels(state: HistoryState, directory: Directory, root: Overall) -> NDArray[np.float64]:
    """[places] level of every (city, food): city's and food's effects added, then pulled by the pair's own orders.

    The unknown city or food has no effect of its own, so a place of which nothing is known is the root.
    """
    orders, sums = place_orders(state, directory), _by_place(state.sum_of_bins, directory)
    orders_known, sums_known = orders.copy(), sums.copy()
    for table in (orders_known, sums_known):
        table[-1, :] = 0
        table[:, -1] = 0
    city = _pull(sums[:-1].sum(axis=1), orders[:-1].sum(axis=1), root.level, K_CITY)
    food = _pull(sums[:, :-1].sum(axis=0), orders[:, :-1].sum(axis=0), root.level, K_FOOD)
    added = np.append(city, root.level)[:, None] + np.append(food, root.level)[None, :] - root.level
    return _pull(sums_known, orders_known, added, K_CITY_FOOD).ravel()


def place_orders(state: HistoryState, directory: Directory) -> NDArray[np.int64]:
    """[cities + 1, foods + 1] completed orders, the last of each for the unknown."""
    return _by_place(state.orders, directory)


def finished_rows(
    state: HistoryState, directory: Directory, root: Overall, levels: NDArray[np.float64], today: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """As of local day `today`: [R + places, HISTORY_FEATURES], and slot means in seconds [R + places, SLOTS].

    A place's row is that of a restaurant there without an order.
    """
    size = len(directory)
    rows = np.empty((size + len(levels), len(HISTORY_FEATURES)), np.float32)
    slots = np.empty((size + len(levels), SLOTS), np.float32)
    of_restaurants = levels[directory.place(directory.city, directory.type_of_food)]
    for chunk in _chunks(size):
        rows[chunk], slots[chunk] = _finish(state.part(chunk), of_restaurants[chunk], root, today)
    for chunk in _chunks(len(levels)):
        nothing = HistoryState.empty(chunk.stop - chunk.start)
        at = slice(size + chunk.start, size + chunk.stop)
        rows[at], slots[at] = _finish(nothing, levels[chunk], root, today)
    return rows, slots


def _chunks(size: int) -> list[slice]:
    return [slice(start, min(start + _CHUNK, size)) for start in range(0, size, _CHUNK)]


def _finish(
    state: HistoryState, level: NDArray[np.float64], root: Overall, today: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    bins, n = state.bins, state.orders
    mean = _pull(state.sum_of_bins, n, level, K_RESTAURANT)
    around = level[:, None] + root.quantiles
    quantiles = _pull(n[:, None] * quantile_positions(bins, QUANTILES), n[:, None], around, K_RESTAURANT)
    recent_n, recent_bins, per_day = _recency(state, today)
    last_orders = (state.latest != NO_ORDER).sum(axis=1)
    last_bins = (state.latest % BINS).sum(axis=1)
    first, worked = _first_ready(state)
    columns = (
        np.log1p(n),
        per_day,
        seconds_at(mean),
        *seconds_at(quantiles).T,
        BIN_WIDTH * np.sqrt(_pull(squared_deviations(bins), n, root.variance, K_RESTAURANT)),
        seconds_at(_pull(recent_bins, recent_n, mean, K_RECENT)),
        seconds_at(_pull(last_bins, last_orders, mean, K_RECENT)),
        _pull(state.items, n, root.items, K_BASKET),
        _pull(state.value_pence / 100, n, root.value_gbp, K_BASKET),
        _pull(state.service_orders[:, 0], n, root.lunch_share, K_BASKET),
        *_pull(first * worked, worked, root.first_ready, K_FIRST_READY).T,
    )
    slots = seconds_at(_pull(state.slot_bins, state.slot_orders, mean[:, None] + root.slots, K_SLOT))
    return np.column_stack(columns).astype(np.float32), slots.astype(np.float32)


def _pull(total: _Number, n: _Number, parent: _Number, k: float) -> NDArray[np.float64]:
    """The mean of `n` values that add up to `total`, pulled to the parent's by `k` values' worth."""
    return np.asarray((total + k * np.asarray(parent)) / (n + k))


def _by_place(values: NDArray[np.int64], directory: Directory) -> NDArray[np.int64]:
    """[cities + 1, foods + 1] sums over the restaurants of each place."""
    place = directory.place(directory.city, directory.type_of_food)
    sums = np.zeros(directory.places, np.int64)
    np.add.at(sums, place, values)
    return sums.reshape(len(directory.vocabularies.city) + 1, -1)


def _first_ready(state: HistoryState) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """[R, SERVICES] earliest ready second (0 where the service was never worked) and orders behind it."""
    worked = state.first_ready != NEVER
    return np.where(worked, state.first_ready, 0).astype(np.int64), (state.service_orders * worked).astype(np.int64)


def _recency(state: HistoryState, today: int) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """[R] recency-weighted orders, sum of their bins, and plain orders a day over the window."""
    weighted = np.zeros((2, len(state.items)))
    plain = np.zeros(len(state.items))
    days = [day for day in sorted(state.recent) if today - RECENT_DAYS <= day < today]
    for day in days:
        weighted += 0.5 ** ((today - 1 - day) / HALF_LIFE_DAYS) * state.recent[day]
        plain += state.recent[day][0]
    return weighted[0], weighted[1], plain / max(today - days[0], 1) if days else plain
