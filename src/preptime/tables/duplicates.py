"""Which orders appear twice."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from preptime.domain.dictionary import TARGET
from preptime.domain.timestamps import WHITESPACE
from preptime.tables.numbers import decode_text

NATURAL_KEY = ("restaurant_id", "acknowledged_utc", "order_value_gbp", "number_of_items", TARGET)
"""What tells orders apart that have no `order_id`: everything else."""


def key_columns(orders: pl.DataFrame, parsed: pl.DataFrame) -> pl.DataFrame:
    """The columns that tell orders apart: the id as it came in `orders`, or without ids all else as it was `read`.

    Text loses its blanks and whole numbers their width, so that parts of one table compare.
    """
    if "order_id" not in orders.columns:
        return parsed.select(NATURAL_KEY)
    ids = decode_text(orders["order_id"])
    if ids.dtype == pl.String:
        ids = ids.str.strip_chars(WHITESPACE).replace("", None)
    elif ids.dtype.is_integer() and ids.dtype != pl.UInt64:
        ids = ids.cast(pl.Int64)
    return pl.DataFrame({"order_id": ids})


def find_later_duplicates(keys: pl.DataFrame) -> NDArray[np.bool_]:
    """[N] true where an earlier row has the same values in all columns; a row with a null among them is never one."""
    # Hashes find the few candidates quickly; only those are compared in full, so that a collision costs no order.
    hashes = keys.hash_rows().to_numpy()
    is_duplicate = np.zeros(len(keys), np.bool_)
    candidate_rows = np.flatnonzero(isin_sorted(hashes, repeated_values(hashes)))
    if len(candidate_rows):
        candidates = keys[candidate_rows]
        is_first = candidates.select(pl.struct(pl.all()).is_first_distinct()).to_series().to_numpy()
        is_complete = candidates.select(pl.all_horizontal(pl.all().is_not_null())).to_series().to_numpy()
        is_duplicate[candidate_rows] = ~is_first & is_complete
    return is_duplicate


def repeated_values(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The values that stand more than once in `hashes`, ascending."""
    # NumPy sorts ten million of them in 0.14 s; every other way to find out takes several times as long.
    sorted_values = np.sort(values)
    return np.unique(sorted_values[1:][sorted_values[1:] == sorted_values[:-1]])


def isin_sorted(values: NDArray[np.uint64], sorted_values: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """[N] which hashes are among a few ascending ones: `np.isin`, without sorting the many."""
    if not len(sorted_values):
        return np.zeros(len(values), np.bool_)
    index = np.minimum(np.searchsorted(sorted_values, values), len(sorted_values) - 1)
    is_member: NDArray[np.bool_] = sorted_values[index] == values
    return is_member
