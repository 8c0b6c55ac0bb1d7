"""The orders of a block of restaurants: times, value and items, cooking times that depend on the load, and labels.

The *open orders* of an order are the earlier orders of the same restaurant whose recorded `order_ready_at` is after its
acknowledgement. Open orders slow the next order down, and its preparation time decides what is open later.

The published deviations are +8, +83, +173, and +304 s at 1, 2, 3, and 4 open orders. A deviation is the median of the
label minus the median of all labels of the restaurant. With this definition, the first 23 days of the real orders give
+8, +66, +188, and +374 s over restaurants with at least 30 orders, which agrees within the noise. With smaller
restaurants, the median at 1 is closer to 0, because an order often is the median of its restaurant.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from preptime.domain.timestamps import MICROSECONDS
from preptime.synthetic.demand import DemandProfile, draw_days, draw_times, utc_microseconds, wait_seconds
from preptime.synthetic.ground_truth import (
    ExpectedLoad,
    draw_label_noise,
    heavy_tailed_noise,
    load_effect,
    normal_score,
    true_quantiles,
)
from preptime.synthetic.restaurants import SyntheticRestaurants
from preptime.synthetic.world import CITIES, NUMBER_OF_ITEMS_SHARE, ORDER_VALUE_QUANTILES, Drift

BASKET_LEVEL_SHARE = 0.15
PRICE_LEVEL_SHARE = 0.16
"""Share of the variance of the scores of items and value between restaurants."""

ITEMS_VALUE_CORRELATION = 0.72
"""Correlation of the scores of items and value within a restaurant."""

GBP_PER_EUR = 0.7167
"""Prices in euros are multiples of 10 cents, converted at this rate, as in the real file. Pounds have 5-pence steps."""


def draw_baskets(
    restaurants: SyntheticRestaurants, restaurant_index: NDArray[np.int64], rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.int16]]:
    """Draw the value in pounds, [N], and the number of items, [N], of one order of each of these restaurants [N]."""
    basket_score, price_score = rng.standard_normal(len(restaurant_index)), rng.standard_normal(len(restaurant_index))
    price_score = ITEMS_VALUE_CORRELATION * basket_score + (1 - ITEMS_VALUE_CORRELATION**2) ** 0.5 * price_score
    items_score = (
        BASKET_LEVEL_SHARE**0.5 * restaurants.basket_level[restaurant_index]
        + (1 - BASKET_LEVEL_SHARE) ** 0.5 * basket_score
    )
    value_score = (
        PRICE_LEVEL_SHARE**0.5 * restaurants.price_level[restaurant_index]
        + (1 - PRICE_LEVEL_SHARE) ** 0.5 * price_score
    )
    shares, pounds = zip(*ORDER_VALUE_QUANTILES, strict=True)
    value = np.exp(np.interp(value_score, [normal_score(share) for share in shares], np.log(pounds)))
    cumulative_share = np.cumsum(NUMBER_OF_ITEMS_SHARE) / sum(NUMBER_OF_ITEMS_SHARE)
    items = 1 + np.searchsorted([normal_score(share) for share in cumulative_share[:-1]], items_score)
    priced_in_pounds = np.array([city.country == "UK" for city in CITIES])[restaurants.city[restaurant_index]]
    value_from_euros = np.maximum(np.round(value / GBP_PER_EUR, 1), 0.1) * GBP_PER_EUR
    # Rounding to a whole number first makes 21.40 the nearest float, which prints as 21.4.
    return np.where(
        priced_in_pounds, np.round(value * 20) * 5 / 100, np.round(value_from_euros * 1e5) / 1e5
    ), items.astype(np.int16)


def count_open_orders(
    restaurant: NDArray[np.int64], acknowledged: NDArray[np.int64], ready: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the number of open orders at each acknowledgement, [N].

    Rows must be sorted by restaurant and then by acknowledgement, without ties. The open orders are the earlier orders
    minus those that are ready. Every order that is ready is an earlier one, so a search in the sorted ready times is
    enough.
    """
    if len(restaurant) == 0:
        return np.zeros(0, dtype=np.int64)
    first_acknowledged = acknowledged.min()
    period = int(acknowledged.max() - first_acknowledged) + 2
    restaurant_offset = np.cumsum(np.diff(restaurant, prepend=restaurant[:1]) != 0) * period
    # An order that is ready in the microsecond of its acknowledgement is never open for another order.
    ready_after_acknowledged = np.maximum(ready, acknowledged + 1)
    sorted_ready = np.sort(restaurant_offset + np.minimum(ready_after_acknowledged - first_acknowledged, period - 1))
    open_count: NDArray[np.int64] = np.arange(len(restaurant)) - np.searchsorted(
        sorted_ready, restaurant_offset + (acknowledged - first_acknowledged), side="right"
    )
    return open_count


