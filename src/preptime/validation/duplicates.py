"""Order keys and duplicates.

The order key identifies an order across files and databases, for example a prediction and its outcome, or an order that
is delivered again. It's the `order_id`, if the order has one, or 32 hexadecimal digits computed from it if it's longer
than `MAX_KEY_BYTES`. Otherwise, it's 32 hexadecimal digits that depend on restaurant, acknowledgement time, value, and
items. The key never depends on values that become known later, so an order keeps its key when its ready time arrives.
It depends on values, not on their format: text, numbers, Parquet, CSV, and databases produce the same key. `7.0`, which
pandas writes for an integer, is the ID `7`.
"""

from __future__ import annotations

import hashlib

import numpy as np
import polars as pl
from numpy.typing import NDArray

from preptime.domain.data_dictionary import TARGET
from preptime.validation.cell_text import cells_as_text
from preptime.validation.parsing import decode_text
from preptime.validation.restaurant_ids import restaurant_id_texts

NATURAL_KEY = ("restaurant_id", "acknowledged_utc", "order_value", "number_of_items", TARGET)
"""The columns that distinguish orders without an `order_id`."""

ORDER_KEY = "order_key"
"""The name of the column with order keys, in files and databases."""
KEY_DIGITS = 32
MAX_KEY_BYTES = 2_000
"""The length of the longest `order_id` that is a key itself, in UTF-8. An index of PostgreSQL holds 2,704 bytes, of
which an index of predictions needs some for the bundle."""

_HASHED_COLUMNS = tuple(name for name in NATURAL_KEY if name != TARGET)
_HASH_RECORD = np.dtype({"names": list(_HASHED_COLUMNS), "formats": ["<i8", "<i8", "<f8", "<i8"]})
"""The layout of the hashed bytes, which is the same on every machine."""


def key_columns(parsed: pl.DataFrame) -> pl.DataFrame:
    """Return the columns that distinguish orders: `order_id`, or `NATURAL_KEY` without IDs.

    IDs are text, so that the partitions of one data source are comparable.
    """
    if "order_id" not in parsed.columns:
        return parsed.select(NATURAL_KEY)
    return pl.DataFrame({"order_id": order_id_texts(parsed["order_id"])})


def order_id_texts(cells: pl.Series) -> pl.Series:
    """Return the spelling of each order ID, or null for an empty cell. Whole numbers are spelled as for restaurants.

    Example:
        >>> order_id_texts(pl.Series([7.0, 7.5, None])).to_list(), order_id_texts(pl.Series([" A-1 ", "7.0"])).to_list()
        (['7', '7.5', None], ['A-1', '7'])
    """
    cells = decode_text(cells)
    texts = restaurant_id_texts(cells)
    if cells.dtype == pl.String or not texts.has_nulls():
        return texts
    others = cells.fill_nan(None) if cells.dtype.is_float() else cells
    return texts.fill_null(cells_as_text(others))


def identity_columns(parsed: pl.DataFrame) -> pl.DataFrame:
    """Return `key_columns`, with nulls for each row that has no readable time of acknowledgement.

    Such a row is never a duplicate, and a later row never is one because of it. It can belong to any day, so its effect
    on other rows would depend on where a file or a batch ends.
    """
    identities, times = key_columns(parsed), parsed["acknowledged_utc"]
    if not times.null_count():
        return identities
    return identities.select(pl.when(times.is_not_null()).then(pl.all()))


def find_later_duplicates(keys: pl.DataFrame) -> NDArray[np.bool_]:
    """Return [N] which rows equal an earlier row in all columns. A row with a null is never a duplicate."""
    # Hashes find the few candidates quickly. Only those are compared in full, so a hash collision has no effect.
    hashes = keys.hash_rows().to_numpy()
    is_duplicate = np.zeros(len(keys), np.bool_)
    candidate_rows = np.flatnonzero(isin_sorted(hashes, repeated_values(hashes)))
    if len(candidate_rows):
        candidates = keys[candidate_rows]
        is_first = candidates.select(pl.struct(pl.all()).is_first_distinct()).to_series().to_numpy()
        is_complete = candidates.select(pl.all_horizontal(pl.all().is_not_null())).to_series().to_numpy()
        is_duplicate[candidate_rows] = ~is_first & is_complete
    return is_duplicate


def hash_identities(identities: pl.DataFrame) -> tuple[NDArray[np.intp], NDArray[np.uint64]]:
    """Return the rows that have a complete identity, and hashes of these identities.

    The hashes find orders that are repeated in another batch of the same data source, with 8 bytes per order.
    """
    rows = identities.select(pl.all_horizontal(pl.all().is_not_null())).to_series().arg_true().to_numpy()
    return rows.astype(np.intp), identities.hash_rows().to_numpy()[rows]


def repeated_values(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the values that occur more than once, ascending."""
    # NumPy sorts ten million hashes in 0.14 s. Every alternative takes several times as long.
    sorted_values = np.sort(values)
    return np.unique(sorted_values[1:][sorted_values[1:] == sorted_values[:-1]])


def isin_sorted(values: NDArray[np.uint64], sorted_values: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Return [N] which values are among ascending ones: `np.isin` without sorting `values`."""
    if not len(sorted_values):
        return np.zeros(len(values), np.bool_)
    index = np.minimum(np.searchsorted(sorted_values, values), len(sorted_values) - 1)
    return np.equal(sorted_values[index], values)


def order_keys(parsed: pl.DataFrame) -> pl.Series:
    """Return [N] the key of each order, or null for an order that can't be identified.

    `parsed` are audited rows (`preptime.validation.audit.AuditedOrders.frame`). An order without an `order_id` needs
    all four of restaurant, acknowledgement time, value, and items.
    """
    if "order_id" not in parsed.columns:
        return _hash_keys(parsed)
    keys = order_id_texts(parsed["order_id"])
    is_long = keys.str.len_bytes() > MAX_KEY_BYTES
    if is_long.any():
        rows = is_long.arg_true()
        keys = keys.scatter(rows, [_hash_digits(order_id.encode()) for order_id in keys[rows]])
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
    records["order_value"] += 0.0  # -0.0 equals 0.0, but has different bytes
    buffer, record_size = records.tobytes(), _HASH_RECORD.itemsize
    digits = [_hash_digits(buffer[offset : offset + record_size]) for offset in range(0, len(buffer), record_size)]
    keys = pl.Series(ORDER_KEY, digits, pl.String)
    return keys if is_complete.all() else keys.set(~is_complete, None)


def _hash_digits(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=KEY_DIGITS // 2).hexdigest()
