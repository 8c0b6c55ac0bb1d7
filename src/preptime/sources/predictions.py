"""Predictions in a database, by order key, date, and bundle."""

from __future__ import annotations

import datetime as dt
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from preptime.domain.data_dictionary import OUTCOME_COLUMNS
from preptime.domain.orders import QUANTILE_LEVELS
from preptime.errors import UsageError
from preptime.sources.database import PREDICTIONS_TABLE, DatabaseAddress
from preptime.sources.database_schema import (
    EXTRA,
    ORDER_COLUMNS,
    encode_extra,
    expand_json,
    json_keys,
    timestamps_as_text,
)
from preptime.validation.duplicates import ORDER_KEY
from preptime.validation.parsing import parse_floats, parse_integers

DATE_COLUMN = "prediction_date"
BUNDLE_COLUMN = "prediction_bundle"
MODELS_COLUMN = "models"
"""A JSON object with the seconds of each point model."""
POSITION_COLUMN = "position"
"""The index of the row in the written frame, from 0."""

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

    def write(self, day: dt.date, bundle: str, frame: pl.DataFrame) -> int:
        """Replace the predictions of this date and bundle by `frame`, all or nothing. Returns the number of rows.

        `frame` has the column `order_key` and the columns of scored orders. Of rows with the same key, only the first
        is kept. Rows without a key (orders that can't be identified) are all kept.
        """
        rows = encode_predictions(day, bundle, frame)
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


def encode_predictions(day: dt.date, bundle: str, frame: pl.DataFrame) -> pl.DataFrame:
    """Convert predictions to rows of `STORED_SCHEMA`. Raises `UsageError` for a frame without `order_key`."""
    if ORDER_KEY not in frame.columns:
        raise UsageError(
            f"The predictions have no column {ORDER_KEY}.",
            "Add it with preptime.validation.duplicates.order_keys.",
        )
    unique_rows = frame.filter(pl.col(ORDER_KEY).is_null() | pl.col(ORDER_KEY).is_first_distinct())
    model_columns = [name for name in unique_rows.columns if _is_model_column(name)]
    other_columns = [
        name for name in unique_rows.columns if name not in (*TYPED_COLUMNS, *model_columns, DATE_COLUMN, BUNDLE_COLUMN)
    ]
    typed_columns = [
        _typed_column(unique_rows, name, dtype)
        if name in unique_rows.columns
        else pl.Series(name, [None] * len(unique_rows), dtype)
        for name, dtype in TYPED_COLUMNS.items()
    ]
    stored = pl.DataFrame(typed_columns).with_columns(
        pl.lit(day).alias(DATE_COLUMN),
        pl.lit(bundle).alias(BUNDLE_COLUMN),
        pl.int_range(pl.len(), dtype=pl.Int32).alias(POSITION_COLUMN),
        _encode_models(unique_rows, model_columns),
        encode_extra(unique_rows, other_columns),
    )
    return stored.select(STORED_SCHEMA.names()).cast(STORED_SCHEMA)


def decode_predictions(stored: pl.DataFrame) -> pl.DataFrame:
    """Convert rows of `STORED_SCHEMA` to the columns that `PredictionStore.read` returns."""
    # The rows of a bundle were written together, so the first row has the names of all models and extra columns.
    first_rows = stored.unique(BUNDLE_COLUMN, keep="first")
    model_columns = expand_json(stored[MODELS_COLUMN], json_keys(first_rows[MODELS_COLUMN]), pl.Float32())
    other_columns = expand_json(stored[EXTRA], json_keys(first_rows[EXTRA]), pl.String())
    renamed_models = [series.alias(f"predicted_{series.name}_seconds") for series in model_columns]
    return stored.select(*TYPED_COLUMNS).with_columns(*renamed_models, *other_columns, stored[BUNDLE_COLUMN])


def _is_model_column(name: str) -> bool:
    return name not in _PREDICTION_COLUMNS and _MODEL_COLUMN.fullmatch(name) is not None


def _typed_column(rows: pl.DataFrame, name: str, dtype: pl.DataType) -> pl.Series:
    cells = rows[name]
    if isinstance(cells.dtype, pl.Datetime) and dtype == pl.String:
        return timestamps_as_text(cells)
    if dtype in (pl.Int64, pl.Float64):
        # Text from a CSV file can be an invalid number. The row's prediction_reason says so.
        parsed = parse_integers(cells) if dtype == pl.Int64 else parse_floats(cells)
        return pl.Series(name, parsed.values).set(pl.Series(parsed.missing | parsed.invalid), None)
    return cells.cast(dtype)


def _encode_models(rows: pl.DataFrame, names: Sequence[str]) -> pl.Series:
    if not names:
        return pl.Series(MODELS_COLUMN, [None] * len(rows), pl.String)
    model_names = {name: _MODEL_COLUMN.sub(r"\1", name) for name in names}
    seconds = rows.select(pl.col(name).cast(pl.Float32).alias(model) for name, model in model_names.items())
    return seconds.select(pl.struct(pl.all()).struct.json_encode().alias(MODELS_COLUMN)).to_series()