def solve_open_orders(
    restaurant: NDArray[np.int64],
    acknowledged: NDArray[np.int64],
    ready_given_load: Callable[[NDArray[np.intp], NDArray[np.int64]], NDArray[np.int64]],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return open orders, [N], and ready times, [N], that are consistent with each other.

    It starts without open orders and recounts until nothing changes. An order depends only on earlier orders, so each
    iteration settles at least one more order per restaurant. The result equals a simulation order by order. A few
    iterations are enough.

    Args:
        restaurant: Restaurant of each order, sorted as for `count_open_orders`.
        acknowledged: Acknowledgement of each order.
        ready_given_load: Function of rows and their open orders that returns their ready times.
    """
    rows = np.arange(len(restaurant))
    open_orders = np.zeros(len(restaurant), dtype=np.int64)
    ready = ready_given_load(rows, open_orders)
    while len(rows):
        recounted = count_open_orders(restaurant[rows], acknowledged[rows], ready[rows])
        changed = recounted != open_orders[rows]
        open_orders[rows] = recounted
        ready[rows[changed]] = ready_given_load(rows[changed], recounted[changed])
        changed_restaurants = np.unique(restaurant[rows[changed]])
        rows = rows[np.isin(restaurant[rows], changed_restaurants)]
    return open_orders, ready


LOG_BASE_SECONDS = math.log(775.0)
"""Logarithm of the median cooking time without open orders, everything else average. From the published quartiles."""

VALUE_EXPONENT = 0.26
ITEMS_EXPONENT = 0.08
"""Cooking time is proportional to these powers of value and items, measured within restaurants."""

REFERENCE_VALUE_GBP = 21.4
REFERENCE_ITEMS = 3.5

HOUR_EFFECT = ((0.0, -0.15), (11.0, 0.05), (13.0, 0.06), (14.5, -0.02), (15.5, -0.07), (17.5, 0.0), (20.0, 0.02),
               (21.5, -0.03), (22.5, -0.06), (23.5, -0.16), (24.0, -0.16))  # fmt: skip
"""Effect of the local hour on the logarithm of the cooking time, interpolated linearly, measured within restaurants."""


@dataclass(frozen=True, slots=True)
class SyntheticOrders:
    """N orders as columns, sorted by restaurant and acknowledgement. Instants are microseconds since 1970."""

    restaurant_index: NDArray[np.int32]
    """Position in `SyntheticRestaurants`."""
    acknowledged: NDArray[np.int64]
    ready: NDArray[np.int64]
    order_value_gbp: NDArray[np.float64]
    number_of_items: NDArray[np.int16]
    open_orders: NDArray[np.int32]
    quantiles: NDArray[np.float32]
    """[8, N] seconds: the quantiles at `QUANTILE_LEVELS` given the load, then without it."""
    noisy_label: NDArray[np.bool_]
    before_opening: NDArray[np.bool_]


def draw_orders(
    restaurants: SyntheticRestaurants,
    block: range,
    *,
    demand: DemandProfile,
    expected_load: ExpectedLoad,
    drift: Drift | None,
    seed: np.random.SeedSequence,
) -> SyntheticOrders:
    """Draw all orders of the restaurants at positions `block`, independently of other restaurants."""
    time_rng, basket_rng, noise_rng, label_noise_rng = (
        np.random.Generator(np.random.PCG64(child)) for child in seed.spawn(4)
    )
    restaurant_index = np.repeat(np.arange(block.start, block.stop), restaurants.orders[block.start : block.stop])
    day = draw_days(demand, restaurants.first_day[restaurant_index], time_rng)
    seconds = draw_times(demand, restaurants.opening_kind[restaurant_index], time_rng)
    acknowledged = utc_microseconds(demand, restaurants.zone[restaurant_index], day, seconds)
    time_order = np.lexsort((acknowledged, restaurant_index))  # `restaurant_index` is sorted already and doesn't change
    day, seconds, acknowledged = (
        day[time_order],
        seconds[time_order],
        _make_strictly_increasing(restaurant_index, acknowledged[time_order]),
    )
    value, items = draw_baskets(restaurants, restaurant_index, basket_rng)

    log_pace = restaurants.log_pace[restaurant_index] + _drift_effect(restaurants, restaurant_index, day, drift)
    location = LOG_BASE_SECONDS + log_pace + _order_effect(value, items, seconds)
    scale = restaurants.noise_scale[restaurant_index]
    noise_score = heavy_tailed_noise(noise_rng.standard_normal(len(restaurant_index)))
    wait = wait_seconds(demand.opening_seconds[restaurants.opening_kind[restaurant_index]], seconds)
    is_noisy, noisy_seconds = draw_label_noise(
        restaurants.early_tap[restaurant_index], seconds, wait > 0, label_noise_rng
    )

    def ready_given_load(rows: NDArray[np.intp], open_orders: NDArray[np.int64]) -> NDArray[np.int64]:
        cooking = np.exp(location[rows] + scale[rows] * (load_effect(open_orders) + noise_score[rows]))
        label_seconds = np.where(is_noisy[rows], noisy_seconds[rows], wait[rows] + cooking)
        return acknowledged[rows] + (label_seconds * MICROSECONDS).astype(np.int64)

    open_orders, ready = solve_open_orders(restaurant_index, acknowledged, ready_given_load)
    daily_orders = restaurants.expected_orders[restaurant_index] * demand.day_share[day]
    expected_open = expected_load(
        restaurants.opening_kind[restaurant_index], LOG_BASE_SECONDS + log_pace, scale, seconds, daily_orders
    )
    return SyntheticOrders(
        restaurant_index=restaurant_index.astype(np.int32),
        acknowledged=acknowledged,
        ready=ready,
        order_value_gbp=value,
        number_of_items=items,
        open_orders=open_orders.astype(np.int32),
        quantiles=true_quantiles(
            wait, location, scale, open_orders, mixture_quantiles=expected_load.mixture.quantiles(expected_open)
        ),
        noisy_label=is_noisy,
        before_opening=wait > 0,
    )


def _make_strictly_increasing(restaurant: NDArray[np.int64], acknowledged: NDArray[np.int64]) -> NDArray[np.int64]:
    """Separate equal acknowledgements of a restaurant by a microsecond, so that "earlier" is well defined."""
    same = restaurant[1:] == restaurant[:-1]
    while (tied := same & (acknowledged[1:] <= acknowledged[:-1])).any():
        acknowledged[1:][tied] = acknowledged[:-1][tied] + 1
    return acknowledged


def _order_effect(
    value: NDArray[np.float64], items: NDArray[np.int16], seconds: NDArray[np.float64]
) -> NDArray[np.float64]:
    hours, effects = zip(*HOUR_EFFECT, strict=True)
    effect: NDArray[np.float64] = (
        VALUE_EXPONENT * np.log(value / REFERENCE_VALUE_GBP)
        + ITEMS_EXPONENT * np.log(items / REFERENCE_ITEMS)
        + np.interp(seconds / 3_600, hours, effects)
    )
    return effect


def _drift_effect(
    restaurants: SyntheticRestaurants, restaurant_index: NDArray[np.int64], day: NDArray[np.int64], drift: Drift | None
) -> NDArray[np.float64]:
    if drift is None:
        return np.zeros(len(restaurant_index))
    city_index = [city.name for city in CITIES].index(drift.city)
    return np.where(
        (restaurants.city[restaurant_index] == city_index) & (day >= drift.start_day - 1), math.log(drift.factor), 0.0
    )
