"""Which orders appear twice.

What an order is called wherever rows meet: a prediction and its outcome, a delivery and the one before it.

An order's key is its `order_id` where it has one, else 32 hexadecimal digits of what is known of it when it is
acknowledged: restaurant, moment, value, items. Never of what is only known later, so that an order that was predicted
in the morning still has its key when its ready time arrives. The digits depend on values, not on how a file writes
them: text, numbers, parquet, csv and a database give the same key.
"""

from __future__ import annotations

import hashlib

import numpy as np
import polars as pl
from numpy.typing import NDArray

from preptime.domain.data_dictionary import TARGET
from preptime.domain.timestamps import WHITESPACE
from preptime.validation.parsing import decode_text

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


ORDER_KEY = "order_key"
"""The column of keys, wherever they are written."""
KEY_DIGITS = 32

_HASHED_COLUMNS = tuple(name for name in NATURAL_KEY if name != TARGET)
_HASH_RECORD = np.dtype({"names": list(_HASHED_COLUMNS), "formats": ["<i8", "<i8", "<f8", "<i8"]})
"""The bytes that are hashed: the same on every machine."""


def order_keys(orders: pl.DataFrame, parsed: pl.DataFrame) -> pl.Series:
    """[N] the key of each order, null where nothing tells it from another.

    `orders` are rows as they came, `read` the same rows parsed (`preptime.validation.audit.AuditedOrders.frame`). An order
    without `order_id` needs all four of restaurant, moment, value and items.
    """
    keys = key_columns(orders, parsed)["order_id"].cast(pl.String) if "order_id" in orders.columns else None
    if keys is None:
        return _hash_keys(parsed)
    has_no_key = keys.is_null()
    if not has_no_key.any():
        return keys.alias(ORDER_KEY)
    rows = has_no_key.arg_true()
    return keys.scatter(rows, _hash_keys(parsed[rows])).alias(ORDER_KEY)


def _hash_keys(parsed: pl.DataFrame) -> pl.Series:
    hashed_values = parsed.select(_HASHED_COLUMNS)
    is_complete = hashed_values.select(pl.all_horizontal(pl.all().is_not_null())).to_series()
    records = np.zeros(len(hashed_values), _HASH_RECORD)
    for name in _HASHED_COLUMNS:
        records[name] = hashed_values[name].to_physical().fill_null(0).to_numpy()
    records["order_value_gbp"] += 0.0  # -0.0 is 0.0 with other bytes
    buffer, record_size = records.tobytes(), _HASH_RECORD.itemsize
    hash_function, digest_bytes = hashlib.blake2b, KEY_DIGITS // 2
    digits = [
        hash_function(buffer[offset : offset + record_size], digest_size=digest_bytes).hexdigest()
        for offset in range(0, len(buffer), record_size)
    ]
    keys = pl.Series(ORDER_KEY, digits, pl.String)
    return keys if is_complete.all() else keys.set(~is_complete, None)
