"""The columns that databases store for orders and restaurants, and the conversion of rows to these columns.

There is one declaration for all databases.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import polars as pl

from preptime.domain.data_dictionary import ORDERS_DICTIONARY, READER_COLUMNS, RESTAURANTS_DICTIONARY, Column
from preptime.domain.timestamps import WHITESPACE
from preptime.errors import DataError
from preptime.validation.cell_text import cells_as_text, fits_csv, format_times
from preptime.validation.duplicates import ORDER_KEY
from preptime.validation.parsing import is_missing_text, parse_integers

ORDER_DATE = "order_date"
"""The local day of the acknowledgement at the restaurant. Orders are partitioned by this column."""
EXTRA = "extra"
"""A JSON object with the columns that aren't in the data dictionary, as text."""

_TYPES_BY_KIND: dict[str, pl.DataType] = {
    "timestamp": pl.String(),  # unparsed, so that its offset is kept
    "integer": pl.Int64(),
    "number": pl.Float64(),
    "text": pl.String(),
    "category": pl.String(),
}


def _column_types(columns: Sequence[Column]) -> dict[str, pl.DataType]:
    return {column.name: _TYPES_BY_KIND[column.data_type] for column in columns}


ORDER_COLUMNS = _column_types(ORDERS_DICTIONARY)
"""The declared columns of orders and their types."""
RESTAURANT_COLUMNS = _column_types(RESTAURANTS_DICTIONARY)
DERIVED_COLUMNS: dict[str, pl.DataType] = {
    ORDER_KEY: pl.String(),
    ORDER_DATE: pl.Date(),
    "acknowledged_at": pl.Datetime("us", "UTC"),
    "acknowledged_local": pl.Datetime("us"),
    "ready_at": pl.Datetime("us", "UTC"),
}
"""Columns that are computed when an order is loaded, and stored in addition to its own columns."""
ORDER_SCHEMA = pl.Schema(DERIVED_COLUMNS | ORDER_COLUMNS | {EXTRA: pl.String()})
"""The columns of a stored order, in order."""


def stored_type(table: str, column: str) -> pl.DataType:
    """Return the type of a stored column when it is read. An undeclared column is text."""
    return (ORDER_COLUMNS if table == "orders" else RESTAURANT_COLUMNS).get(column, pl.String())


def is_declared(table: str, column: str) -> bool:
    """Return whether a column is a database column of its own, rather than part of `extra`."""
    return column in (ORDER_COLUMNS if table == "orders" else RESTAURANT_COLUMNS)


def encode_extra(rows: pl.DataFrame, names: Sequence[str]) -> pl.Series:
    """Return [N] the columns `names` of each row as one JSON object of texts, or null without names.

    Raises `DataError` for a column that can't be converted to text, such as lists.
    """
    if not names:
        return pl.Series(EXTRA, [None] * len(rows), pl.String)
    texts = [_to_text(rows[name]) for name in names]
    return pl.DataFrame(texts).select(pl.struct(pl.all()).struct.json_encode().alias(EXTRA)).to_series()


def json_keys(cells: pl.Series) -> list[str]:
    """Return the sorted names in a column of JSON objects."""
    return sorted({name for text in cells.drop_nulls() for name in msgspec.json.decode(text, type=dict[str, object])})


def expand_json(cells: pl.Series, names: Sequence[str], dtype: pl.DataType) -> list[pl.Series]:
    """Convert a column of JSON objects to one column for each of `names`."""
    if not names:
        return []
    decoded = cells.str.json_decode(pl.Struct(dict.fromkeys(names, dtype)))
    return [decoded.struct.field(name) for name in names]


def _to_text(cells: pl.Series) -> pl.Series:
    if isinstance(cells.dtype, pl.Datetime):
        return timestamps_as_text(cells)
    if not fits_csv(cells.dtype):
        raise DataError(
            f"The column {cells.name} has the type {cells.dtype}, which can't be stored.",
            "Remove it or convert it to text.",
        )
    return cells_as_text(cells)


def timestamps_as_text(cells: pl.Series) -> pl.Series:
    """Format datetimes in the grammar of `preptime.domain.timestamps`, in microseconds. With a time zone, use UTC."""
    if not isinstance(cells.dtype, pl.Datetime):
        raise TypeError(cells.dtype)
    is_aware = cells.dtype.time_zone is not None
    normalized = cells.dt.convert_time_zone("UTC") if is_aware else cells
    return format_times(normalized, "%Y-%m-%dT%H:%M:%S%.6f" + ("Z" if is_aware else ""))


def encode_restaurants(restaurants: pl.DataFrame) -> pl.DataFrame:
    """Convert the declared columns of valid restaurants to their types."""
    columns = [pl.Series("restaurant_id", parse_integers(restaurants["restaurant_id"]).values)]
    for name in restaurants.columns:
        if name in READER_COLUMNS or name == "restaurant_id":
            continue
        if name in RESTAURANT_COLUMNS:
            texts = cells_as_text(restaurants[name]).str.strip_chars(WHITESPACE)
            columns.append(texts.set(pl.Series(is_missing_text(texts)), None).alias(name))
        else:
            columns.append(restaurants[name])
    data_columns = [name for name in restaurants.columns if name not in READER_COLUMNS]
    return pl.DataFrame(columns).select(data_columns)
