"""Empirical-Bayes shrinkage: `build_history` turns the integer sums of a state into a history.

The mean of a group is shrunken toward the mean of its parent with the weight of k orders: (sum + k * parent) / (n + k).
With normal errors, the best k is the variance within groups divided by the variance between groups (Efron and Morris,
1975). `benchmarks/shrinkage.py` measured it on the log preparation times of 16 days: 5.8 for restaurants within their
city and food, 3.3 for cities, 8.5 for types of food, and 4.4 for pairs of both. The constants here are rounded up.
A restaurant's time slots show no measurable difference from its mean plus the effect of the slot, so their k is large.
For the reasons, see docs/history.md.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from preptime.domain.orders import FALLBACK_LEVELS
from preptime.errors import UsageError
from preptime.features.feature_set import fill_value
from preptime.features.history import History
from preptime.features.history_state import (
    BIN_COUNT,
    BIN_WIDTH,
    MIN_SCALE_SECONDS,
    NEVER_READY,
    NO_ORDER,
    RECENT_DAYS,
    HistoryState,
    position_to_seconds,
    quantile_positions,
    squared_deviations,
)
from preptime.features.restaurant_index import RestaurantIndex
from preptime.features.spec import HISTORY_FEATURES, MEDIAN_COLUMN, TIME_SLOT_COUNT

_Number = NDArray[np.float64] | NDArray[np.int64] | NDArray[np.int32] | np.float64 | np.int64 | float

K_RESTAURANT = 6.0
K_CITY = 4.0
K_FOOD = 9.0
K_CITY_FOOD = 5.0
K_SLOT = 20.0
K_RECENT = 3.0
"""The parent of a recent mean is the restaurant's own mean, which is close. Half of K_RESTAURANT gives the same error
(±0.3 s)."""
K_BASKET = 6.0
K_CATEGORY = 9.0
"""For custom categories, as for types of food. The parent is the mean of all orders."""
K_FIRST_READY = 2.0
HALF_LIFE_DAYS = 5.0
"""With 3, 5, and 8 days, the MAE of the p50 differs by less than 0.2 s."""

QUANTILE_LEVELS = (0.1, 0.25, 0.5, 0.75, 0.9)

PRIOR_MEDIAN_SECONDS = 820
"""The median before the first order. From the public data."""
PRIOR_POSITION = float(np.log(PRIOR_MEDIAN_SECONDS / MIN_SCALE_SECONDS) / BIN_WIDTH - 0.5)
PRIOR_VARIANCE = (0.77 / BIN_WIDTH) ** 2
"""0.77 is the standard deviation of the log preparation time in the public data."""
STANDARD_NORMAL_QUANTILES = np.array([-1.2816, -0.6745, 0.0, 0.6745, 1.2816])
"""Quantiles of the standard normal distribution at `QUANTILE_LEVELS`."""
PRIOR_ITEMS = 4.0
PRIOR_VALUE = 26.55
PRIOR_FIRST_READY = np.array([13.0, 17.75]) * 3600
"""Seconds of the day at which the first lunch order and the first dinner order are ready."""
PRIOR_ORDERS = 1.0
"""Weight of the priors, in orders."""

_CHUNK_ROWS = 65_536
"""Rows computed at a time, so that a million restaurants don't need a second copy of their histograms."""


@dataclass(frozen=True, slots=True)
class GlobalPrior:
    """The statistics of all orders: the root of the hierarchy. Times are positions on the log scale of bins."""

    level: float
    """Mean."""
    variance: float
    quantiles: NDArray[np.float64]
    """[QUANTILE_LEVELS] each quantile minus `level`."""
    slots: NDArray[np.float64]
    """[TIME_SLOT_COUNT] the mean of each time slot minus `level`."""
    items: float
    value: float
    lunch_share: float
    first_ready: NDArray[np.float64]
    """[MEAL_PERIOD_COUNT] seconds of the day: the mean of the restaurants' earliest ready times, weighted by orders."""


