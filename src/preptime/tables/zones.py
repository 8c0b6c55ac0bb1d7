"""The time zone of each order: its restaurant's, else its own country's, else the one most restaurants live in."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from preptime.domain.order import UNKNOWN
from preptime.domain.time_zones import zone_name
from preptime.domain.timestamps import BLANKS
from preptime.errors import DataError
from preptime.features.directory import Directory
from preptime.tables.categories import read_codes


def zones_of_orders(
    orders: pl.DataFrame, position: NDArray[np.int64], directory: Directory
) -> tuple[NDArray[np.int32], tuple[str, ...]]:
    """([N] positions, the IANA names they stand for). `position` is each order's restaurant in the directory."""
    names = list(directory.vocabularies.time_zone) or ["UTC"]
    zones: NDArray[np.int32] = np.append(directory.time_zone, np.int32(directory.usual_zone))[position]
    strangers = np.flatnonzero(position == UNKNOWN)
    if len(strangers) and "country" in orders.columns:
        cells = orders["country"].gather(strangers)
        words = directory.vocabularies.country
        codes = read_codes(cells, words)
        countries = cells.cast(pl.String).str.strip_chars(BLANKS)
        for country in countries.drop_nulls().unique():
            rows = np.flatnonzero((countries == country).fill_null(value=False).to_numpy())
            code = codes[rows[0]]
            name = _zone_or_none(country if code == UNKNOWN else words[code])
            if name is None:
                continue
            if name not in names:
                names.append(name)
            zones[strangers[rows]] = names.index(name)
    return zones, tuple(names)


def _zone_or_none(country: str) -> str | None:
    try:
        return zone_name(country, None)
    except DataError:
        return None  # an order's own country is a courtesy; the usual zone stands in
