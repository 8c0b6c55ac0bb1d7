"""The synthetic restaurants: city, type of food, popularity, opening, and the pace and habits of the kitchen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from preptime.synthetic.demand import NEW_RESTAURANT_SHARE, OPENING_HOURS_SHARES, DemandProfile
from preptime.synthetic.world import CITIES, FOODS, MIN_DEFAULT_RESTAURANTS, TIME_ZONES, SynthesisPlan

POPULARITY_SPREAD_BELOW, POPULARITY_SPREAD_ABOVE = 1.15, 1.18
"""Standard deviation of the logarithm of popularity below and above the median. 74% of restaurants get 20 orders or
fewer."""

MAX_POPULARITY_SCORE = 2.7
"""Limit of the popularity score for any number of restaurants. A larger restaurant would be another kind of kitchen."""

LATE_CITY_START = 0.8
"""Share of the period before the first order of a city that opens late."""

KITCHEN_SPREAD = 0.275
"""Standard deviation of the logarithm of the cooking time between restaurants of one city and food."""

NOISE_SCALE = 0.38
NOISE_SCALE_SPREAD = 0.25
MAX_NOISE_SCALE = 0.7
"""Median, standard deviation of the logarithm, and maximum of the noise scale of kitchens."""

EARLY_TAP_SPREAD = 1.6
EARLY_TAP_PARIS_FACTOR = 20.0
"""Some kitchens habitually tap "ready" right after the acknowledgement. In Paris, many do: a quarter of its labels are
under a minute."""

MAX_EARLY_TAP_PROBABILITY = 0.6
EARLY_TAP_PACE_EFFECT = 1.0
"""Reduction of the logarithm of a kitchen's other labels, per probability of an early tap."""

EARLY_TAP_SHARE = 0.0335
"""Share of early taps in all orders. With the fastest true labels, 3.4% are under a minute."""


@dataclass(frozen=True, slots=True)
class SyntheticRestaurants:
    """R restaurants as columns [R]. The id of a restaurant is its position plus one. Files have only city and food."""

    city: NDArray[np.int64]
    """Position in `CITIES`."""
    food: NDArray[np.int64]
    """Position in `FOODS`."""
    zone: NDArray[np.int8]
    """Position in `DemandProfile.zones`."""
    opening_kind: NDArray[np.int8]
    """Position in `OPENING_HOURS`."""
    first_day: NDArray[np.int64]
    """Day of the period, from 0, on which the restaurant opens."""
    orders: NDArray[np.int64]
    """Number of orders in the period."""
    expected_orders: NDArray[np.float64]
    """Expected number of orders if the restaurant were open for the whole period."""
    log_pace: NDArray[np.float64]
    """Effect of kitchen, food, and city on the logarithm of the cooking time."""
    noise_scale: NDArray[np.float64]
    price_level: NDArray[np.float64]
    """Effect on the normal score of the order value, standardized."""
    basket_level: NDArray[np.float64]
    """Effect on the normal score of the number of items, standardized."""
    early_tap: NDArray[np.float64]
    """Probability that "ready" is tapped within a minute of the acknowledgement, independent of the food."""


def draw_restaurants(plan: SynthesisPlan, demand: DemandProfile, rng: np.random.Generator) -> SyntheticRestaurants:
    """Draw the restaurants of a plan, sorted by opening day."""
    count = plan.restaurant_count
    city = rng.permutation(_allocate_proportionally(count, np.array([city.restaurants for city in CITIES])))
    food = rng.permutation(_allocate_proportionally(count, np.array([food.restaurants for food in FOODS])))
    city, food, first_day = _order_by_opening(city, food, _first_days(plan.days, city, rng))
    popularity = _popularity(count, rng)
    open_share = 1 - np.concatenate(([0.0], np.cumsum(demand.day_share)))[first_day]
    expected = _rake_weights(popularity * open_share, city, food) * plan.orders
    orders = _draw_orders(plan.orders, expected, city, rng)
    weight = expected / expected.sum()

    city_price_level = np.array([city_entry.price_level for city_entry in CITIES])[city]
    # A kitchen that habitually taps early also taps its other orders somewhat early.
    tap_habit = np.exp(EARLY_TAP_SPREAD * rng.standard_normal(count))
    in_france = np.array([city_entry.country == "France" for city_entry in CITIES])[city]
    city_and_food_effect = (
        np.array([city_entry.log_pace for city_entry in CITIES])[city]
        + np.array([food_entry.log_pace for food_entry in FOODS])[food]
    )
    early_tap = _scale_early_tap(tap_habit * np.where(in_france, EARLY_TAP_PARIS_FACTOR, 1.0), orders)
    city_and_food_effect -= EARLY_TAP_PACE_EFFECT * early_tap
    return SyntheticRestaurants(
        city=city,
        food=food,
        zone=np.array([demand.zones.index(TIME_ZONES[city_entry.country]) for city_entry in CITIES], dtype=np.int8)[
            city
        ],
        opening_kind=rng.choice(len(OPENING_HOURS_SHARES), size=count, p=OPENING_HOURS_SHARES).astype(np.int8),
        first_day=first_day,
        orders=orders,
        expected_orders=expected / open_share,
        log_pace=KITCHEN_SPREAD * _standard_effect(weight, rng) + city_and_food_effect - weight @ city_and_food_effect,
        noise_scale=np.minimum(
            NOISE_SCALE * np.exp(NOISE_SCALE_SPREAD * _standard_effect(weight, rng)), MAX_NOISE_SCALE
        ),
        price_level=_standard_effect(weight, rng) + city_price_level - weight @ city_price_level,
        basket_level=_standard_effect(weight, rng),
        early_tap=early_tap,
    )


