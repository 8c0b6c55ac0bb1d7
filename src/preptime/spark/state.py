"""`preptime spark state`: the state of a history of orders that don't fit on one machine.

Each order is judged where it's read, and a narrow row of it is staged. Spark finds the orders that occur more than once
by counting keys, and groups the other rows by a bucket of restaurants. The workers count the buckets, and the driver
puts their states side by side.
"""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from preptime.bundle.champion_log import ChampionLog
from preptime.bundle.manifest import Manifest
from preptime.bundle.store import Store
from preptime.domain.data_dictionary import FILE_COLUMN, ROW_COLUMN
from preptime.errors import UsageError
from preptime.features.history_state import HistoryState
from preptime.features.restaurant_index import RestaurantIndex
from preptime.schema.schema import Schema
from preptime.spark.addresses import Address, read_rows
from preptime.spark.arrow_rows import map_batches
from preptime.spark.duplicates import without_duplicates
from preptime.spark.failures import decoded_path, spark_errors
from preptime.spark.output import StagedRun, open_output, staged_run
from preptime.spark.parquet_files import parquet_reader
from preptime.spark.session import list_accumulator
from preptime.spark.state_workers import (
    ARRAYS_COLUMN,
    BUCKET_COLUMN,
    BucketCounter,
    RowJudge,
    join_buckets,
    join_order_counts,
)
from preptime.training.history_rows import CATEGORY_PREFIX
from preptime.training.saved_state import STATE_FILE, SavedState, StateDocument, encode_restaurants
from preptime.validation.label_counts import LabelCounts

PlacedRows = tuple[Any, dict[str, int]]
"""A DataFrame of rows with `_file` and `_row`, and the place of each file (`with_places`)."""
STAGED_FOLDER = "staged"
"""The folder of intermediate rows in the folder of a run. It's removed before the state is published."""
BUCKET_RESTAURANTS = 32_768
"""Restaurants in a bucket: a state of 20 MB."""
_COUNTED_COLUMNS = (
    "position",
    "is_history",
    "acknowledged_at",
    "ready_at",
    "order_value",
    "number_of_items",
    "prep_time_seconds",
    "label_day",
    "label_seconds",
    "is_fraction",
)


def save_state(
    session: Any, orders: Address, restaurants: RestaurantIndex, as_of: dt.date, *, schema: Schema, out: str
) -> StateDocument:
    """Count the state of the orders as of a date, write it to the folder or URL `out`, and return its document.

    A failure leaves the previous state as it was. Raises the errors of `count_state` and `open_output`.
    """
    with staged_run(open_output(session, out, STATE_FILE, (orders,))) as run:
        staging = f"{run.address}/{STAGED_FOLDER}"
        state = count_state(session, orders, restaurants, as_of, schema=schema, staging=staging)
        return write_state(run, state)


def champion_of(store: Store) -> Manifest:
    """Return the manifest of a store's champion. Raises `UsageError` without one."""
    entry = ChampionLog(store).current()
    if entry is None:
        raise UsageError(f"{store.url} has no champion.", "First, train and promote a bundle: preptime train.")
    return store.read_manifest(entry.bundle)


def count_state(
    session: Any,
    orders: Address,
    restaurants: RestaurantIndex,
    as_of: dt.date,
    *,
    schema: Schema,
    staging: str,
    buckets: int | None = None,
) -> SavedState:
    """Return the state of all usable orders that were ready before local midnight of `as_of`.

    It's equal, field by field, to the state that `preptime.training.refresh.stream_history` counts on one machine.

    Args:
        session: The Spark session.
        orders: Where the orders are.
        restaurants: The restaurants. The codes of custom categories are those of the champion.
        as_of: As-of date.
        schema: The schema of the orders.
        staging: A folder or URL for intermediate rows, which all workers can write to. The caller removes it.
        buckets: The number of ranges of restaurants. It changes no value.

    Raises:
        DataError: The orders can't be read, or lack a column.
        OperationError: Spark failed.
    """
    counts = list_accumulator(session)
    judge = RowJudge(encode_restaurants(restaurants, schema), schema, as_of, counts=counts)
    with spark_errors(f"Counting {orders.text}"):
        placed = with_places(read_rows(session, orders), orders)
        rows = stage_rows(session, placed, judge, f"{staging}/rows")
        kept = without_duplicates(session, rows, f"{staging}/duplicates", by_file=orders.has_row_order)
        state, labels = count_rows(kept, restaurants, judge.restaurants, f"{staging}/buckets", buckets)
        all_orders = join_order_counts(counts.value)
        duplicates = parquet_reader(session).parquet(f"{staging}/duplicates")
        usable, unusable = (duplicates.where(rule).count() for rule in ("is_usable", "not is_usable and not is_open"))
        all_orders.reject_duplicates(usable, unusable)
    return SavedState(as_of, schema, restaurants, state, labels, all_orders)


