"""Recorded predictions: partitions of the daily batch and the API's prediction log, without duplicates.

If an order has a prediction from both, the **API's prediction** counts, because dispatch used it. Of several
predictions of one kind, the **first** counts. The order of rows in this module implements both rules.

Logged orders have the company's columns. They are read with the schema of the bundle that predicted them.

For the log's format, see "The prediction log" in docs/operations.md. The layers don't allow importing the API's types
here, so tests compare this module's types with the API's output. A line that isn't a record, such as a truncated line
of a killed process, is counted and skipped.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from preptime.domain.orders import FALLBACK_LEVELS
from preptime.domain.timestamps import MICROSECONDS, parse_epoch
from preptime.errors import DataError
from preptime.features.restaurant_index import RestaurantIndex
from preptime.features.spec import local_day
from preptime.monitoring.document import DateRange
from preptime.monitoring.outcomes import NO_KEY_HASH, hash_keys, to_day_number
from preptime.schema.schema import Schema
from preptime.sources.prediction_logs import PredictionLogSource
from preptime.sources.results import PREDICTIONS_FILE, ResultsFolder
from preptime.validation import duplicates
from preptime.validation.audit import audit_orders

ORDER_FIELDS = (
    "order_acknowledged_at",
    "order_value",
    "restaurant_id",
    "number_of_items",
    "country",
    "city",
    "type_of_food",
    "order_id",
)
"""The canonical columns of a logged order that its key and its day need."""

QUANTILE_COLUMNS = ("predicted_p10_seconds", "predicted_p50_seconds", "predicted_p80_seconds", "predicted_p90_seconds")
FALLBACK_LEVEL_COLUMN = "prediction_fallback_level"
BUNDLE_COLUMN = "prediction_bundle"
"""Columns that `score` writes. A test compares these names with `preptime.scoring.scorer`."""

NO_FALLBACK_LEVEL = -1
"""Marks a prediction without a fallback level, as from the take-home route."""
SchemaOf = Callable[[str], Schema]
"""Returns the schema of a bundle by its ID."""
LOG_BATCH_ORDERS = 50_000
"""Logged orders per batch."""

_PATH = "path"
_SCHEMA: dict[str, type[pl.DataType]] = {
    "key": pl.UInt64,
    "day": pl.Int64,
    **dict.fromkeys(QUANTILE_COLUMNS, pl.Float64),
    "fallback_level": pl.Int8,
    "bundle": pl.String,
}
_MAX_EXACT_INTEGER = 2**53


class LogPrediction(msgspec.Struct):
    """One prediction of `/v1/predictions` or of the Vertex AI route. `error` is set if the order was rejected."""

    p10: float | None = None
    p50: float | None = None
    p80: float | None = None
    p90: float | None = None
    fallback_level: str | None = None
    error: object = None


class LogResponse(msgspec.Struct):
    """A response body: a list of predictions, or seconds by model for the take-home route."""

    predictions: list[LogPrediction] | None = None
    quantile: list[float | None] | None = None


class LogRecord(msgspec.Struct):
    """One line of the log. On standard output, orders and response are JSON in text (`preptime.api.log_entries`)."""

    time: float
    bundle: str
    orders: list[dict[str, object] | None] | str
    response: LogResponse | str


@dataclass(frozen=True, slots=True)
class LoggedOrder:
    """One order with a prediction of the API."""

    time: float
    """The time of the response, in seconds since 1970-01-01 UTC."""
    bundle: str
    order: Mapping[str, object]
    prediction: LogPrediction


@dataclass(slots=True)
class LogReader:
    """Reads a prediction log and counts unreadable lines."""

    log: PredictionLogSource
    unreadable_lines: int = field(default=0, init=False)

    def iter_orders(self, first: dt.date, last: dt.date) -> Iterator[LoggedOrder]:
        """Yield every prediction of those UTC days, in the order of the log."""
        for line in self.log.lines(first, last):
            yield from self._orders(line)

    def _orders(self, line: bytes) -> list[LoggedOrder]:
        try:
            return list(_predicted_orders(msgspec.json.decode(line, type=LogRecord)))
        except (msgspec.DecodeError, UnicodeDecodeError):
            self.unreadable_lines += 1
            return []


def _predicted_orders(record: LogRecord) -> Iterator[LoggedOrder]:
    """Yield the predictions of a record. Raises an error of `msgspec` if its text isn't JSON."""
    orders, body = record.orders, record.response
    if isinstance(orders, str):
        orders = msgspec.json.decode(orders, type=list[dict[str, object] | None])
    if isinstance(body, str):
        body = msgspec.json.decode(body, type=LogResponse)
    if body.predictions is not None:
        predictions = body.predictions
    else:
        predictions = [LogPrediction(p50=seconds) for seconds in body.quantile or ()]
    for order, prediction in zip(orders, predictions, strict=False):
        if order is not None and prediction.error is None and prediction.p50 is not None:
            yield LoggedOrder(record.time, record.bundle, order, prediction)


