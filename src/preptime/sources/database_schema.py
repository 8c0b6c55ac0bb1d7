"""The columns that databases store for orders and restaurants, and the conversion of rows to these columns.

There is one declaration for all databases.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import msgspec
import numpy as np
import polars as pl

from preptime.domain.data_dictionary import ORDERS_DICTIONARY, READER_COLUMNS, RESTAURANTS_DICTIONARY, Column
from preptime.domain.timestamps import ISO_TIMESTAMPS, WHITESPACE, TimestampFormat
from preptime.errors import DataError
from preptime.schema.schema import TAKE_HOME_SCHEMA, CustomFeature, Schema
from preptime.validation.cell_text import cells_as_text, fits_csv, format_times
from preptime.validation.custom_features import category_values
from preptime.validation.duplicates import ORDER_KEY
from preptime.validation.parsing import decode_text, is_empty_text, parse_floats, parse_timestamps
from preptime.validation.restaurant_ids import restaurant_id_texts

RESTAURANT_ID = "restaurant_id"
"""The canonical column of identifiers. They are stored as text (`preptime.validation.restaurant_ids`)."""
ORDER_DATE = "order_date"
"""The local day of the acknowledgement at the restaurant. Orders are partitioned by this column."""
EXTRA = "extra"
"""A JSON object with the columns that neither the data dictionary nor the schema declares, as text."""
FEATURES = "features"
"""A JSON object with the custom features of the schema: numbers, and texts for categories. It has no missing values."""

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
ORDER_SCHEMA = pl.Schema(DERIVED_COLUMNS | ORDER_COLUMNS | {FEATURES: pl.String(), EXTRA: pl.String()})
"""The columns of a stored order, in order."""


def stored_type(table: str, column: str, feature_types: Mapping[str, pl.DataType]) -> pl.DataType:
    """Return the type of a stored column or custom feature when it is read. An undeclared column is text."""
    declared = ORDER_COLUMNS if table == "orders" else RESTAURANT_COLUMNS
    return declared.get(column) or feature_types.get(column) or pl.String()


def is_declared(table: str, column: str) -> bool:
    """Return whether a column is a database column of its own, rather than part of `features` or `extra`."""
    return column in (ORDER_COLUMNS if table == "orders" else RESTAURANT_COLUMNS)


def encode_extra(rows: pl.DataFrame, names: Sequence[str]) -> pl.Series:
    """Return [N] the columns `names` of each row as one JSON object of texts, or null without names.

    Raises `DataError` for a column that can't be converted to text, such as lists.
    """
    if not names:
        return pl.Series(EXTRA, [None] * len(rows), pl.String)
    texts = without_nul(pl.DataFrame({name: _to_text(rows[name]) for name in names}))
    return texts.select(pl.struct(pl.all()).struct.json_encode().alias(EXTRA)).to_series()


def without_nul(rows: pl.DataFrame) -> pl.DataFrame:
    """Return rows with U+FFFD for each character NUL in texts, because PostgreSQL can't store it."""
    return rows.with_columns(pl.col(pl.String).str.replace_all("\0", "\N{REPLACEMENT CHARACTER}", literal=True))


def feature_types(features: Sequence[CustomFeature]) -> dict[str, pl.DataType]:
    """Return the type of each custom feature when it is read, by name."""
    return {feature.name: pl.Float64() if feature.type == "number" else pl.String() for feature in features}


def feature_cells(cells: pl.Series, feature: CustomFeature, schema: Schema) -> pl.Series:
    """Return [N] the values of a custom feature to store. What isn't a number, or an empty text, becomes null.

    A number outside the feature's range is stored: the range can change, and the audit reports it.
    """
    if feature.type == "category":
        texts = category_values(cells)
        return texts.set(texts == "", None).alias(feature.name)
    parsed = parse_floats(cells, schema.number_format)
    is_unknown = parsed.missing | parsed.invalid | ~np.isfinite(parsed.values)
    return pl.Series(feature.name, parsed.values).set(pl.Series(is_unknown), None)


def encode_features(rows: pl.DataFrame, names: Sequence[str]) -> pl.Series:
    """Return [N] the custom features `names` of each row as one JSON object, or null if it would be empty."""
    if not names:
        return pl.Series(FEATURES, [None] * len(rows), pl.String)
    values = without_nul(rows.select(names))
    texts = values.select(pl.struct(pl.all()).struct.json_encode().alias(FEATURES)).to_series()
    if any(rows[name].null_count() for name in names):
        # Inside a text, quotes are escaped, so only a member of the object matches.
        texts = texts.str.replace_all('"[a-z][a-z0-9_]*":null,?', "").str.replace(r",\}$", "}")
    return texts.set(texts == "{}", None)


