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
from preptime.tables.duplicates import WITHOUT_ID, identity

NAME = "order_key"
"""The column of keys, wherever they are written."""
DIGITS = 32

_KNOWN_AT_ONCE = tuple(name for name in WITHOUT_ID if name != TARGET)
_RECORD = np.dtype({"names": list(_KNOWN_AT_ONCE), "formats": ["<i8", "<i8", "<f8", "<i8"]})
"""The bytes that are hashed: the same on every machine."""


def order_keys(orders: pl.DataFrame, read: pl.DataFrame) -> pl.Series:
    """[N] the key of each order, null where nothing tells it from another.

    `orders` are rows as they came, `read` the same rows parsed (`preptime.tables.audit.Audited.frame`). An order
    without `order_id` needs all four of restaurant, moment, value and items.
    """
    keys = identity(orders, read)["order_id"].cast(pl.String) if "order_id" in orders.columns else None
    if keys is None:
        return _of_what_is_known(read)
    without = keys.is_null()
    if not without.any():
        return keys.alias(NAME)
    rows = without.arg_true()
    return keys.scatter(rows, _of_what_is_known(read[rows])).alias(NAME)


def _of_what_is_known(read: pl.DataFrame) -> pl.Series:
    known = read.select(_KNOWN_AT_ONCE)
    whole = known.select(pl.all_horizontal(pl.all().is_not_null())).to_series()
    records = np.zeros(len(known), _RECORD)
    for name in _KNOWN_AT_ONCE:
        records[name] = known[name].to_physical().fill_null(0).to_numpy()
    records["order_value_gbp"] += 0.0  # -0.0 is 0.0 with other bytes
    blob, step = records.tobytes(), _RECORD.itemsize
    digest, size = hashlib.blake2b, DIGITS // 2
    digits = [digest(blob[at : at + step], digest_size=size).hexdigest() for at in range(0, len(blob), step)]
    keys = pl.Series(NAME, digits, pl.String)
    return keys if whole.all() else keys.set(~whole, None)
