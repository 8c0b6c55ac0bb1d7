"""Read the restaurants file into a restaurant index, and find the time zone of each order.

The time zone of an order is its restaurant's. For an unknown restaurant, it's the zone of the order's own country, or
else the most common zone of all restaurants.
"""

from __future__ import annotations

from typing import cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from preptime.domain.data_dictionary import RESTAURANTS_DICTIONARY, ROW_COLUMN, require_columns, required_columns
from preptime.domain.orders import UNKNOWN_CODE
from preptime.domain.time_zones import resolve_time_zone
from preptime.domain.timestamps import WHITESPACE
from preptime.errors import DataError
from preptime.features.restaurant_index import RestaurantIndex, Vocabularies
from preptime.validation.cell_text import cells_as_text
from preptime.validation.parsing import is_missing_text, parse_categories, parse_integers

_MAX_LISTED_ROWS = 5


def read_restaurants(frame: pl.DataFrame) -> RestaurantIndex:
    """Return the index of the restaurants in a frame.

    Raises `DataError` for a missing column, for an ID that is invalid or appears twice, and for a country whose time
    zone is unknown.
    """
    require_columns(frame.columns, required_columns(RESTAURANTS_DICTIONARY, "training"), "the restaurants file")
    ids = _restaurant_ids(frame)
    order = np.argsort(ids)
    texts = {name: _text_column(frame, name).gather(order) for name in ("country", "city", "type_of_food", "time_zone")}
    zones = _time_zones(texts["country"], texts["time_zone"])
    names_by_column = {name: tuple(sorted(texts[name].drop_nulls().unique())) for name in texts}
    vocabularies = Vocabularies(
        names_by_column["country"],
        names_by_column["city"],
        names_by_column["type_of_food"],
        tuple(sorted(zones.unique())),
    )
    return RestaurantIndex(
        vocabularies,
        np.ascontiguousarray(ids[order]),
        _category_codes(texts["country"], names_by_column["country"]),
        _category_codes(texts["city"], names_by_column["city"]),
        _category_codes(texts["type_of_food"], names_by_column["type_of_food"]),
        _category_codes(zones, vocabularies.time_zone),
    )


def _restaurant_ids(frame: pl.DataFrame) -> NDArray[np.int64]:
    numbers = parse_integers(frame["restaurant_id"])
    invalid_rows = np.flatnonzero(numbers.missing | numbers.invalid | (numbers.values < 0))
    rows = _row_numbers(frame)
    if len(invalid_rows):
        cell = cells_as_text(frame["restaurant_id"][[int(invalid_rows[0])]]).item()
        raise DataError(
            f"The restaurants file has {len(invalid_rows):,} rows with an invalid restaurant_id "
            f"(row {rows[invalid_rows[0]]}: {cell!r}).",
            "Give every restaurant a whole number of 0 or more.",
        )
    ids, counts = np.unique(numbers.values, return_counts=True)
    duplicated = np.flatnonzero(counts > 1)
    if len(duplicated):
        restaurant_id = int(ids[duplicated[0]])
        row_list = ", ".join(str(row) for row in rows[numbers.values == restaurant_id][:_MAX_LISTED_ROWS])
        raise DataError(
            f"The restaurants file lists {len(duplicated):,} restaurants more than once "
            f"(restaurant_id {restaurant_id} in rows {row_list}).",
            "Keep one row for each restaurant.",
        )
    return numbers.values


def _row_numbers(frame: pl.DataFrame) -> NDArray[np.int64]:
    if ROW_COLUMN in frame.columns:
        return frame[ROW_COLUMN].cast(pl.Int64).to_numpy()
    return np.arange(1, len(frame) + 1)


def _text_column(frame: pl.DataFrame, name: str) -> pl.Series:
    if name not in frame.columns:
        return pl.Series(name, [None] * len(frame), pl.String)
    cells = cells_as_text(frame[name]).str.strip_chars(WHITESPACE)
    return cells.set(pl.Series(is_missing_text(cells)), None) if len(cells) else cells


def _time_zones(country: pl.Series, time_zone: pl.Series) -> pl.Series:
    """Return the IANA name of each restaurant's time zone. Each distinct pair is resolved once."""
    pairs = pl.DataFrame({"country": country, "time_zone": time_zone})
    distinct = pairs.unique(maintain_order=True)
    names = [resolve_time_zone(pair["country"], pair["time_zone"]) for pair in distinct.iter_rows(named=True)]
    resolved = distinct.with_columns(pl.Series("zone", names, pl.String))
    joined = pairs.join(resolved, on=["country", "time_zone"], how="left", nulls_equal=True, maintain_order="left")
    return joined["zone"]


def _category_codes(texts: pl.Series, vocabulary: tuple[str, ...]) -> NDArray[np.int32]:
    codes = texts.replace_strict(
        list(vocabulary), list(range(len(vocabulary))), default=UNKNOWN_CODE, return_dtype=pl.Int32
    )
    return cast(NDArray[np.int32], codes.to_numpy())


def order_time_zones(
    orders: pl.DataFrame, restaurant_index: NDArray[np.int64], restaurants: RestaurantIndex
) -> tuple[NDArray[np.int32], tuple[str, ...]]:
    """Return ([N] indexes, the IANA names that they refer to).

    `restaurant_index` is the index of each order's restaurant, or `UNKNOWN_CODE`.
    """
    zone_names = list(restaurants.vocabularies.time_zone) or ["UTC"]
    zone_codes: NDArray[np.int32] = np.append(restaurants.time_zone, np.int32(restaurants.most_common_time_zone))[
        restaurant_index
    ]
    unknown_rows = np.flatnonzero(restaurant_index == UNKNOWN_CODE)
    if len(unknown_rows) and "country" in orders.columns:
        cells = orders["country"].gather(unknown_rows)
        country_names = restaurants.vocabularies.country
        codes = parse_categories(cells, country_names)
        countries = cells_as_text(cells).str.strip_chars(WHITESPACE)
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
        return None  # the order's own country is optional: the most common zone is used instead