def _popularity(count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    score = np.minimum(rng.standard_normal(count), MAX_POPULARITY_SCORE)
    popularity: NDArray[np.float64] = np.exp(
        np.where(score < 0, POPULARITY_SPREAD_BELOW, POPULARITY_SPREAD_ABOVE) * score
    )
    return popularity


def _standard_effect(weight: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw normal scores, [R], with mean 0 and variance 1 over the orders, so that totals don't shift."""
    scores = rng.standard_normal(len(weight))
    scores -= weight @ scores
    # With few restaurants, the variance is too uncertain to divide by.
    return scores / np.sqrt(weight @ scores**2) if len(scores) >= MIN_DEFAULT_RESTAURANTS else scores


def _allocate_proportionally(count: int, shares: NDArray[np.generic]) -> NDArray[np.int64]:
    """Return `count` positions in proportion to `shares`, by largest remainder: no city is missing by chance."""
    exact = count * shares / shares.sum()
    counts = np.floor(exact).astype(np.int64)
    counts[np.argsort(counts - exact, kind="stable")[: count - counts.sum()]] += 1
    return np.repeat(np.arange(len(shares)), counts)


def _first_days(days: int, city: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    is_new = rng.random(len(city)) < NEW_RESTAURANT_SHARE
    first_day = np.where(is_new, rng.integers(0, days, len(city)), 0)
    is_late = np.array([city_entry.opens_late for city_entry in CITIES])[city]
    return np.where(is_late, np.maximum(first_day, int(LATE_CITY_START * days)), first_day)


def _order_by_opening(
    city: NDArray[np.int64], food: NDArray[np.int64], first_day: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Sort the restaurants by opening day, because ids are assigned when restaurants join."""
    by_opening = np.argsort(first_day, kind="stable")
    return city[by_opening], food[by_opening], first_day[by_opening]


def _rake_weights(weight: NDArray[np.float64], city: NDArray[np.int64], food: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return each restaurant's share of all orders, [R]: popularity, raked to the shares of foods and cities."""
    shares = (
        (food, np.array([food_entry.orders_per_thousand for food_entry in FOODS])),
        (city, np.array([city_entry.order_share for city_entry in CITIES])),
    )
    for _ in range(12):
        for group, share in shares:
            current_share = np.bincount(group, weight, minlength=len(share))
            weight = weight * (share / np.where(current_share > 0, current_share, 1.0))[group]
    raked: NDArray[np.float64] = weight / weight.sum()
    return raked


def _draw_orders(
    total: int, expected: NDArray[np.float64], city: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.int64]:
    """Draw the number of orders per restaurant, [R]. Each city gets exactly its share."""
    per_city = np.bincount(
        _allocate_proportionally(total, np.bincount(city, expected, minlength=len(CITIES))), minlength=len(CITIES)
    )
    orders = np.zeros(len(city), dtype=np.int64)
    for city_index in np.flatnonzero(per_city):
        rows = np.flatnonzero(city == city_index)
        orders[rows] = rng.multinomial(per_city[city_index], expected[rows] / expected[rows].sum())
    return orders


def _scale_early_tap(tap_habit: NDArray[np.float64], orders: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return probabilities of an early tap, [R], that give `EARLY_TAP_SHARE` of all orders.

    They are proportional to `tap_habit`, up to `MAX_EARLY_TAP_PROBABILITY`.
    """
    probability = np.zeros(len(tap_habit))
    scale = EARLY_TAP_SHARE / tap_habit.mean()
    for _ in range(40):
        probability = np.minimum(tap_habit * scale, MAX_EARLY_TAP_PROBABILITY)
        scale *= EARLY_TAP_SHARE * orders.sum() / (orders @ probability)
    return probability