def to_text(value: object, decimal: str = ".") -> str | None:
    """Return a logged value as text, as in a CSV file. Other types than text and numbers give None.

    `decimal` is the decimal mark of the file.
    """
    if isinstance(value, str):
        return value
    if not _is_number(value):
        return None
    if isinstance(value, float) and value.is_integer() and abs(value) < _MAX_EXACT_INTEGER:
        return str(int(value))
    return repr(value).replace(".", decimal)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


@dataclass(frozen=True)
class UniquePredictions:
    """N predictions of different orders."""

    frame: pl.DataFrame
    """Columns: `key`, `day` (local day number of acknowledgement), the quantiles in seconds (NaN if missing),
    `fallback_level` (index into `FALLBACK_LEVELS`, or `NO_FALLBACK_LEVEL`), `bundle`, and `api` (whether the prediction
    is from the API)."""
    in_both: int
    """Orders with predictions from the batch and from the API."""
    repeated: int
    """Later predictions of the same kind for the same order."""
    unidentified: int
    """Predictions without an order key."""
    unreadable_lines: int
    """Lines of the log that can't be parsed."""

    def __len__(self) -> int:
        return len(self.frame)


def read_predictions(
    results: ResultsFolder,
    log: PredictionLogSource | None,
    restaurants: RestaurantIndex,
    days: DateRange,
    *,
    count_from: dt.date | None = None,
    schema_of: SchemaOf,
) -> UniquePredictions:
    """Return the predictions of orders acknowledged on `days`. Counts cover the days from `count_from`.

    `schema_of` returns the schema of a bundle, which the orders in the log have.

    Raises `DataError` if a partition is damaged.
    """
    batch = _read_partitions(
        results, [date for date in results.days(PREDICTIONS_FILE) if days.first <= date <= days.last]
    )
    api, unreadable = _read_log(log, restaurants, days, schema_of)
    identified = [frame.filter(pl.col("key") != NO_KEY_HASH) for frame in (api, batch)]
    deduplicated = [frame.unique("key", keep="first", maintain_order=True) for frame in identified]
    combined = pl.concat([deduplicated[0].with_columns(api=True), deduplicated[1].with_columns(api=False)])
    unique = combined.unique("key", keep="first", maintain_order=True)
    start = to_day_number(count_from or days.first)

    def count(*frames: pl.DataFrame) -> int:
        return sum(int((frame["day"] >= start).sum()) for frame in frames)

    return UniquePredictions(
        frame=unique,
        in_both=count(combined) - count(unique),
        repeated=count(*identified) - count(*deduplicated),
        unidentified=count(api, batch) - count(*identified),
        unreadable_lines=unreadable,
    )


def _read_partitions(results: ResultsFolder, days: list[dt.date]) -> pl.DataFrame:
    """Return the predictions of those days, without rejected rows."""
    if not days:
        return pl.DataFrame(schema=_SCHEMA)
    paths = {str(results.path(date, PREDICTIONS_FILE)): to_day_number(date) for date in days}
    try:
        frame = _read_parquet(list(paths))
    except (pl.exceptions.PolarsError, OSError):
        # One of them is damaged. Reading them one by one gives an error that names it.
        frame = pl.concat([_read_partition(path, date) for path, date in zip(paths, days, strict=True)])
    predicted = frame.filter(pl.col(QUANTILE_COLUMNS[1]).is_not_null())
    level_index = {name: index for index, name in enumerate(FALLBACK_LEVELS)}
    return predicted.select(
        pl.Series("key", hash_keys(predicted[duplicates.ORDER_KEY])),
        pl.col(_PATH).replace_strict(paths, return_dtype=pl.Int64).alias("day"),
        *QUANTILE_COLUMNS,
        pl.col(FALLBACK_LEVEL_COLUMN)
        .replace_strict(level_index, default=NO_FALLBACK_LEVEL, return_dtype=pl.Int8)
        .alias("fallback_level"),
        pl.col(BUNDLE_COLUMN).alias("bundle"),
    )


def _read_parquet(paths: list[str]) -> pl.DataFrame:
    lazy = pl.scan_parquet(paths, glob=False, include_file_paths=_PATH, missing_columns="raise", extra_columns="ignore")
    return lazy.select(
        pl.col(duplicates.ORDER_KEY).cast(pl.String),
        *(pl.col(name).cast(pl.Float64) for name in QUANTILE_COLUMNS),
        FALLBACK_LEVEL_COLUMN,
        BUNDLE_COLUMN,
        _PATH,
    ).collect()


