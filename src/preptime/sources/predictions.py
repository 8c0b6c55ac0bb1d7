"""Predictions kept in a database, by order key, date and bundle."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence
from typing import Protocol

import polars as pl

from preptime.domain.data_dictionary import OUTCOME_COLUMNS
from preptime.domain.orders import QUANTILE_LEVELS
from preptime.errors import UsageError
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
"""JSON object: seconds by point model."""
POSITION_COLUMN = "position"
"""The row's place in what was written, from 0."""

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
"""The columns with a place of their own, and their types."""
STORED_SCHEMA = pl.Schema(
    {DATE_COLUMN: pl.Date(), BUNDLE_COLUMN: pl.String(), POSITION_COLUMN: pl.Int32(), **TYPED_COLUMNS}
    | {MODELS_COLUMN: pl.String(), EXTRA: pl.String()}
)


class PredictionStore(Protocol):
    """Where `score --date` writes to, and monitoring reads from."""

    @property
    def name(self) -> str:
        """Its address, without secrets."""
        ...

    def write(self, day: dt.date, bundle: str, frame: pl.DataFrame) -> int:
        """Put `frame` in the place of what is there for this date and bundle, all or nothing; the rows written.

        `frame` has `order_key` and what scoring gives. Of rows with the same key the first counts; a row without one
        (an order that cannot be identified) is kept.
        """
        ...

    def read(self, day: dt.date, bundle: str | None = None) -> pl.DataFrame:
        """What was written for a date, by one bundle or by all, in the order of bundles and as it was written.

        The columns of `TYPED_COLUMNS`, then one per point model, then any others as text, then `prediction_bundle`. No
        rows where nothing was written.
        """
        ...

    def days(self) -> list[dt.date]:
        """The dates that have predictions, oldest first."""
        ...


def encode_predictions(day: dt.date, bundle: str, frame: pl.DataFrame) -> pl.DataFrame:
    """Rows of `STORED_SCHEMA` for a frame of predictions. Raises `UsageError` for one without `order_key`."""
    if ORDER_KEY not in frame.columns:
        raise UsageError(f"The predictions have no column {ORDER_KEY}.", "See preptime.validation.duplicates.")
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
    """What `PredictionStore.read` gives, from rows of `STORED_SCHEMA`."""
    # The rows of one bundle were written at once, so the first of them has the names of all.
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
        # Text of a csv may hold what is no number; scoring has said so in the row's reason.
        parsed = parse_integers(cells) if dtype == pl.Int64 else parse_floats(cells)
        return pl.Series(name, parsed.values).set(pl.Series(parsed.missing | parsed.invalid), None)
    return cells.cast(dtype)


def _encode_models(rows: pl.DataFrame, names: Sequence[str]) -> pl.Series:
    if not names:
        return pl.Series(MODELS_COLUMN, [None] * len(rows), pl.String)
    model_names = {name: _MODEL_COLUMN.sub(r"\1", name) for name in names}
    seconds = rows.select(pl.col(name).cast(pl.Float32).alias(model) for name, model in model_names.items())
    return seconds.select(pl.struct(pl.all()).struct.json_encode().alias(MODELS_COLUMN)).to_series()
