"""`preptime spark corpus`: the orders of a training from a table that doesn't fit on one machine."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from preptime.bundle.manifest import TrainingSample, describe_files
from preptime.domain.data_dictionary import FILE_COLUMN, READER_COLUMNS, ROW_COLUMN
from preptime.domain.timestamps import SECONDS_PER_DAY
from preptime.errors import DataError
from preptime.features.restaurant_index import RestaurantIndex
from preptime.schema.schema import Schema
from preptime.spark.addresses import Address
from preptime.spark.arrow_rows import from_arrow, map_batches, to_arrow
from preptime.spark.duplicates import without_duplicates
from preptime.spark.failures import spark_errors
from preptime.spark.output import StagedRun, open_output, staged_run
from preptime.spark.parquet_files import parquet_reader
from preptime.spark.state import (
    STAGED_FOLDER,
    PlacedRows,
    count_rows,
    schema_of_rows,
    stage_placed_rows,
    stage_rows,
)
from preptime.spark.state_workers import RowJudge, with_file_places
from preptime.training.corpus import CORPUS_FILE, EARLIER_FILE, ORDERS_FOLDER, RESTAURANTS_FILE, CorpusDocument
from preptime.training.history_rows import NO_LABEL
from preptime.training.saved_state import decode_restaurants, encode_restaurants, pack_arrays
from preptime.training.training_data import SAMPLED_COLUMN
from preptime.validation.audit import audit_orders
from preptime.validation.duplicates import order_keys

if TYPE_CHECKING:
    import pyarrow as pa  # type: ignore[import-untyped]


KEY_COLUMN = "_key"
SAMPLE_STEPS = 1 << 31
"""The share of sampled orders is a multiple of 1 / SAMPLE_STEPS."""
DEFAULT_DAYS, DEFAULT_ROWS = 35, 200_000


@dataclass(frozen=True)
class RowFilter:
    """Yields the rows that a training as of a date reads, with their key and the place of their file."""

    restaurants: bytes
    schema: Schema
    date: dt.date
    first_day: dt.date | None
    """The first day of the window. None: all rows that weren't acknowledged later, and rows without a time."""
    files: Mapping[str, int] = field(default_factory=dict)

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Yield the rows of each batch that are in the window."""
        for batch in batches:
            yield from to_arrow(self.select(from_arrow(batch))).to_batches()

    def select(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return the rows in the window, with the columns `_key` and `_file`: a text, and a number."""
        restaurants = decode_restaurants(self.restaurants)
        opening_times = np.full(len(restaurants), np.nan)
        audited = audit_orders(rows, restaurants, need_label=True, opening_times=opening_times, schema=self.schema)
        is_known = (audited.frame["acknowledged_local"] < _midnight(self.date)).fill_null(value=self.first_day is None)
        if self.first_day is not None:
            first = _midnight(self.first_day)
            is_known &= (audited.frame["acknowledged_local"] >= first) | (audited.frame["ready_local"] >= first)
        placed = with_file_places(rows, self.files).with_columns(order_keys(audited.frame).alias(KEY_COLUMN))
        return placed.filter(is_known.fill_null(value=False))

    def selected_schema(self, columns: pa.Schema) -> pa.Schema:
        """Return the schema of the selected rows of batches with the schema `columns`."""
        return to_arrow(self.select(from_arrow(columns.empty_table()))).schema


def save_corpus(
    session: Any,
    orders: Address,
    restaurants: RestaurantIndex,
    date: dt.date,
    *,
    schema: Schema,
    out: str,
    days: int = DEFAULT_DAYS,
    sampled_rows: int = DEFAULT_ROWS,
) -> CorpusDocument:
    """Write the corpus of a training as of a date to a folder or URL, and return its document.

    If there are no orders before the latest `days`, and at most `sampled_rows` in them, the corpus has all rows, and a
    training on it gives the same bundle as a training on the orders. Otherwise, it has the orders of the latest days
    without duplicates, the state of all earlier ones, and a flag that says which orders models are fitted on.

    A failure leaves the previous corpus as it was. Raises `DataError` if the orders can't be read, and `OperationError`
    if Spark failed.
    """
    with staged_run(open_output(session, out, CORPUS_FILE, (orders,))) as run, spark_errors(f"Reading {orders.text}"):
        content = encode_restaurants(restaurants, schema.without_models())
        placed = stage_placed_rows(session, orders, f"{run.address}/{STAGED_FOLDER}/placed")
        every = RowFilter(content, schema, date, None)
        judged = _judge_rows(run, placed, every, by_file=orders.has_row_order)
        window = _find_window(run, judged, restaurants, every, days=days, sampled_rows=sampled_rows)
        files = {RESTAURANTS_FILE: content, **window.files}
        _write_orders(session, placed, window, run.address)
        written = parquet_reader(session).parquet(f"{run.address}/{ORDERS_FOLDER}")
        rows, is_sample = written.count(), window.share is not None
        _check_rows(rows, window, orders)
        for name, file_content in files.items():
            run.write_bytes(name, file_content)
        run.output.system.delete(run.output.child(f"{run.name}/{STAGED_FOLDER}"), True)
        described = describe_files(files)
        document = CorpusDocument(
            date=date,
            first_day=window.filter.first_day,
            sample=TrainingSample(orders=written.where(SAMPLED_COLUMN).count(), of_orders=rows) if is_sample else None,
            earlier=described.get(EARLIER_FILE),
            rows=rows,
            schema=schema.without_models(),
            is_canonical=schema_of_rows(placed[0].columns, schema) != schema,
            out=run.address,
            orders=_part_names(run),
            restaurants=described[RESTAURANTS_FILE],
        )
        run.publish(document)
    return document


