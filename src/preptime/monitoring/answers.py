"""What was answered: the daily batch's partitions and the API's log, each order once.

An order that both answered counts with **the API's answer**: that is what somebody was told when it mattered. Of
several answers of one kind the **first** counts: the one that was acted on. Both rules are the order in which rows
stand here.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from preptime.domain.prediction import FALLBACK_LEVELS
from preptime.domain.timestamps import MICROSECONDS
from preptime.errors import DataError
from preptime.features.clock import local_day
from preptime.features.directory import RestaurantIndex
from preptime.monitoring.api_log import ORDER_FIELDS, LoggedOrder, LogReader, to_text
from preptime.monitoring.document import DateRange
from preptime.monitoring.outcomes import NO_KEY_HASH, hash_keys, to_day_number
from preptime.tables import order_key
from preptime.tables.audit import audit_orders
from preptime.tables.results import PREDICTIONS_FILE, ResultsFolder

QUANTILE_COLUMNS = ("predicted_p10_seconds", "predicted_p50_seconds", "predicted_p80_seconds", "predicted_p90_seconds")
FALLBACK_LEVEL_COLUMN = "prediction_fallback_level"
BUNDLE_COLUMN = "prediction_bundle"
"""What `score` writes; the tests hold these names to `preptime.scoring.columns`."""

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
        pl.Series("key", hash_keys(predicted[order_key.ORDER_KEY])),
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
        pl.col(order_key.ORDER_KEY).cast(pl.String),
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
            "key": hash_keys(order_key.order_keys(orders, audited)),
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
