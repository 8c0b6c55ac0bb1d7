"""Predictions in a database, by order key, date, and bundle."""

from __future__ import annotations

import datetime as dt
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from preptime.domain.cells import PLAIN_NUMBERS
from preptime.domain.data_dictionary import OUTCOME_COLUMNS
from preptime.domain.orders import QUANTILE_LEVELS
from preptime.errors import UsageError
from preptime.schema.schema import TAKE_HOME_SCHEMA, Schema
from preptime.sources.database import PREDICTIONS_TABLE, DatabaseAddress
from preptime.sources.database_schema import (
    EXTRA,
    ORDER_COLUMNS,
    RESTAURANT_ID,
    encode_extra,
    expand_json,
    feature_cells,
    json_keys,
    stored_time,
    timestamps_as_text,
    without_nul,
)
from preptime.validation.duplicates import ORDER_KEY
from preptime.validation.parsing import parse_floats, parse_integers, parse_timestamps
from preptime.validation.restaurant_ids import restaurant_id_texts

DATE_COLUMN = "prediction_date"
BUNDLE_COLUMN = "prediction_bundle"
MODELS_COLUMN = "models"
"""A JSON object with the seconds of each point model."""
POSITION_COLUMN = "position"
"""The index of the row in the written frame, from 0."""

CANONICAL_SCHEMA = TAKE_HOME_SCHEMA.canonical()
_PREDICTION_COLUMNS: dict[str, pl.DataType] = {
    "predicted_seconds": pl.Float32(),
    **{f"predicted_p{level * 100:.0f}_seconds": pl.Float32() for level in QUANTILE_LEVELS},
    "predicted_ready_at": pl.String(),
    "prediction_fallback_level": pl.String(),
    "prediction_reason": pl.String(),
}
_MODEL_COLUMN = re.compile(r"predicted_([a-z0-9_]+)_seconds")

TYPED_COLUMNS: dict[str, pl.DataType] = {
    ORDER_KEY: pl.String(),
    **{name: kind for name, kind in ORDER_COLUMNS.items() if name not in OUTCOME_COLUMNS},
    **_PREDICTION_COLUMNS,
}
"""The prediction columns that have their own database column, and their types."""
STORED_SCHEMA = pl.Schema(
    {DATE_COLUMN: pl.Date(), BUNDLE_COLUMN: pl.String(), POSITION_COLUMN: pl.Int32(), **TYPED_COLUMNS}
    | {MODELS_COLUMN: pl.String(), EXTRA: pl.String()}
)


@dataclass(frozen=True)
class PredictionStore(ABC):
    """The predictions of a database. `score --date` writes them, and monitoring reads them."""

    address: DatabaseAddress

    @property
    def name(self) -> str:
        """The address without secrets."""
        return self.address.table_url(PREDICTIONS_TABLE)

    def write(self, day: dt.date, bundle: str, frame: pl.DataFrame, schema: Schema = CANONICAL_SCHEMA) -> int:
        """Replace the predictions of this date and bundle by `frame`, all or nothing. Returns the number of rows.

        `frame` has the column `order_key` and the columns of scored orders. Of rows with the same key, only the first
        is kept. Rows without a key (orders that can't be identified) are all kept. `schema` describes the columns of
        the orders. They are stored with canonical names and units, as the orders are.
        """
        rows = encode_predictions(day, bundle, frame, schema)
        self._replace(day, bundle, rows)
        return len(rows)

    def read(self, day: dt.date, bundle: str | None = None) -> pl.DataFrame:
        """Return a date's predictions, if any, of one bundle or all, sorted by bundle and then in written order.

        The columns are `TYPED_COLUMNS`, one for each point model, other columns as text, and `prediction_bundle`.
        """
        return decode_predictions(self._select(day, bundle))

    @abstractmethod
    def days(self) -> list[dt.date]:
        """Return the dates that have predictions, oldest first."""

    @abstractmethod
    def _replace(self, day: dt.date, bundle: str, rows: pl.DataFrame) -> None:
        """Replace the predictions of this date and bundle by rows of `STORED_SCHEMA`."""

    @abstractmethod
    def _select(self, day: dt.date, bundle: str | None) -> pl.DataFrame:
        """Return rows of `STORED_SCHEMA`."""


