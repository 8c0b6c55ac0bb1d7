"""Restaurants on their way into a database."""

from __future__ import annotations

import polars as pl

from preptime.domain.timestamps import BLANKS
from preptime.tables.columns import ADDED
from preptime.tables.numbers import is_missing_text, read_integers
from preptime.tables.stored import RESTAURANT_COLUMNS


def restaurants_to_store(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows that `preptime.tables.directory.read_directory` has accepted, each declared column in its type."""
    columns = [pl.Series("restaurant_id", read_integers(rows["restaurant_id"]).value)]
    for name in rows.columns:
        if name in ADDED or name == "restaurant_id":
            continue
        if name in RESTAURANT_COLUMNS:
            texts = rows[name].cast(pl.String).str.strip_chars(BLANKS)
            columns.append(texts.set(pl.Series(is_missing_text(texts)), None).alias(name))
        else:
            columns.append(rows[name])
    own = [name for name in rows.columns if name not in ADDED]
    return pl.DataFrame(columns).select(own)