def _read_partition(path: str, date: dt.date) -> pl.DataFrame:
    try:
        return _read_parquet([path])
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(
            f"{path} isn't a valid predictions file: {str(error).splitlines()[0]}.",
            f"To rewrite it, run `preptime score --date {date}`.",
        ) from error


def _read_log(
    log: PredictionLogSource | None, restaurants: RestaurantIndex, days: DateRange, schema_of: SchemaOf
) -> tuple[pl.DataFrame, int]:
    """Return the API's predictions for orders of those local days, by time, and the number of unreadable lines."""
    if log is None:
        return pl.DataFrame(schema=_SCHEMA), 0
    reader, schema_of = LogReader(log), cache(schema_of)
    # Local days overlap the neighboring UTC days.
    one_day = dt.timedelta(days=1)
    parts, pending = list[pl.DataFrame](), list[LoggedOrder]()
    for logged_order in reader.iter_orders(days.first - one_day, days.last + one_day):
        pending.append(logged_order)
        if len(pending) == LOG_BATCH_ORDERS:
            parts += _logged_frames(pending, restaurants, schema_of)
            pending = []
    parts += _logged_frames(pending, restaurants, schema_of)
    if not parts:
        return pl.DataFrame(schema=_SCHEMA), reader.unreadable_lines
    frame = pl.concat(parts).sort("time", maintain_order=True).drop("time")
    within = pl.col("day").is_between(to_day_number(days.first), to_day_number(days.last))
    return frame.filter(within), reader.unreadable_lines


def _logged_frames(
    logged: list[LoggedOrder], restaurants: RestaurantIndex, schema_of: SchemaOf
) -> Iterator[pl.DataFrame]:
    """Yield logged predictions as rows: those of each bundle with epochs as times, and those with other times."""
    groups: dict[tuple[str, bool], list[LoggedOrder]] = {}
    for item in logged:
        time_column = schema_of(item.bundle).orders["order_acknowledged_at"].column
        groups.setdefault((item.bundle, _is_number(item.order.get(time_column))), []).append(item)
    for (bundle, has_epochs), items in groups.items():
        schema = schema_of(bundle)
        yield _logged_frame(items, _logged_columns(items, schema, has_epochs=has_epochs), restaurants, schema)


def _logged_columns(logged: list[LoggedOrder], schema: Schema, *, has_epochs: bool) -> pl.DataFrame:
    """Return the columns of logged orders as in a file. Epochs stay numbers, because text must match a format."""
    columns = {}
    for name in ORDER_FIELDS:
        if schema.has(name):
            column, is_time = schema.column(name), name == "order_acknowledged_at"
            values = (item.order.get(column.source) for item in logged)
            cells: list[str | int | None] = (
                [parse_epoch(value) for value in values if isinstance(value, int | float)]
                if is_time and has_epochs
                else [to_text(value, column.number_format.decimal) for value in values]
            )
            columns[column.source] = pl.Series(cells, dtype=pl.Int64 if is_time and has_epochs else pl.String)
    return pl.DataFrame(columns)


def _logged_frame(
    logged: list[LoggedOrder], orders: pl.DataFrame, restaurants: RestaurantIndex, schema: Schema
) -> pl.DataFrame:
    """Return logged predictions as rows. Orders are parsed as `score` parses them from a file."""
    canonical_only = msgspec.structs.replace(schema, features=(), ratios=())  # a key and a day need no features
    audited = audit_orders(orders, restaurants, need_label=False, schema=canonical_only).frame
    local = audited["acknowledged_local"].to_physical().fill_null(-1).to_numpy() // MICROSECONDS
    level_index = {name: index for index, name in enumerate(FALLBACK_LEVELS)}
    quantiles = {
        name: np.array([_nan_if_none(getattr(item.prediction, short)) for item in logged])
        for name, short in zip(QUANTILE_COLUMNS, ("p10", "p50", "p80", "p90"), strict=True)
    }
    return pl.DataFrame(
        {
            "key": hash_keys(duplicates.order_keys(audited)),
            "day": local_day(local),
            **quantiles,
            "fallback_level": [
                level_index.get(item.prediction.fallback_level or "", NO_FALLBACK_LEVEL) for item in logged
            ],
            "bundle": [item.bundle for item in logged],
            "time": [item.time for item in logged],
        },
        schema={**_SCHEMA, "time": pl.Float64},
    )


def _nan_if_none(seconds: float | None) -> float:
    return float("nan") if seconds is None else seconds


def bundle_codes(predictions: pl.DataFrame) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return the bundle of each prediction as an index, [N], and the sorted bundle IDs."""
    names = tuple(sorted(set(predictions["bundle"].to_list())))
    code_by_name = {name: code for code, name in enumerate(names)}
    return predictions["bundle"].replace_strict(code_by_name, default=0, return_dtype=pl.Int64).to_numpy(), names