@dataclass(frozen=True)
class _Window:
    """Which rows a corpus has."""

    filter: RowFilter
    completed: int
    """Completed orders in the window. The corpus has all of them, and other rows of the window."""
    share: int | None = None
    """The sampled share of the keys, as a number of `SAMPLE_STEPS`. None: the corpus has all rows."""
    files: Mapping[str, bytes] = field(default_factory=dict)
    """The file of the state of the orders before the window."""


def _judge_rows(run: StagedRun, placed: PlacedRows, every: RowFilter, *, by_file: bool) -> Any:
    """Stage the narrow rows of all orders, and return the completed orders without duplicates."""
    session, staging = run.output.session, f"{run.address}/{STAGED_FOLDER}"
    rows = stage_rows(session, placed, RowJudge(every.restaurants, every.schema, every.date), f"{staging}/rows")
    return without_duplicates(session, rows, f"{staging}/duplicates", by_file=by_file).where("is_history")


def _find_window(
    run: StagedRun, judged: Any, restaurants: RestaurantIndex, every: RowFilter, *, days: int, sampled_rows: int
) -> _Window:
    """Return the window and the sample of the corpus."""
    from pyspark.sql import functions

    first_day = every.date - dt.timedelta(days=days)
    first_second = (first_day - dt.date(1970, 1, 1)).days * SECONDS_PER_DAY
    is_earlier = functions.col("ready_at") < first_second
    earlier, later = judged.where(is_earlier).count(), judged.where(~is_earlier).count()
    if not earlier and later <= sampled_rows:
        return _Window(every, later)
    counted = judged.where(is_earlier).withColumn("label_day", functions.lit(NO_LABEL).cast("long"))
    state, _ = count_rows(counted, restaurants, every.restaurants, f"{run.address}/{STAGED_FOLDER}/buckets")
    share = min(SAMPLE_STEPS, sampled_rows * SAMPLE_STEPS // max(later, 1))
    return _Window(replace(every, first_day=first_day), later, share, {EARLIER_FILE: pack_arrays(state.arrays())})


def _write_orders(session: Any, placed: PlacedRows, window: _Window, folder: str) -> None:
    """Write the rows of the corpus in the order in which one machine reads them. The names of files have this order."""
    from pyspark.sql import functions
    from pyspark.sql.pandas.types import from_arrow_schema, to_arrow_schema

    frame, files = placed
    columns = [name for name in frame.columns if name not in READER_COLUMNS]
    chosen = replace(window.filter, files=files, schema=schema_of_rows(columns, window.filter.schema))
    schema = chosen.selected_schema(to_arrow_schema(frame.schema, timestamp_utc=True))
    kept = map_batches(frame, chosen, from_arrow_schema(schema, prefer_timestamp_ntz=True))
    if window.share is not None:
        duplicates = parquet_reader(session).parquet(f"{folder}/{STAGED_FOLDER}/duplicates")
        step = functions.pmod(functions.xxhash64(KEY_COLUMN), functions.lit(SAMPLE_STEPS))
        kept = kept.join(duplicates, [FILE_COLUMN, ROW_COLUMN], "left_anti")
        kept = kept.withColumn(SAMPLED_COLUMN, step < window.share)
    ordered = kept.orderBy(FILE_COLUMN, ROW_COLUMN).drop(FILE_COLUMN, ROW_COLUMN, KEY_COLUMN)
    ordered.write.parquet(f"{folder}/{ORDERS_FOLDER}")


def _check_rows(rows: int, window: _Window, orders: Address) -> None:
    """Raise `DataError` if the corpus has no rows, or fewer than the completed orders that were counted before."""
    if rows < window.completed:
        raise DataError(
            f"{orders.text} changed while it was read: it had {window.completed:,} completed orders, and then "
            f"{rows:,} rows.",
            "Run the command again when the orders don't change.",
        )
    if not rows:
        raise DataError(f"{orders.text} has no order before {window.filter.date}.", "Use a later --date.")


def _midnight(date: dt.date) -> dt.datetime:
    return dt.datetime.combine(date, dt.time())


def _part_names(run: StagedRun) -> tuple[str, ...]:
    statuses = run.output.system.listStatus(run.output.child(f"{run.name}/{ORDERS_FOLDER}"))
    names = (str(status.getPath().getName()) for status in statuses)
    return tuple(sorted(name for name in names if name.endswith(".parquet")))
