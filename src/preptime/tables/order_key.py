"""What an order is called wherever rows meet: a prediction and its outcome, a delivery and the one before it.

An order's key is its `order_id` where it has one, else 32 hexadecimal digits of what is known of it when it is
acknowledged: restaurant, moment, value, items. Never of what is only known later, so that an order that was predicted
in the morning still has its key when its ready time arrives. The digits depend on values, not on how a file writes
them: text, numbers, parquet, csv and a database give the same key.
"""

from __future__ import annotations

import hashlib

import numpy as np
import polars as pl

from preptime.domain.dictionary import TARGET
from preptime.tables.duplicates import NATURAL_KEY, key_columns

ORDER_KEY = "order_key"
"""The column of keys, wherever they are written."""
KEY_DIGITS = 32

_HASHED_COLUMNS = tuple(name for name in NATURAL_KEY if name != TARGET)
_HASH_RECORD = np.dtype({"names": list(_HASHED_COLUMNS), "formats": ["<i8", "<i8", "<f8", "<i8"]})
"""The bytes that are hashed: the same on every machine."""


def order_keys(orders: pl.DataFrame, parsed: pl.DataFrame) -> pl.Series:
    """[N] the key of each order, null where nothing tells it from another.

    `orders` are rows as they came, `read` the same rows parsed (`preptime.tables.audit.AuditedOrders.frame`). An order
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
