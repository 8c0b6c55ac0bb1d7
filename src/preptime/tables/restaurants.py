"""Restaurants on their way into a database."""

from __future__ import annotations

import polars as pl

from preptime.domain.timestamps import WHITESPACE
from preptime.tables.columns import READER_COLUMNS
from preptime.tables.numbers import is_missing_text, parse_integers
from preptime.tables.stored import RESTAURANT_COLUMNS


def encode_restaurants(restaurants: pl.DataFrame) -> pl.DataFrame:
    """The rows that `preptime.tables.directory.read_restaurants` has accepted, each declared column in its type."""
    columns = [pl.Series("restaurant_id", parse_integers(restaurants["restaurant_id"]).values)]
    for name in restaurants.columns:
        if name in READER_COLUMNS or name == "restaurant_id":
            continue
        if name in RESTAURANT_COLUMNS:
            texts = restaurants[name].cast(pl.String).str.strip_chars(WHITESPACE)
            columns.append(texts.set(pl.Series(is_missing_text(texts)), None).alias(name))
        else:
            columns.append(restaurants[name])
    data_columns = [name for name in restaurants.columns if name not in READER_COLUMNS]
    return pl.DataFrame(columns).select(data_columns)
