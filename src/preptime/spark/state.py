"""`preptime spark state`: the state of a history of orders that don't fit on one machine.

Each order is judged where it's read, and a narrow row of it is staged. Spark finds the orders that occur more than once
by counting keys, and groups the other rows by a bucket of restaurants. The workers count the buckets, and the driver
puts their states side by side.
"""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import replace
from typing import Any

import msgspec

from preptime.domain.data_dictionary import FILE_COLUMN, ROW_COLUMN
from preptime.features.restaurant_index import RestaurantIndex
from preptime.schema.schema import Schema
from preptime.spark.addresses import Address, read_rows
from preptime.spark.duplicates import without_duplicates
from preptime.spark.failures import plain_path, spark_errors
from preptime.spark.output import StagedRun
from preptime.spark.state_workers import (
    ARRAYS_COLUMN,
    BUCKET_COLUMN,
    BucketCounter,
    RowJudge,
    encode_restaurants,
    join_buckets,
)
from preptime.training.history_rows import CATEGORY_PREFIX
from preptime.training.saved_state import SavedState, StateDocument

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
    buckets = buckets or max(1, math.ceil(len(restaurants) / BUCKET_RESTAURANTS))
    width = max(1, math.ceil(len(restaurants) / buckets))
    encoded = encode_restaurants(restaurants, schema)
    with spark_errors(f"Counting {orders.text}"):
        rows = stage_rows(session, orders, RowJudge(encoded, msgspec.json.encode(schema), as_of), f"{staging}/rows")
        kept = without_duplicates(session, rows, f"{staging}/duplicates", by_file=orders.has_row_order)
        parts = _count_buckets(kept, BucketCounter(encoded, width), buckets, f"{staging}/buckets")
        state, labels = join_buckets(parts, restaurants, width)
    return SavedState(as_of, schema, restaurants, state, labels)


def write_state(run: StagedRun, state: SavedState) -> StateDocument:
    """Write the arrays of a state and then its document, remove the intermediate rows, and return the document."""
    document, files = state.encode(run.address)
    for name, content in files.items():
        run.write_bytes(name, content)
    run.output.system.delete(run.output.child(f"{run.name}/{STAGED_FOLDER}"), True)
    run.publish(document)
    return document


def stage_rows(session: Any, orders: Address, judge: RowJudge, folder: str) -> Any:
    """Write the narrow rows of all known orders to a folder, and return them as a DataFrame."""
    from pyspark.sql.pandas.types import from_arrow_schema, to_arrow_schema

    frame, files = _with_places(read_rows(session, orders), orders)
    judge = replace(judge, files=files)
    narrow = judge.narrow_schema(to_arrow_schema(frame.schema))
    frame.mapInArrow(judge, from_arrow_schema(narrow)).write.parquet(folder)
    return session.read.parquet(folder)


def _with_places(frame: Any, orders: Address) -> tuple[Any, dict[str, int]]:
    """Return the rows with their file and row, and the place of each file. Rows of tables have a number instead."""
    from pyspark.sql import functions

    if not orders.has_row_order:
        # The numbers are written with the rows, so they don't change any more.
        place = functions.lit("").alias(FILE_COLUMN), functions.monotonically_increasing_id().alias(ROW_COLUMN)
        return frame.select("*", *place), {}
    place = (
        functions.col("_metadata.file_path").alias(FILE_COLUMN),
        functions.col("_metadata.row_index").alias(ROW_COLUMN),
    )
    files = sorted(frame.inputFiles(), key=_sort_key)
    return frame.select("*", *place), {name: number for number, name in enumerate(files)}


def _sort_key(file: str) -> tuple[str, ...]:
    """Return what sorts files as the readers of one machine do: folder by folder."""
    return tuple(plain_path(file).split("/"))


def _count_buckets(rows: Any, counter: BucketCounter, buckets: int, folder: str) -> dict[int, bytes]:
    """Count the rows of each bucket in the workers, and return the arrays of each bucket that has rows."""
    from pyspark.sql import functions

    bucket = functions.expr(f"cast(greatest(position, 0) div {counter.width} as int)").alias(BUCKET_COLUMN)
    categories = [name for name in rows.columns if name.startswith(CATEGORY_PREFIX)]
    grouped = rows.select(bucket, *_COUNTED_COLUMNS, *categories).repartition(buckets, BUCKET_COLUMN)
    grouped.mapInArrow(counter, f"{BUCKET_COLUMN} int, {ARRAYS_COLUMN} binary").write.parquet(folder)
    # One bucket at a time, so that the driver holds each state once.
    counted = rows.sparkSession.read.parquet(folder).toLocalIterator()
    return {row[BUCKET_COLUMN]: bytes(row[ARRAYS_COLUMN]) for row in counted}
