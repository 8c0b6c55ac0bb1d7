"""The time zone of each order: its restaurant's, else its own country's, else the one most restaurants live in."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from preptime.domain.order import UNKNOWN_CODE
from preptime.domain.time_zones import resolve_time_zone
from preptime.domain.timestamps import WHITESPACE
from preptime.errors import DataError
from preptime.features.directory import RestaurantIndex
from preptime.tables.categories import parse_categories


def order_time_zones(
    orders: pl.DataFrame, restaurant_index: NDArray[np.int64], restaurants: RestaurantIndex
) -> tuple[NDArray[np.int32], tuple[str, ...]]:
    """([N] positions, the IANA names they stand for). `position` is each order's restaurant in the directory."""
    zone_names = list(restaurants.vocabularies.time_zone) or ["UTC"]
    zone_codes: NDArray[np.int32] = np.append(restaurants.time_zone, np.int32(restaurants.most_common_time_zone))[
        restaurant_index
    ]
    unknown_rows = np.flatnonzero(restaurant_index == UNKNOWN_CODE)
    if len(unknown_rows) and "country" in orders.columns:
        cells = orders["country"].gather(unknown_rows)
        country_names = restaurants.vocabularies.country
        codes = parse_categories(cells, country_names)
        countries = cells.cast(pl.String).str.strip_chars(WHITESPACE)
        for country in countries.drop_nulls().unique():
            rows = np.flatnonzero((countries == country).fill_null(value=False).to_numpy())
            code = codes[rows[0]]
            country_zone = _country_zone(country if code == UNKNOWN_CODE else country_names[code])
            if country_zone is None:
                continue
            if country_zone not in zone_names:
                zone_names.append(country_zone)
            zone_codes[unknown_rows[rows]] = zone_names.index(country_zone)
    return zone_codes, tuple(zone_names)


def _country_zone(country: str) -> str | None:
    try:
        return resolve_time_zone(country, None)
    except DataError:
        return None  # an order's own country is a courtesy; the usual zone stands in
