"""What is in an order: number of items and value, which depend on each other and on the restaurant."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from preptime.tables.synthetic.noise import normal_score
from preptime.tables.synthetic.restaurants import SyntheticRestaurants
from preptime.tables.synthetic.world import CITIES, NUMBER_OF_ITEMS_SHARE, ORDER_VALUE_QUANTILES

BASKET_LEVEL_SHARE = 0.15
PRICE_LEVEL_SHARE = 0.16
"""Share of the variance of the scores of items and value that lies between restaurants."""

ITEMS_VALUE_CORRELATION = 0.72
"""Within a restaurant."""

GBP_PER_EUR = 0.7167
"""Euro prices are whole tens of cents, converted at one rate, as in the real file; pounds come in steps of 5 pence."""


def draw_baskets(
    restaurants: SyntheticRestaurants, restaurant_index: NDArray[np.int64], rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.int16]]:
    """[N] value in pounds and number of items, for orders of the restaurants at positions `restaurant_index`."""
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
    # Through whole numbers, so that 21.40 is the float nearest to it and prints as such.
    return np.where(
        priced_in_pounds, np.round(value * 20) * 5 / 100, np.round(value_from_euros * 1e5) / 1e5
    ), items.astype(np.int16)