def encode_predictions(day: dt.date, bundle: str, frame: pl.DataFrame, schema: Schema) -> pl.DataFrame:
    """Convert predictions to rows of `STORED_SCHEMA`. Raises `UsageError` for a frame without `order_key`."""
    if ORDER_KEY not in frame.columns:
        raise UsageError(
            f"The predictions have no column {ORDER_KEY}.",
            "Add it with preptime.validation.duplicates.order_keys.",
        )
    unique_rows = frame.filter(pl.col(ORDER_KEY).is_null() | pl.col(ORDER_KEY).is_first_distinct())
    model_columns = [name for name in unique_rows.columns if _is_model_column(name)]
    mapped = {name: column.column for name, column in schema.orders.items()}
    sources = {name: name for name in TYPED_COLUMNS if name not in ORDER_COLUMNS} | mapped
    stored_apart = {*sources.values(), *model_columns, DATE_COLUMN, BUNDLE_COLUMN}
    features = {feature.column: feature for feature in schema.order_features if feature.column in unique_rows.columns}
    others = pl.DataFrame(
        {name: unique_rows[name] for name in unique_rows.columns if name not in {*stored_apart, *features}}
        | {feature.name: feature_cells(unique_rows[name], feature, schema) for name, feature in features.items()}
    )
    typed_columns = [
        _typed_column(unique_rows[sources[name]], name, dtype, schema)
        if sources.get(name) in unique_rows.columns
        else pl.Series(name, [None] * len(unique_rows), dtype)
        for name, dtype in TYPED_COLUMNS.items()
    ]
    stored = without_nul(pl.DataFrame(typed_columns)).with_columns(
        pl.lit(day).alias(DATE_COLUMN),
        pl.lit(bundle).alias(BUNDLE_COLUMN),
        pl.int_range(pl.len(), dtype=pl.Int32).alias(POSITION_COLUMN),
        _encode_models(unique_rows, model_columns),
        encode_extra(others, others.columns) if others.columns else pl.lit(None, pl.String).alias(EXTRA),
    )
    return stored.select(STORED_SCHEMA.names()).cast(STORED_SCHEMA)


def decode_predictions(stored: pl.DataFrame) -> pl.DataFrame:
    """Convert rows of `STORED_SCHEMA` to the columns that `PredictionStore.read` returns."""
    # The rows of a bundle were written together, so the first row has the names of all models and extra columns.
    first_rows = stored.unique(BUNDLE_COLUMN, keep="first")
    models, others = json_keys(first_rows[MODELS_COLUMN]), json_keys(first_rows[EXTRA])
    model_columns = expand_json(stored[MODELS_COLUMN], dict.fromkeys(models, pl.Float32()))
    other_columns = expand_json(stored[EXTRA], dict.fromkeys(others, pl.String()))
    renamed_models = [series.alias(f"predicted_{series.name}_seconds") for series in model_columns]
    return stored.select(*TYPED_COLUMNS).with_columns(*renamed_models, *other_columns, stored[BUNDLE_COLUMN])


def _is_model_column(name: str) -> bool:
    return name not in _PREDICTION_COLUMNS and _MODEL_COLUMN.fullmatch(name) is not None


def _typed_column(cells: pl.Series, name: str, dtype: pl.DataType, schema: Schema) -> pl.Series:
    column = schema.column(name) if schema.has(name) else None
    if name == RESTAURANT_ID:
        return restaurant_id_texts(cells).alias(name)
    if column is not None and column.declaration.data_type == "timestamp":
        # The time zones of restaurants aren't needed: local times stay local, and instants are in UTC.
        zones = np.zeros(len(cells), np.int32), ("UTC",)
        parsed = parse_timestamps(cells, *zones, column.timestamp_format)
        is_unknown = pl.Series(parsed.missing | parsed.invalid)
        local, utc = (pl.Series(times).set(is_unknown, None) for times in (parsed.local, parsed.utc))
        return stored_time(cells, column.timestamp_format, local, utc).alias(name)
    if isinstance(cells.dtype, pl.Datetime) and dtype == pl.String:
        return timestamps_as_text(cells)
    if dtype in (pl.Int64, pl.Float64):
        # Text from a CSV file can be an invalid number. The row's prediction_reason says so.
        number_format = PLAIN_NUMBERS if column is None else column.number_format
        numbers = (parse_integers if dtype == pl.Int64 else parse_floats)(cells, number_format)
        return pl.Series(name, numbers.values).set(pl.Series(numbers.missing | numbers.invalid), None)
    return cells.cast(dtype).alias(name)


def _encode_models(rows: pl.DataFrame, names: Sequence[str]) -> pl.Series:
    if not names:
        return pl.Series(MODELS_COLUMN, [None] * len(rows), pl.String)
    model_names = {name: _MODEL_COLUMN.sub(r"\1", name) for name in names}
    seconds = rows.select(pl.col(name).cast(pl.Float32).alias(model) for name, model in model_names.items())
    return seconds.select(pl.struct(pl.all()).struct.json_encode().alias(MODELS_COLUMN)).to_series()
