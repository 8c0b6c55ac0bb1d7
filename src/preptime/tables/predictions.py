"""Predictions kept in a database, by order key, date and bundle."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence
from typing import Protocol

import polars as pl

from preptime.domain.dictionary import LATER
from preptime.domain.prediction import LEVELS
from preptime.errors import UsageError
from preptime.tables.numbers import read_floats, read_integers
from preptime.tables.order_key import NAME as ORDER_KEY
from preptime.tables.stored import EXTRA, ORDER_COLUMNS, as_extra, moments_as_text, names_in, spread

DATE = "prediction_date"
BUNDLE = "prediction_bundle"
MODELS = "models"
"""JSON object: seconds by point model."""
POSITION = "position"
"""The row's place in what was written, from 0."""

_ANSWERS: dict[str, pl.DataType] = {
    "predicted_seconds": pl.Float32(),
    **{f"predicted_p{level * 100:.0f}_seconds": pl.Float32() for level in LEVELS},
    "predicted_ready_at": pl.String(),
    "prediction_basis": pl.String(),
    "prediction_reason": pl.String(),
}
_OF_MODEL = re.compile(r"predicted_([a-z0-9_]+)_seconds")

OWN_COLUMNS: dict[str, pl.DataType] = {
    ORDER_KEY: pl.String(),
    **{name: kind for name, kind in ORDER_COLUMNS.items() if name not in LATER},
    **_ANSWERS,
}
"""The columns with a place of their own, and their types."""
STORED_SCHEMA = pl.Schema(
    {DATE: pl.Date(), BUNDLE: pl.String(), POSITION: pl.Int32(), **OWN_COLUMNS}
    | {MODELS: pl.String(), EXTRA: pl.String()}
)


class Predictions(Protocol):
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

        The columns of `OWN_COLUMNS`, then one per point model, then any others as text, then `prediction_bundle`. No
        rows where nothing was written.
        """
        ...

    def days(self) -> list[dt.date]:
        """The dates that have predictions, oldest first."""
        ...


def to_store(day: dt.date, bundle: str, frame: pl.DataFrame) -> pl.DataFrame:
    """Rows of `STORED_SCHEMA` for a frame of predictions. Raises `UsageError` for one without `order_key`."""
    if ORDER_KEY not in frame.columns:
        raise UsageError(f"The predictions have no column {ORDER_KEY}.", "See preptime.tables.order_key.")
    once = frame.filter(pl.col(ORDER_KEY).is_null() | pl.col(ORDER_KEY).is_first_distinct())
    models = [name for name in once.columns if _is_of_model(name)]
    others = [name for name in once.columns if name not in (*OWN_COLUMNS, *models, DATE, BUNDLE)]
    own = [
        _cells(once, name, kind) if name in once.columns else pl.Series(name, [None] * len(once), kind)
        for name, kind in OWN_COLUMNS.items()
    ]
    stored = pl.DataFrame(own).with_columns(
        pl.lit(day).alias(DATE),
        pl.lit(bundle).alias(BUNDLE),
        pl.int_range(pl.len(), dtype=pl.Int32).alias(POSITION),
        _models(once, models),
        as_extra(once, others),
    )
    return stored.select(STORED_SCHEMA.names()).cast(STORED_SCHEMA)


def from_stored(stored: pl.DataFrame) -> pl.DataFrame:
    """What `Predictions.read` gives, from rows of `STORED_SCHEMA`."""
    # The rows of one bundle were written at once, so the first of them has the names of all.
    heads = stored.unique(BUNDLE, keep="first")
    models = spread(stored[MODELS], names_in(heads[MODELS]), pl.Float32())
    others = spread(stored[EXTRA], names_in(heads[EXTRA]), pl.String())
    named = [series.alias(f"predicted_{series.name}_seconds") for series in models]
    return stored.select(*OWN_COLUMNS).with_columns(*named, *others, stored[BUNDLE])


def _is_of_model(name: str) -> bool:
    return name not in _ANSWERS and _OF_MODEL.fullmatch(name) is not None


def _cells(rows: pl.DataFrame, name: str, kind: pl.DataType) -> pl.Series:
    cells = rows[name]
    if isinstance(cells.dtype, pl.Datetime) and kind == pl.String:
        return moments_as_text(cells)
    if kind in (pl.Int64, pl.Float64):
        # Text of a csv may hold what is no number; scoring has said so in the row's reason.
        read = read_integers(cells) if kind == pl.Int64 else read_floats(cells)
        return pl.Series(name, read.value).set(pl.Series(read.missing | read.bad), None)
    return cells.cast(kind)


def _models(rows: pl.DataFrame, names: Sequence[str]) -> pl.Series:
    if not names:
        return pl.Series(MODELS, [None] * len(rows), pl.String)
    short = {name: _OF_MODEL.sub(r"\1", name) for name in names}
    seconds = rows.select(pl.col(name).cast(pl.Float32).alias(word) for name, word in short.items())
    return seconds.select(pl.struct(pl.all()).struct.json_encode().alias(MODELS)).to_series()