def write_state(run: StagedRun, state: SavedState) -> StateDocument:
    """Write the arrays of a state and then its document, remove the intermediate rows, and return the document."""
    document, files = state.encode(run.address)
    for name, content in files.items():
        if run.output.is_local:  # an array through Java would need several copies of it
            Path(run.address, name).write_bytes(content)
        else:
            run.write_bytes(name, content)
    run.output.system.delete(run.output.child(f"{run.name}/{STAGED_FOLDER}"), True)
    run.publish(document)
    return document


def stage_rows(session: Any, placed: PlacedRows, judge: RowJudge, folder: str) -> Any:
    """Write the narrow rows of all known orders to a folder, and return them as a DataFrame."""
    from pyspark.sql.pandas.types import from_arrow_schema, to_arrow_schema

    frame, files = placed
    judge = replace(judge, files=files, schema=schema_of_rows(frame.columns, judge.schema))
    narrow = judge.narrow_schema(to_arrow_schema(frame.schema, timestamp_utc=True))
    map_batches(frame, judge, from_arrow_schema(narrow)).write.parquet(folder)
    return parquet_reader(session).parquet(folder)


def schema_of_rows(columns: list[str], schema: Schema) -> Schema:
    """Return the schema of rows: the canonical one if only that one fits, as for rows of a database."""
    required = schema.canonical().required_columns("training").values()
    if {*columns}.issuperset(required) and not {*columns}.issuperset(schema.required_columns("training").values()):
        return schema.canonical()
    return schema


def with_places(frame: Any, orders: Address) -> PlacedRows:
    """Return the rows with their file and row, and the place of each file. Rows of tables have a number instead.

    Each read of a table numbers its rows in another way, so only one read may use the numbers (`stage_placed_rows`).
    """
    from pyspark.sql import functions

    if not orders.has_row_order:
        place = functions.lit("").alias(FILE_COLUMN), functions.monotonically_increasing_id().alias(ROW_COLUMN)
        return frame.select("*", *place), {}
    place = (
        functions.col("_metadata.file_path").alias(FILE_COLUMN),
        functions.col("_metadata.row_index").alias(ROW_COLUMN),
    )
    # Folder by folder, as the readers of one machine sort files.
    files = sorted(map(decoded_path, frame.inputFiles()), key=lambda file: file.split("/"))
    return frame.select("*", *place), {name: number for number, name in enumerate(files)}


def stage_placed_rows(session: Any, orders: Address, folder: str) -> PlacedRows:
    """Return the rows at an address with places that are the same in each read.

    A table has no order of rows, and can change between two reads. Its rows are therefore written to a folder first.
    """
    frame, files = with_places(read_rows(session, orders), orders)
    if orders.has_row_order:
        return frame, files
    frame.write.parquet(folder)
    return parquet_reader(session).parquet(folder), files


def count_rows(
    rows: Any, restaurants: RestaurantIndex, encoded: bytes, folder: str, buckets: int | None = None
) -> tuple[HistoryState, LabelCounts]:
    """Return the state and the labels of staged rows without duplicates, counted by bucket in the workers.

    `encoded` are the restaurants as bytes, and `folder` is where the workers write the arrays of each bucket.
    """
    from pyspark.sql import functions

    buckets = buckets or max(1, math.ceil(len(restaurants) / BUCKET_RESTAURANTS))
    width = max(1, math.ceil(len(restaurants) / buckets))
    bucket = functions.expr(f"cast(greatest(position, 0) div {width} as int)").alias(BUCKET_COLUMN)
    categories = [name for name in rows.columns if name.startswith(CATEGORY_PREFIX)]
    grouped = rows.select(bucket, *_COUNTED_COLUMNS, *categories).repartition(buckets, BUCKET_COLUMN)
    counter = BucketCounter(encoded, width)
    grouped.mapInArrow(counter, f"{BUCKET_COLUMN} int, {ARRAYS_COLUMN} binary").write.parquet(folder)
    # One bucket at a time, so that the driver holds each state once.
    counted = parquet_reader(rows.sparkSession).parquet(folder).toLocalIterator()
    parts = {row[BUCKET_COLUMN]: bytes(row[ARRAYS_COLUMN]) for row in counted}
    return join_buckets(parts, restaurants, width)
