"""The API's prediction log, read back: docs/operations.md, "The prediction log", says what a line holds.

The API's own types are out of reach here (no layer imports a sibling or what is above it); the tests hold these to what
the API writes. A line that is no record (a killed process leaves half of one) is counted and passed over.

What was answered: the daily batch's partitions and the API's log, each order once.

An order that both answered counts with **the API's answer**: that is what somebody was told when it mattered. Of
several answers of one kind the **first** counts: the one that was acted on. Both rules are the order in which rows
stand here.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

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
from preptime.sources.results import PREDICTIONS_FILE, ResultsFolder
from preptime.validation import duplicates
from preptime.validation.audit import audit_orders

ORDER_FIELDS = (
    "order_acknowledged_at",
    "order_value_gbp",
    "restaurant_id",
    "number_of_items",
    "country",
    "city",
    "type_of_food",
    "order_id",
)
"""What of a logged order names it."""

_FILE_NAME = re.compile(r"predictions-(\d{4}-\d{2}-\d{2})-[\w-]+\.jsonl")
_MAX_EXACT_INTEGER = 2**53


class LogPrediction(msgspec.Struct):
    """One answer of `/v1/predictions` or of Vertex AI's route; `error` where the order could not be predicted."""

    p10: float | None = None
    p50: float | None = None
    p80: float | None = None
    p90: float | None = None
    fallback_level: str | None = None
    error: object = None


class LogResponse(msgspec.Struct):
    """The body that was sent: a list of answers, or for the demo's route seconds by model."""

    predictions: list[LogPrediction] | None = None
    quantile: list[float | None] | None = None


class LogRecord(msgspec.Struct):
    """One line."""

    time: float
    bundle: str
    orders: list[dict[str, object] | None]
    response: LogResponse


@dataclass(frozen=True, slots=True)
class LoggedOrder:
    """One order that the API answered."""

    time: float
    """Seconds since 1970, UTC."""
    bundle: str
    order: Mapping[str, object]
    prediction: LogPrediction


@dataclass(slots=True)
class LogReader:
    """Reads a folder of logs; afterwards knows what could not be read."""

    log_dir: Path
    unreadable_lines: int = field(default=0, init=False)

    def iter_orders(self, first: dt.date, last: dt.date) -> Iterator[LoggedOrder]:
        """Every answer of the files of those days (UTC), by file name and line. A folder that isn't there has none."""
        if not self.log_dir.is_dir():
            return
        for path in sorted(self.log_dir.iterdir()):
            match = _FILE_NAME.fullmatch(path.name)
            if match is not None and first.isoformat() <= match[1] <= last.isoformat():
                yield from self._iter_file(path)

    def _iter_file(self, path: Path) -> Iterator[LoggedOrder]:
        with path.open("rb") as lines:
            for line in lines:
                record = self._decode(line)
                if record is not None:
                    yield from _predicted_orders(record)

    def _decode(self, line: bytes) -> LogRecord | None:
        try:
            return msgspec.json.decode(line, type=LogRecord)
        except (msgspec.DecodeError, UnicodeDecodeError):
            self.unreadable_lines += 1
            return None


def _predicted_orders(record: LogRecord) -> Iterator[LoggedOrder]:
    body = record.response
    if body.predictions is not None:
        predictions = body.predictions
    else:
        predictions = [LogPrediction(p50=seconds) for seconds in body.quantile or ()]
    for order, prediction in zip(record.orders, predictions, strict=False):
        if order is not None and prediction.error is None and prediction.p50 is not None:
            yield LoggedOrder(record.time, record.bundle, order, prediction)


