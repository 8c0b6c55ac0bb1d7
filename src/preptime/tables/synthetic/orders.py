"""The orders of a block of restaurants: when, what is in them, how long they take, and what is recorded of that."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from preptime.tables.synthetic.basket import draw_baskets
from preptime.tables.synthetic.clock import (
    MICROSECONDS,
    DemandProfile,
    draw_days,
    draw_times,
    utc_microseconds,
    wait_seconds,
)
from preptime.tables.synthetic.dirt import draw_label_noise
from preptime.tables.synthetic.kitchen import solve_open_orders
from preptime.tables.synthetic.noise import heavy_tailed_noise, load_effect
from preptime.tables.synthetic.plan import Drift
from preptime.tables.synthetic.restaurants import SyntheticRestaurants
from preptime.tables.synthetic.truth import ExpectedLoad, true_quantiles
from preptime.tables.synthetic.world import CITIES

LOG_BASE_SECONDS = math.log(775.0)
"""Logarithm of the median cooking time in an empty kitchen, all else average. Calibrated on the published quartiles."""

VALUE_EXPONENT = 0.26
ITEMS_EXPONENT = 0.08
"""Cooking time grows with these powers of value and items; measured within restaurants."""

REFERENCE_VALUE_GBP = 21.4
REFERENCE_ITEMS = 3.5

HOUR_EFFECT = ((0.0, -0.15), (11.0, 0.05), (13.0, 0.06), (14.5, -0.02), (15.5, -0.07), (17.5, 0.0), (20.0, 0.02),
               (21.5, -0.03), (22.5, -0.06), (23.5, -0.16), (24.0, -0.16))  # fmt: skip
"""Added to the logarithm of the cooking time at these local hours, linear in between; measured within restaurants."""


@dataclass(frozen=True, slots=True)
class SyntheticOrders:
    """N orders, column by column, sorted by restaurant and acknowledgement; instants in microseconds since 1970."""

    restaurant_index: NDArray[np.int32]
    """Position in the directory."""
    acknowledged: NDArray[np.int64]
    ready: NDArray[np.int64]
    order_value_gbp: NDArray[np.float64]
    number_of_items: NDArray[np.int16]
    open_orders: NDArray[np.int32]
    quantiles: NDArray[np.float32]
    """[8, N] seconds: QUANTILE_LEVELS given the load, then without knowing it."""
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
    """All orders of the restaurants at positions `block`; nothing of it depends on other restaurants."""
    time_rng, basket_rng, noise_rng, label_noise_rng = (
        np.random.Generator(np.random.PCG64(child)) for child in seed.spawn(4)
    )
    restaurant_index = np.repeat(np.arange(block.start, block.stop), restaurants.orders[block.start : block.stop])
    day = draw_days(demand, restaurants.first_day[restaurant_index], time_rng)
    seconds = draw_times(demand, restaurants.opening_kind[restaurant_index], time_rng)
    acknowledged = utc_microseconds(demand, restaurants.zone[restaurant_index], day, seconds)
    time_order = np.lexsort((acknowledged, restaurant_index))  # `restaurant_index` is sorted already and stays as it is
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
    """A kitchen acknowledges one order at a time: a microsecond apart at least, so that "earlier" has one meaning."""
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