def fit_global_prior(state: HistoryState) -> GlobalPrior:
    """Return the statistics of all restaurants, shrunken to the `PRIOR_` constants, which a few orders outweigh."""
    bins = state.bin_orders.sum(axis=0, dtype=np.int64)
    n = np.float64(bins.sum())
    level = shrink(np.float64(state.slot_bin_sums.sum()), n, PRIOR_POSITION, PRIOR_ORDERS)
    variance = shrink(squared_deviations(bins[None])[0], n, PRIOR_VARIANCE, PRIOR_ORDERS)
    prior_quantiles = level + np.sqrt(variance) * STANDARD_NORMAL_QUANTILES
    observed = quantile_positions(bins[None], QUANTILE_LEVELS)[0]
    quantiles = shrink(n * observed, n, prior_quantiles, PRIOR_ORDERS) - level
    slots = (
        shrink(state.slot_bin_sums.sum(axis=0), state.slot_orders.sum(axis=0, dtype=np.int64), level, K_SLOT) - level
    )
    first_ready, worked = _first_ready(state)
    return GlobalPrior(
        level=float(level),
        variance=float(variance),
        quantiles=quantiles,
        slots=slots,
        items=float(shrink(state.items.sum(), n, PRIOR_ITEMS, PRIOR_ORDERS)),
        value=float(shrink(state.value_cents.sum() / 100, n, PRIOR_VALUE, PRIOR_ORDERS)),
        lunch_share=float(shrink(state.meal_period_orders[:, 0].sum(), n, 0.5, PRIOR_ORDERS)),
        first_ready=shrink((first_ready * worked).sum(axis=0), worked.sum(axis=0), PRIOR_FIRST_READY, K_FIRST_READY),
    )


def group_levels(state: HistoryState, restaurants: RestaurantIndex, prior: GlobalPrior) -> NDArray[np.float64]:
    """Return the level of every (city, food) group, [groups], as positions.

    It is the sum of the city's and the food's effects, shrunken with the orders of the pair. An unknown city or food
    has no effect, so the level of a group with both unknown is that of the root.
    """
    orders, sums = group_orders(state, restaurants), _sum_by_group(state.bin_sums, restaurants)
    orders_known, sums_known = orders.copy(), sums.copy()
    for table in (orders_known, sums_known):
        table[-1, :] = 0
        table[:, -1] = 0
    city = shrink(sums[:-1].sum(axis=1), orders[:-1].sum(axis=1), prior.level, K_CITY)
    food = shrink(sums[:, :-1].sum(axis=0), orders[:, :-1].sum(axis=0), prior.level, K_FOOD)
    additive = np.append(city, prior.level)[:, None] + np.append(food, prior.level)[None, :] - prior.level
    return shrink(sums_known, orders_known, additive, K_CITY_FOOD).ravel()


def group_orders(state: HistoryState, restaurants: RestaurantIndex) -> NDArray[np.int64]:
    """Return the completed orders per group, [cities + 1, foods + 1]. The last row and column are for unknown ones."""
    return _sum_by_group(state.orders, restaurants)


