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

from preptime.domain.prediction import BASES
from preptime.domain.timestamps import MICROSECONDS
from preptime.errors import DataError
from preptime.features.clock import day
from preptime.features.directory import Directory
from preptime.monitoring.api_log import ORDER_FIELDS, Logged, LogReader, as_text
from preptime.monitoring.document import Days
from preptime.monitoring.outcomes import NO_KEY, day_number, hashed
from preptime.tables import order_key
from preptime.tables.audit import audit
from preptime.tables.results import PREDICTIONS, Results

QUANTILE_COLUMNS = ("predicted_p10_seconds", "predicted_p50_seconds", "predicted_p80_seconds", "predicted_p90_seconds")
BASIS_COLUMN = "prediction_basis"
BUNDLE_COLUMN = "prediction_bundle"
"""What `score` writes; the tests hold these names to `preptime.scoring.columns`."""

NO_BASIS = -1
"""Of an answer that doesn't say its basis, as the demo's route."""
LINES_AT_ONCE = 50_000
"""Logged orders that are read together."""

_PATH = "path"
_SCHEMA: dict[str, type[pl.DataType]] = {
    "key": pl.UInt64,
    "day": pl.Int64,
    **dict.fromkeys(QUANTILE_COLUMNS, pl.Float64),
    "basis": pl.Int8,
    "bundle": pl.String,
}


@dataclass(frozen=True)
class Answers:
    """N answered orders, each once."""

    frame: pl.DataFrame
    """`key`, `day` (local day number of acknowledgement), the quantiles in seconds (NaN where not told), `basis`
    (position in `BASES`, or `NO_BASIS`), `bundle`, `api` (whether the answer is the API's)."""
    in_both: int
    repeated: int
    unidentified: int
    unreadable_lines: int

    def __len__(self) -> int:
        return len(self.frame)


def read_answers(
    results: Results, log: Path | None, directory: Directory, days: Days, *, counted_from: dt.date | None = None
) -> Answers:
    """Every order acknowledged on those days that was answered; counts are of the days from `counted_from` on.

    Raises `DataError` for a damaged partition.
    """
    batch = _partitions(results, [one for one in results.days(PREDICTIONS) if days.first <= one <= days.last])
    api, unreadable = _logged(log, directory, days.first, days.last)
    named = [frame.filter(pl.col("key") != NO_KEY) for frame in (api, batch)]
    first_ones = [frame.unique("key", keep="first", maintain_order=True) for frame in named]
    together = pl.concat([first_ones[0].with_columns(api=True), first_ones[1].with_columns(api=False)])
    each = together.unique("key", keep="first", maintain_order=True)
    start = day_number(counted_from or days.first)

    def counted(*frames: pl.DataFrame) -> int:
        return sum(int((frame["day"] >= start).sum()) for frame in frames)

    return Answers(
        frame=each,
        in_both=counted(together) - counted(each),
        repeated=counted(*named) - counted(*first_ones),
        unidentified=counted(api, batch) - counted(*named),
        unreadable_lines=unreadable,
    )


def _partitions(results: Results, days: list[dt.date]) -> pl.DataFrame:
    """The predictions of those days; rows that were refused are no answers."""
    if not days:
        return pl.DataFrame(schema=_SCHEMA)
    paths = {str(results.path(one, PREDICTIONS)): day_number(one) for one in days}
    try:
        frame = _read_parquet(list(paths))
    except (pl.exceptions.PolarsError, OSError):
        # One of them is damaged; read alone, each says so of itself.
        frame = pl.concat([_partition(path, one) for path, one in zip(paths, days, strict=True)])
    answered = frame.filter(pl.col(QUANTILE_COLUMNS[1]).is_not_null())
    places = {name: place for place, name in enumerate(BASES)}
    return answered.select(
        pl.Series("key", hashed(answered[order_key.NAME])),
        pl.col(_PATH).replace_strict(paths, return_dtype=pl.Int64).alias("day"),
        *QUANTILE_COLUMNS,
        pl.col(BASIS_COLUMN).replace_strict(places, default=NO_BASIS, return_dtype=pl.Int8).alias("basis"),
        pl.col(BUNDLE_COLUMN).alias("bundle"),
    )


def _read_parquet(paths: list[str]) -> pl.DataFrame:
    lazy = pl.scan_parquet(paths, include_file_paths=_PATH, missing_columns="raise", extra_columns="ignore")
    return lazy.select(
        pl.col(order_key.NAME).cast(pl.String),
        *(pl.col(name).cast(pl.Float64) for name in QUANTILE_COLUMNS),
        BASIS_COLUMN,
        BUNDLE_COLUMN,
        _PATH,
    ).collect()


def _partition(path: str, one: dt.date) -> pl.DataFrame:
    try:
        return _read_parquet([path])
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(
            f"{path} cannot be read as predictions ({str(error).splitlines()[0]}).",
            f"Score that day again: preptime score --date {one}.",
        ) from error


def _logged(log: Path | None, directory: Directory, first: dt.date, last: dt.date) -> tuple[pl.DataFrame, int]:
    """The API's answers to orders of those local days, by time of the answer; and how many lines were no record."""
    if log is None:
        return pl.DataFrame(schema=_SCHEMA), 0
    reader = LogReader(log)
    # Local days reach into the UTC days beside them, and an order may be asked a day ahead of its morning.
    one_day = dt.timedelta(days=1)
    parts, waiting = list[pl.DataFrame](), list[Logged]()
    for answer in reader.answers(first - one_day, last + one_day):
        waiting.append(answer)
        if len(waiting) == LINES_AT_ONCE:
            parts.append(_read(waiting, directory))
            waiting = []
    if waiting:
        parts.append(_read(waiting, directory))
    if not parts:
        return pl.DataFrame(schema=_SCHEMA), reader.unreadable
    frame = pl.concat(parts).sort("time", maintain_order=True).drop("time")
    within = pl.col("day").is_between(day_number(first), day_number(last))
    return frame.filter(within), reader.unreadable


def _read(answers: list[Logged], directory: Directory) -> pl.DataFrame:
    """Logged answers as rows; orders are read as `score` would read them from a file."""
    orders = pl.DataFrame(
        {name: [as_text(name, one.order.get(name)) for one in answers] for name in ORDER_FIELDS},
        schema=dict.fromkeys(ORDER_FIELDS, pl.String),
    )
    read = audit(orders, directory, need_label=False).frame
    local = read["acknowledged_local"].to_physical().fill_null(-1).to_numpy() // MICROSECONDS
    places = {name: place for place, name in enumerate(BASES)}
    told = {
        name: np.array([_seconds(getattr(one.answer, short)) for one in answers])
        for name, short in zip(QUANTILE_COLUMNS, ("p10", "p50", "p80", "p90"), strict=True)
    }
    return pl.DataFrame(
        {
            "key": hashed(order_key.order_keys(orders, read)),
            "day": day(local),
            **told,
            "basis": [places.get(one.answer.basis or "", NO_BASIS) for one in answers],
            "bundle": [one.bundle for one in answers],
            "time": [one.time for one in answers],
        },
        schema={**_SCHEMA, "time": pl.Float64},
    )


def _seconds(told: float | None) -> float:
    return float("nan") if told is None else told


def bundle_codes(answers: pl.DataFrame) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """[N] which bundle answered, as a position among their sorted ids."""
    names = tuple(sorted(set(answers["bundle"].to_list())))
    places = {name: place for place, name in enumerate(names)}
    return answers["bundle"].replace_strict(places, default=0, return_dtype=pl.Int64).to_numpy(), names
