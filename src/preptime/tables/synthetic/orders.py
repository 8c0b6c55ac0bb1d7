"""The orders of a block of restaurants: when, what is in them, how long they take, and what is recorded of that."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from preptime.tables.synthetic.basket import draw_baskets
from preptime.tables.synthetic.clock import MICROSECONDS, Clock, draw_days, draw_times, utc_microseconds, wait_seconds
from preptime.tables.synthetic.dirt import draw_dirt
from preptime.tables.synthetic.kitchen import settle
from preptime.tables.synthetic.noise import load_effect, noise
from preptime.tables.synthetic.plan import Drift
from preptime.tables.synthetic.restaurants import Restaurants
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
class Orders:
    """N orders, column by column, sorted by restaurant and acknowledgement; instants in microseconds since 1970."""

    restaurant: NDArray[np.int32]
    """Position in the directory."""
    acknowledged: NDArray[np.int64]
    ready: NDArray[np.int64]
    order_value_gbp: NDArray[np.float64]
    number_of_items: NDArray[np.int16]
    open_orders: NDArray[np.int32]
    quantiles: NDArray[np.float32]
    """[8, N] seconds: QUANTILES given the load, then without knowing it."""
    dirty: NDArray[np.bool_]
    before_opening: NDArray[np.bool_]


def draw_orders(
    restaurants: Restaurants,
    block: range,
    *,
    clock: Clock,
    expected_load: ExpectedLoad,
    drift: Drift | None,
    seed: np.random.SeedSequence,
) -> Orders:
    """All orders of the restaurants at positions `block`; nothing of it depends on other restaurants."""
    when, basket, chance, dirt = (np.random.Generator(np.random.PCG64(child)) for child in seed.spawn(4))
    at = np.repeat(np.arange(block.start, block.stop), restaurants.orders[block.start : block.stop])
    day = draw_days(clock, restaurants.first_day[at], when)
    seconds = draw_times(clock, restaurants.opening[at], when)
    acknowledged = utc_microseconds(clock, restaurants.zone[at], day, seconds)
    by_time = np.lexsort((acknowledged, at))  # `at` is sorted already and stays as it is
    day, seconds, acknowledged = day[by_time], seconds[by_time], _strictly_later(at, acknowledged[by_time])
    value, items = draw_baskets(restaurants, at, basket)

    log_pace = restaurants.log_pace[at] + _drift(restaurants, at, day, drift)
    location = LOG_BASE_SECONDS + log_pace + _order_effect(value, items, seconds)
    scale = restaurants.noise_scale[at]
    surprise = noise(chance.standard_normal(len(at)))
    wait = wait_seconds(clock.opening_seconds[restaurants.opening[at]], seconds)
    dirty, false_seconds = draw_dirt(restaurants.early_tap[at], seconds, wait > 0, dirt)

    def ready_given_load(rows: NDArray[np.intp], open_orders: NDArray[np.int64]) -> NDArray[np.int64]:
        cooking = np.exp(location[rows] + scale[rows] * (load_effect(open_orders) + surprise[rows]))
        taken = np.where(dirty[rows], false_seconds[rows], wait[rows] + cooking)
        return acknowledged[rows] + (taken * MICROSECONDS).astype(np.int64)

    open_orders, ready = settle(at, acknowledged, ready_given_load)
    daily = restaurants.expected_orders[at] * clock.day_share[day]
    expected_open = expected_load(restaurants.opening[at], LOG_BASE_SECONDS + log_pace, scale, seconds, daily)
    return Orders(
        restaurant=at.astype(np.int32),
        acknowledged=acknowledged,
        ready=ready,
        order_value_gbp=value,
        number_of_items=items,
        open_orders=open_orders.astype(np.int32),
        quantiles=true_quantiles(
            wait, location, scale, open_orders, mixed=expected_load.mixture.quantiles(expected_open)
        ),
        dirty=dirty,
        before_opening=wait > 0,
    )


def _strictly_later(restaurant: NDArray[np.int64], acknowledged: NDArray[np.int64]) -> NDArray[np.int64]:
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


def _drift(
    restaurants: Restaurants, at: NDArray[np.int64], day: NDArray[np.int64], drift: Drift | None
) -> NDArray[np.float64]:
    if drift is None:
        return np.zeros(len(at))
    place = [city.name for city in CITIES].index(drift.city)
    return np.where((restaurants.city[at] == place) & (day >= drift.from_day - 1), math.log(drift.factor), 0.0)