def history_rows(
    state: HistoryState, restaurants: RestaurantIndex, prior: GlobalPrior, levels: NDArray[np.float64], today: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the rows and the time slot means of a history.

    The row of a group is that of a restaurant in the group without orders.

    Args:
        state: The completed orders of R restaurants.
        restaurants: The same R restaurants.
        prior: `fit_global_prior(state)`.
        levels: `group_levels(state, restaurants, prior)`, [groups].
        today: As-of date, in local days since 1970-01-01.

    Returns:
        Rows [R + groups, HISTORY_FEATURES], and means in seconds [R + groups, TIME_SLOT_COUNT].
    """
    size = len(restaurants)
    rows = np.empty((size + len(levels), len(HISTORY_FEATURES)), np.float32)
    slots = np.empty((size + len(levels), TIME_SLOT_COUNT), np.float32)
    restaurant_levels = levels[restaurants.group_index(restaurants.city, restaurants.type_of_food)]
    for chunk in _chunks(size):
        rows[chunk], slots[chunk] = _compute_rows(
            state.slice_restaurants(chunk), restaurant_levels[chunk], prior, today
        )
    for chunk in _chunks(len(levels)):
        empty_state = HistoryState.empty(chunk.stop - chunk.start)
        target = slice(size + chunk.start, size + chunk.stop)
        rows[target], slots[target] = _compute_rows(empty_state, levels[chunk], prior, today)
    return rows, slots


def _chunks(size: int) -> list[slice]:
    return [slice(start, min(start + _CHUNK_ROWS, size)) for start in range(0, size, _CHUNK_ROWS)]


def _compute_rows(
    state: HistoryState, level: NDArray[np.float64], prior: GlobalPrior, today: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    bins, n = state.bin_orders, state.orders
    mean = shrink(state.bin_sums, n, level, K_RESTAURANT)
    quantile_prior = level[:, None] + prior.quantiles
    quantiles = shrink(n[:, None] * quantile_positions(bins, QUANTILE_LEVELS), n[:, None], quantile_prior, K_RESTAURANT)
    recent_n, recent_bins, per_day = _recency_sums(state, today)
    last_orders = (state.latest_orders != NO_ORDER).sum(axis=1)
    last_bins = (state.latest_orders % BIN_COUNT).sum(axis=1)
    first_ready, worked = _first_ready(state)
    columns = (
        np.log1p(n),
        per_day,
        position_to_seconds(mean),
        *position_to_seconds(quantiles).T,
        BIN_WIDTH * np.sqrt(shrink(squared_deviations(bins), n, prior.variance, K_RESTAURANT)),
        position_to_seconds(shrink(recent_bins, recent_n, mean, K_RECENT)),
        position_to_seconds(shrink(last_bins, last_orders, mean, K_RECENT)),
        shrink(state.items, n, prior.items, K_BASKET),
        shrink(state.value_cents / 100, n, prior.value, K_BASKET),
        shrink(state.meal_period_orders[:, 0], n, prior.lunch_share, K_BASKET),
        *shrink(first_ready * worked, worked, prior.first_ready, K_FIRST_READY).T,
    )
    slots = position_to_seconds(shrink(state.slot_bin_sums, state.slot_orders, mean[:, None] + prior.slots, K_SLOT))
    return np.column_stack(columns).astype(np.float32), slots.astype(np.float32)


def shrink(total: _Number, n: _Number, parent: _Number, k: float) -> NDArray[np.float64]:
    """Return the mean of `n` values with the sum `total`, shrunken to `parent` with the weight of `k` values.

    Example:
        >>> float(shrink(total=1_800.0, n=3.0, parent=900.0, k=6.0))
        800.0
    """
    return np.asarray((total + k * np.asarray(parent)) / (n + k))


def _sum_by_group(values: NDArray[np.int64], restaurants: RestaurantIndex) -> NDArray[np.int64]:
    """Return the sums over the restaurants of each group, [cities + 1, foods + 1]."""
    group = restaurants.group_index(restaurants.city, restaurants.type_of_food)
    sums = np.zeros(restaurants.group_count, np.int64)
    np.add.at(sums, group, values)
    return sums.reshape(len(restaurants.vocabularies.city) + 1, -1)


def _first_ready(state: HistoryState) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the earliest ready second and its number of orders, [R, MEAL_PERIOD_COUNT] each. Both are 0 if unknown."""
    worked = state.first_ready != NEVER_READY
    return np.where(worked, state.first_ready, 0).astype(np.int64), (state.meal_period_orders * worked).astype(np.int64)


def _recency_sums(
    state: HistoryState, today: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return recency-weighted orders, recency-weighted sums of bins, and orders per day over the window, [R] each."""
    weighted = np.zeros((2, len(state.items)))
    unweighted = np.zeros(len(state.items))
    days = [day_number for day_number in sorted(state.recent_days) if today - RECENT_DAYS <= day_number < today]
    for day_number in days:
        weighted += 0.5 ** ((today - 1 - day_number) / HALF_LIFE_DAYS) * state.recent_days[day_number]
        unweighted += state.recent_days[day_number][0]
    return weighted[0], weighted[1], unweighted / max(today - days[0], 1) if days else unweighted


def build_history(state: HistoryState, restaurants: RestaurantIndex, date: dt.date) -> History:
    """Return the history as of `date`.

    Raises `UsageError` if the state contains an order that was ready on or after that date, because the features would
    then contain information from the future.
    """
    today = (date - dt.date(1970, 1, 1)).days
    if state.last_day is not None and state.last_day >= today:
        latest = dt.date(1970, 1, 1) + dt.timedelta(days=state.last_day)
        raise UsageError(
            f"Can't build the history as of {date}: it would include an order that was ready on {latest}.",
            "Count only orders that were ready before that date.",
        )
    prior = fit_global_prior(state)
    rows, slots = history_rows(state, restaurants, prior, group_levels(state, restaurants, prior), today)
    median = float(rows[len(restaurants) + restaurants.group_count - 1, MEDIAN_COLUMN])
    means = shrink(state.category_bin_sums, state.category_orders, prior.level, K_CATEGORY)
    return History(
        date.isoformat(),
        restaurants,
        _append_restaurant_numbers(rows, restaurants),
        slots,
        _fallback_levels(state, restaurants),
        np.float32(median),
        position_to_seconds(means).astype(np.float32),
        np.log1p(state.category_orders).astype(np.float32),
    )


def _append_restaurant_numbers(rows: NDArray[np.float32], restaurants: RestaurantIndex) -> NDArray[np.float32]:
    """Return the rows with the custom numbers of the restaurants and their indicators. Groups have no numbers."""
    features = restaurants.feature_set.restaurant_numbers
    if not features:
        return rows
    numbers = np.full((len(rows), len(features)), np.nan)
    if restaurants.numbers is not None:
        numbers[: len(restaurants)] = restaurants.numbers
    is_missing = np.isnan(numbers)
    filled = np.where(is_missing, [fill_value(feature) for feature in features], numbers)
    return np.hstack([rows, filled.astype(np.float32), is_missing.astype(np.float32)])


def _fallback_levels(state: HistoryState, restaurants: RestaurantIndex) -> NDArray[np.int8]:
    """Return the finest level with at least one order, [R + groups]."""
    orders = group_orders(state, restaurants)
    has_orders = {
        "city_food": orders > 0,
        "food": np.broadcast_to(orders.sum(axis=0) > 0, orders.shape),
        "city": np.broadcast_to((orders.sum(axis=1) > 0)[:, None], orders.shape),
    }
    # The last row and column collect unknown cities and foods, which have no level of their own.
    known_city, known_food = np.ones(orders.shape, bool), np.ones(orders.shape, bool)
    known_city[-1, :] = False
    known_food[:, -1] = False
    level = np.full(orders.shape, FALLBACK_LEVELS.index("global"), np.int8)
    level[has_orders["city"] & known_city] = FALLBACK_LEVELS.index("city")
    level[has_orders["food"] & known_food] = FALLBACK_LEVELS.index("food")
    level[has_orders["city_food"] & known_city & known_food] = FALLBACK_LEVELS.index("city_food")
    group_level = level.ravel()
    restaurant_level = group_level[restaurants.group_index(restaurants.city, restaurants.type_of_food)]
    restaurant_level[state.orders > 0] = FALLBACK_LEVELS.index("restaurant")
    return np.concatenate([restaurant_level, group_level])
