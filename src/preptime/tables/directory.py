"""Reading the restaurants file as a directory: what is known of a restaurant before its first order."""

from __future__ import annotations

from typing import cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from preptime.domain.dictionary import RESTAURANTS, required
from preptime.domain.order import UNKNOWN
from preptime.domain.time_zones import zone_name
from preptime.domain.timestamps import BLANKS
from preptime.errors import DataError
from preptime.features.directory import Directory, Vocabularies
from preptime.tables.columns import ROW, require
from preptime.tables.numbers import is_missing_text, read_integers

_SHOWN = 5


def read_directory(restaurants: pl.DataFrame) -> Directory:
    """The directory of a restaurants table.

    Raises `DataError` for a missing column, an id that cannot be read or appears twice, and a country whose time zone
    is not known.
    """
    require(restaurants.columns, required(RESTAURANTS, "training"), "the restaurants file")
    ids = _ids(restaurants)
    order = np.argsort(ids)
    texts = {name: _texts(restaurants, name).gather(order) for name in ("country", "city", "type_of_food", "time_zone")}
    zones = _zones(texts["country"], texts["time_zone"])
    words = {name: tuple(sorted(texts[name].drop_nulls().unique())) for name in texts}
    vocabularies = Vocabularies(words["country"], words["city"], words["type_of_food"], tuple(sorted(zones.unique())))
    return Directory(
        vocabularies,
        np.ascontiguousarray(ids[order]),
        _codes(texts["country"], words["country"]),
        _codes(texts["city"], words["city"]),
        _codes(texts["type_of_food"], words["type_of_food"]),
        _codes(zones, vocabularies.time_zone),
    )


def _ids(restaurants: pl.DataFrame) -> NDArray[np.int64]:
    numbers = read_integers(restaurants["restaurant_id"])
    wrong = np.flatnonzero(numbers.missing | numbers.bad | (numbers.value < 0))
    rows = _rows(restaurants)
    if len(wrong):
        cell = restaurants["restaurant_id"][int(wrong[0])]
        raise DataError(
            f"The restaurants file has {len(wrong):,} rows without a readable restaurant_id "
            f"(row {rows[wrong[0]]}: {cell!r}).",
            "Give every restaurant a whole number.",
        )
    ids, count = np.unique(numbers.value, return_counts=True)
    twice = np.flatnonzero(count > 1)
    if len(twice):
        one = int(ids[twice[0]])
        at = ", ".join(str(row) for row in rows[numbers.value == one][:_SHOWN])
        raise DataError(
            f"The restaurants file lists {len(twice):,} restaurants more than once (restaurant_id {one} in rows {at}).",
            "Keep one row for each restaurant.",
        )
    return numbers.value


def _rows(restaurants: pl.DataFrame) -> NDArray[np.int64]:
    if ROW in restaurants.columns:
        return restaurants[ROW].cast(pl.Int64).to_numpy()
    return np.arange(1, len(restaurants) + 1)


def _texts(restaurants: pl.DataFrame, name: str) -> pl.Series:
    if name not in restaurants.columns:
        return pl.Series(name, [None] * len(restaurants), pl.String)
    cells = restaurants[name].cast(pl.String).str.strip_chars(BLANKS)
    return cells.set(pl.Series(is_missing_text(cells)), None) if len(cells) else cells


def _zones(country: pl.Series, time_zone: pl.Series) -> pl.Series:
    """The IANA name of each restaurant, resolved once per distinct pair."""
    pairs = pl.DataFrame({"country": country, "time_zone": time_zone})
    distinct = pairs.unique(maintain_order=True)
    names = [zone_name(one["country"], one["time_zone"]) for one in distinct.iter_rows(named=True)]
    resolved = distinct.with_columns(pl.Series("zone", names, pl.String))
    joined = pairs.join(resolved, on=["country", "time_zone"], how="left", nulls_equal=True, maintain_order="left")
    return joined["zone"]


def _codes(texts: pl.Series, words: tuple[str, ...]) -> NDArray[np.int32]:
    mapped = texts.replace_strict(list(words), list(range(len(words))), default=UNKNOWN, return_dtype=pl.Int32)
    return cast(NDArray[np.int32], mapped.to_numpy())
