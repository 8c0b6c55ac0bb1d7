"""Restaurants derived from orders, for companies without a restaurants file.

There is one restaurant for each identifier. Its country, city, type of food, and custom features are the most frequent
values of its orders. If two values are equally frequent, the one that sorts first is used.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from preptime.domain.data_dictionary import require_columns
from preptime.errors import DataError
from preptime.features.restaurant_index import RestaurantIndex
from preptime.formatting import format_count
from preptime.schema.schema import Schema
from preptime.schema.toml_file import assumed_origin
from preptime.validation.custom_features import category_values
from preptime.validation.restaurant_ids import distinct_values, parse_restaurant_ids, restaurant_id_texts
from preptime.validation.restaurants import (
    EXAMPLE_ZONE_LINES,
    RESTAURANT_ATTRIBUTES,
    RestaurantAudit,
    index_restaurants,
    text_column,
)


def derive_restaurants(orders: pl.DataFrame, schema: Schema) -> RestaurantAudit:
    """Return the restaurants of orders. The notes of the result count restaurants whose orders have different values.

    `orders` are unparsed rows with the columns of `schema`. Raises `DataError` for a missing column, if no order has an
    identifier, and if neither the schema nor the orders determine a time zone.
    """
    id_column = schema.orders["restaurant_id"].column
    features = {feature.name: feature.column for feature in schema.restaurant_features}
    required = {"restaurant_id": id_column} | features
    require_columns(orders.columns, required, "the orders", origin=assumed_origin(schema))
    sources = _attribute_columns(orders, schema)
    _require_time_zone(sources, schema)
    parsed = parse_restaurant_ids(orders[id_column])
    rows = np.flatnonzero(~parsed.unusable)
    if not len(rows):
        raise DataError(
            f"No order has a restaurant: the column {id_column} is empty.", "Add an identifier to each order."
        )
    order_keys = parsed.keys[rows]
    first_rows = pl.Series(order_keys).arg_unique().to_numpy()
    first_rows = first_rows[np.argsort(order_keys[first_rows])]
    keys = order_keys[first_rows]
    positions = np.searchsorted(keys, order_keys)
    category_columns = {feature.column for feature in schema.restaurant_features if feature.type == "category"}
    columns, notes = {}, []
    for column in {*sources.values(), *(feature.column for feature in schema.restaurant_features)}:
        texts = text_column(orders, column).gather(rows)
        values = category_values(texts).set(texts.is_null(), None) if column in category_columns else texts
        columns[column], differing = _most_frequent(values, positions, len(keys))
        if differing:
            notes.append(_difference_note(column, differing, len(keys)))
    no_values = pl.Series([None] * len(keys), dtype=pl.String)
    return index_restaurants(
        restaurant_id_texts(orders[id_column].gather(rows[first_rows])),
        {name: columns[sources[name]] if name in sources else no_values for name in RESTAURANT_ATTRIBUTES},
        {feature.name: columns[feature.column] for feature in schema.restaurant_features},
        schema,
        notes=sorted(notes),
    )


def restaurants_to_frame(restaurants: RestaurantIndex) -> pl.DataFrame:
    """Return restaurants as rows with canonical columns and their custom features, as they are read from a file."""
    names = {name: getattr(restaurants.vocabularies, name) for name in RESTAURANT_ATTRIBUTES}
    columns = {
        "restaurant_id": pl.Series([restaurants.display_id(row) for row in range(len(restaurants))], dtype=pl.String)
    }
    columns |= {name: _texts(getattr(restaurants, name), values) for name, values in names.items()}
    features = restaurants.feature_set
    for column, feature in enumerate(features.restaurant_numbers):
        if restaurants.numbers is not None:
            columns[feature.name] = pl.Series(restaurants.numbers[:, column]).fill_nan(None)
    owned = [(feature, position) for position, feature in enumerate(features.categories) if feature.of == "restaurant"]
    for column, (feature, position) in enumerate(owned):
        if restaurants.categories is not None:
            columns[feature.name] = _texts(restaurants.categories[:, column], restaurants.vocabularies.custom[position])
    return pl.DataFrame(columns)


def _texts(codes: NDArray[np.int32], values: tuple[str, ...]) -> pl.Series:
    return pl.Series([*values, None], dtype=pl.String).gather(np.where(codes < 0, len(values), codes))


def _attribute_columns(orders: pl.DataFrame, schema: Schema) -> dict[str, str]:
    """Return the orders' column of each attribute of restaurants that they have."""
    mapped = {name: schema.restaurants.columns.get(name) for name in RESTAURANT_ATTRIBUTES} | {
        name: schema.orders[name].column for name in RESTAURANT_ATTRIBUTES if schema.has(name)
    }
    return {name: column for name, column in mapped.items() if column in orders.columns}


def _require_time_zone(sources: dict[str, str], schema: Schema) -> None:
    if schema.restaurants.country or schema.restaurants.time_zone or {"country", "time_zone"} & sources.keys():
        return
    raise DataError(
        "The time zone of the restaurants is unknown: there is no restaurants file, the orders have no country, and "
        "the schema has no time zone.",
        f"Add --restaurants FILE. Or, if all restaurants are in one time zone: {EXAMPLE_ZONE_LINES}",
    )


def _most_frequent(values: pl.Series, positions: NDArray[np.int64], count: int) -> tuple[pl.Series, int]:
    """Return (the most frequent value of each restaurant or null, how many restaurants have several values).

    `positions` [N] are the restaurants of the values, from 0 to `count` - 1.
    """
    names = distinct_values(values).drop_nulls().sort()
    codes = values.replace_strict(names, pl.Series(np.arange(len(names))), default=None, return_dtype=pl.Int64)
    # One integer for each (restaurant, value) pair, which is counted faster than two columns.
    pairs = (pl.Series("pair", positions) * len(names) + codes).drop_nulls().value_counts()
    counts = pairs.select(pl.col("pair") // len(names), code=pl.col("pair") % len(names), orders="count")
    best = counts.sort("pair", "orders", "code", descending=[False, True, False]).unique("pair", keep="first")
    rows = best["pair"].to_numpy()
    chosen = np.full(count, len(names))
    chosen[rows] = best["code"].to_numpy()
    differing = int(np.count_nonzero(np.bincount(counts["pair"].to_numpy(), minlength=count) > 1))
    return names.extend(pl.Series([None], dtype=pl.String)).gather(chosen), differing


def _difference_note(column: str, differing: int, total: int) -> str:
    return (
        f"{column} differs between the orders of {differing:,} of {format_count(total, 'restaurant')}. The most "
        "frequent value is used."
    )