def decode_features(cells: pl.Series, types: Mapping[str, pl.DataType]) -> list[pl.Series]:
    """Convert a column of `encode_features` to one column for each name in `types`. Values of other types are null."""
    objects = [msgspec.json.decode(text, type=dict[str, float | str]) if text else {} for text in cells]
    columns = []
    for name, dtype in types.items():
        kind = float if dtype == pl.Float64 else str
        values = (members.get(name) for members in objects)
        columns.append(pl.Series(name, [value if isinstance(value, kind) else None for value in values], dtype))
    return columns


def json_keys(cells: pl.Series) -> list[str]:
    """Return the sorted names in a column of JSON objects."""
    return sorted({name for text in cells.drop_nulls() for name in msgspec.json.decode(text, type=dict[str, object])})


def expand_json(cells: pl.Series, types: Mapping[str, pl.DataType]) -> list[pl.Series]:
    """Convert a column of JSON objects to one column for each name in `types`."""
    if not types:
        return []
    decoded = cells.str.json_decode(pl.Struct(types))
    return [decoded.struct.field(name) for name in types]


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


def stored_time(cells: pl.Series, timestamp_format: TimestampFormat, local: pl.Series, utc: pl.Series) -> pl.Series:
    """Return times as text: as delivered, or in ISO format if the schema declares a format or a time zone.

    `local` and `utc` are the parsed times. Instants are in UTC. Other times are local times at the restaurant.
    """
    is_text = decode_text(cells).dtype == pl.String
    if timestamp_format == ISO_TIMESTAMPS or not (is_text or timestamp_format.time_zone):
        return _delivered_time(cells)
    if timestamp_format.time_zone or "%z" in timestamp_format.pattern:
        return timestamps_as_text(utc.cast(pl.Datetime("us", "UTC")))
    return timestamps_as_text(local.cast(pl.Datetime("us")))


def stored_name(cells: pl.Series) -> pl.Series:
    """Return names as delivered, as text. Only spaces become null, so that they don't replace a known name."""
    texts = cells_as_text(cells)
    return texts.set(pl.Series(is_empty_text(texts)), None)


def _delivered_time(cells: pl.Series) -> pl.Series:
    """Return timestamps as text with the same meaning: texts, epochs, and dates unchanged, datetimes in ISO format."""
    if isinstance(cells.dtype, pl.Datetime):
        return timestamps_as_text(cells)
    if cells.dtype.is_float() or cells.dtype.is_decimal():
        utc = parse_timestamps(cells, np.zeros(len(cells), np.int32), ("UTC",)).utc
        return timestamps_as_text(pl.Series(utc).cast(pl.Datetime("us", "UTC"))).set(cells.is_null(), None)
    return cells_as_text(cells)


def encode_restaurants(restaurants: pl.DataFrame, schema: Schema = TAKE_HOME_SCHEMA) -> pl.DataFrame:
    """Return valid restaurants with canonical columns. Custom features have their own names, and their types.

    A column that the schema doesn't map keeps its name, as in `canonical_names`.
    """
    sources = {schema.restaurant_column(name): name for name in RESTAURANT_COLUMNS}
    features = schema.restaurant_features
    names = canonical_names(restaurants.columns, sources, RESTAURANT_COLUMNS, features)
    columns = {name: _stored_restaurant_cells(restaurants[source], name) for source, name in names.items()}
    return pl.DataFrame(
        columns | {feature.name: feature_cells(restaurants[feature.column], feature, schema) for feature in features}
    )


def canonical_names(
    columns: Sequence[str], mapped: Mapping[str, str], declared: Collection[str], features: Sequence[CustomFeature]
) -> dict[str, str]:
    """Return the name in a database of each column of a file that isn't only a custom feature.

    `mapped` has the canonical name of the company's columns. A column that isn't mapped keeps its name. If that's the
    name of a declared column or of a custom feature, it gets the suffix `_other`, because it's another column.
    """
    feature_columns = {feature.column for feature in features}
    taken = {*declared, *(feature.name for feature in features)}
    names = {}
    for column in columns:
        if column in READER_COLUMNS or (column in feature_columns and column not in mapped):
            continue
        name = mapped.get(column, column)
        while column not in mapped and (name in taken or (name != column and name in columns)):
            name += "_other"
        names[column] = name
    return names


def _stored_restaurant_cells(cells: pl.Series, name: str) -> pl.Series:
    if name == RESTAURANT_ID:
        return restaurant_id_texts(cells).alias(name)
    if name not in RESTAURANT_COLUMNS:
        return cells.alias(name)
    return stored_name(cells).str.strip_chars(WHITESPACE).alias(name)