def to_text(name: str, value: object) -> str | None:
    """A logged cell as a file would hold it, None for what names nothing: text and numbers, of any spelling."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if name == "order_acknowledged_at":
        epoch_us = parse_epoch(value)
        return None if epoch_us is None else _format_utc(epoch_us)
    if isinstance(value, float) and value.is_integer() and abs(value) < _MAX_EXACT_INTEGER:
        return str(int(value))
    return repr(value)


def _format_utc(microseconds: int) -> str:
    seconds, remainder = divmod(microseconds, MICROSECONDS)
    return f"{dt.datetime.fromtimestamp(seconds, dt.UTC):%Y-%m-%dT%H:%M:%S}.{remainder:06d}Z"


QUANTILE_COLUMNS = ("predicted_p10_seconds", "predicted_p50_seconds", "predicted_p80_seconds", "predicted_p90_seconds")
FALLBACK_LEVEL_COLUMN = "prediction_fallback_level"
BUNDLE_COLUMN = "prediction_bundle"
"""What `score` writes; the tests hold these names to `preptime.scoring.scorer`."""

NO_FALLBACK_LEVEL = -1
"""Of an answer that doesn't say its basis, as the demo's route."""
LOG_BATCH_ORDERS = 50_000
"""Logged orders that are read together."""

_PATH = "path"
_SCHEMA: dict[str, type[pl.DataType]] = {
    "key": pl.UInt64,
    "day": pl.Int64,
    **dict.fromkeys(QUANTILE_COLUMNS, pl.Float64),
    "fallback_level": pl.Int8,
    "bundle": pl.String,
}


@dataclass(frozen=True)
class UniquePredictions:
    """N answered orders, each once."""

    frame: pl.DataFrame
    """`key`, `day` (local day number of acknowledgement), the quantiles in seconds (NaN where not told), `fallback_level`
    (position in `FALLBACK_LEVELS`, or `NO_BASIS`), `bundle`, `api` (whether the answer is the API's)."""
    in_both: int
    repeated: int
    unidentified: int
    unreadable_lines: int

    def __len__(self) -> int:
        return len(self.frame)


def read_predictions(
    results: ResultsFolder,
    log_dir: Path | None,
    restaurants: RestaurantIndex,
    days: DateRange,
    *,
    count_from: dt.date | None = None,
) -> UniquePredictions:
    """Every order acknowledged on those days that was answered; counts are of the days from `counted_from` on.

    Raises `DataError` for a damaged partition.
    """
    batch = _read_partitions(
        results, [date for date in results.days(PREDICTIONS_FILE) if days.first <= date <= days.last]
    )
    api, unreadable = _read_log(log_dir, restaurants, days.first, days.last)
    identified = [frame.filter(pl.col("key") != NO_KEY_HASH) for frame in (api, batch)]
    deduplicated = [frame.unique("key", keep="first", maintain_order=True) for frame in identified]
    combined = pl.concat([deduplicated[0].with_columns(api=True), deduplicated[1].with_columns(api=False)])
    unique = combined.unique("key", keep="first", maintain_order=True)
    start = to_day_number(count_from or days.first)

    def counted(*frames: pl.DataFrame) -> int:
        return sum(int((frame["day"] >= start).sum()) for frame in frames)

    return UniquePredictions(
        frame=unique,
        in_both=counted(combined) - counted(unique),
        repeated=counted(*identified) - counted(*deduplicated),
        unidentified=counted(api, batch) - counted(*identified),
        unreadable_lines=unreadable,
    )


def _read_partitions(results: ResultsFolder, days: list[dt.date]) -> pl.DataFrame:
    """The predictions of those days; rows that were refused are no answers."""
    if not days:
        return pl.DataFrame(schema=_SCHEMA)
    paths = {str(results.path(date, PREDICTIONS_FILE)): to_day_number(date) for date in days}
    try:
        frame = _read_parquet(list(paths))
    except (pl.exceptions.PolarsError, OSError):
        # One of them is damaged; read alone, each says so of itself.
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
    lazy = pl.scan_parquet(paths, include_file_paths=_PATH, missing_columns="raise", extra_columns="ignore")
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
            f"{path} cannot be read as predictions ({str(error).splitlines()[0]}).",
            f"Score that day again: preptime score --date {date}.",
        ) from error


def _read_log(
    log_dir: Path | None, restaurants: RestaurantIndex, first: dt.date, last: dt.date
) -> tuple[pl.DataFrame, int]:
    """The API's answers to orders of those local days, by time of the answer; and how many lines were no record."""
    if log_dir is None:
        return pl.DataFrame(schema=_SCHEMA), 0
    reader = LogReader(log_dir)
    # Local days reach into the UTC days beside them, and an order may be asked a day ahead of its morning.
    one_day = dt.timedelta(days=1)
    parts, pending = list[pl.DataFrame](), list[LoggedOrder]()
    for logged_order in reader.iter_orders(first - one_day, last + one_day):
        pending.append(logged_order)
        if len(pending) == LOG_BATCH_ORDERS:
            parts.append(_logged_frame(pending, restaurants))
            pending = []
    if pending:
        parts.append(_logged_frame(pending, restaurants))
    if not parts:
        return pl.DataFrame(schema=_SCHEMA), reader.unreadable_lines
    frame = pl.concat(parts).sort("time", maintain_order=True).drop("time")
    within = pl.col("day").is_between(to_day_number(first), to_day_number(last))
    return frame.filter(within), reader.unreadable_lines


def _logged_frame(logged: list[LoggedOrder], restaurants: RestaurantIndex) -> pl.DataFrame:
    """Logged answers as rows; orders are read as `score` would read them from a file."""
    orders = pl.DataFrame(
        {name: [to_text(name, item.order.get(name)) for item in logged] for name in ORDER_FIELDS},
        schema=dict.fromkeys(ORDER_FIELDS, pl.String),
    )
    audited = audit_orders(orders, restaurants, need_label=False).frame
    local = audited["acknowledged_local"].to_physical().fill_null(-1).to_numpy() // MICROSECONDS
    level_index = {name: index for index, name in enumerate(FALLBACK_LEVELS)}
    quantiles = {
        name: np.array([_nan_if_none(getattr(item.prediction, short)) for item in logged])
        for name, short in zip(QUANTILE_COLUMNS, ("p10", "p50", "p80", "p90"), strict=True)
    }
    return pl.DataFrame(
        {
            "key": hash_keys(duplicates.order_keys(orders, audited)),
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
    """[N] which bundle answered, as a position among their sorted ids."""
    names = tuple(sorted(set(predictions["bundle"].to_list())))
    code_by_name = {name: code for code, name in enumerate(names)}
    return predictions["bundle"].replace_strict(code_by_name, default=0, return_dtype=pl.Int64).to_numpy(), names
