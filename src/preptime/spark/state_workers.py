"""What `preptime spark state` does in the workers: judge rows, and count buckets of restaurants. Imports no PySpark."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from preptime.domain.data_dictionary import FILE_COLUMN, ROW_COLUMN
from preptime.features.history_state import HistoryState
from preptime.features.restaurant_index import RestaurantIndex
from preptime.schema.schema import Schema
from preptime.spark.arrow_rows import from_arrow, to_arrow
from preptime.spark.failures import decoded_path
from preptime.training.history_rows import (
    audit_batch,
    counted_labels,
    counted_orders,
    history_rows,
    without_duplicate_reason,
)
from preptime.training.saved_state import decode_restaurants, pack_arrays, unpack_arrays
from preptime.validation.audit import AuditedOrders
from preptime.validation.label_counts import LabelCounts
from preptime.validation.order_counts import OrderCounts, OrderRows

if TYPE_CHECKING:
    import pyarrow as pa  # type: ignore[import-untyped]

    from preptime.spark.worker_bundles import AddCounts

BUCKET_COLUMN = "bucket"
ARRAYS_COLUMN = "arrays"
_PLACE_ARRAY = "place"
"""The place of a file, and the first row in it."""


@dataclass(frozen=True)
class RowJudge:
    """Judges batches of orders as the product does, and yields narrow rows (`history_rows`).

    It travels to the workers as bytes of arrays and JSON, and each worker decodes the restaurants once.
    """

    restaurants: bytes
    schema: Schema
    as_of: dt.date
    files: Mapping[str, int] = field(default_factory=dict)
    """The place of each file in the product's order. Empty if the rows have no files."""
    counts: AddCounts | None = None
    """Gets the counts of all orders of the task, by file (`join_order_counts`). Without it, nothing is counted."""

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Yield the narrow rows of each batch."""
        parts: dict[int, tuple[int, OrderCounts]] = {}
        for batch in batches:
            audited = self.audit(from_arrow(batch))
            if self.counts is not None:
                self._count(audited, parts)
            yield from to_arrow(self.narrow(audited)).to_batches()
        if self.counts is not None:
            self.counts.add([_encode_part(file, row, counts) for file, (row, counts) in parts.items()])

    def audit(self, batch: pl.DataFrame) -> AuditedOrders:
        """Return the audit of a batch."""
        return audit_batch(batch, decode_restaurants(self.restaurants), self.schema)

    def narrow(self, audited: AuditedOrders) -> pl.DataFrame:
        """Return the narrow rows of a batch, with the place of the file instead of its name."""
        rows = history_rows(audited, decode_restaurants(self.restaurants), self.as_of)
        return with_file_places(rows, self.files)

    def narrow_schema(self, columns: pa.Schema) -> pa.Schema:
        """Return the schema of the narrow rows of batches with the schema `columns`."""
        return to_arrow(self.narrow(self.audit(from_arrow(columns.empty_table())))).schema

    def _count(self, audited: AuditedOrders, parts: dict[int, tuple[int, OrderCounts]]) -> None:
        """Add the orders of a batch to the counts of their files. A task reads consecutive rows of each file."""
        orders = OrderRows.from_audited(without_duplicate_reason(audited), self.as_of)
        places = with_file_places(audited.frame.select(FILE_COLUMN, ROW_COLUMN), self.files)
        for (file,), rows in places.group_by(FILE_COLUMN, maintain_order=True):
            is_of_file = (places[FILE_COLUMN] == file).to_numpy()
            _, counts = parts.setdefault(int(file), (int(rows[ROW_COLUMN][0]), OrderCounts()))
            counts.append(OrderCounts.of_batch(orders.only(is_of_file)))


@dataclass(frozen=True)
class BucketCounter:
    """Counts narrow rows by bucket: a range of restaurants.

    A partition has any number of batches of whole buckets, in any order. Memory holds the states of its buckets.
    """

    restaurants: bytes
    width: int
    """Restaurants per bucket."""

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Yield one row for each bucket: its number, and the arrays of its state and labels."""
        import pyarrow as pa

        for bucket, (state, labels) in self.count(map(from_arrow, batches)).items():
            content = pack_arrays({**state.arrays(), **labels.arrays()})
            columns = [pa.array([bucket], pa.int32()), pa.array([content], pa.binary())]
            yield pa.RecordBatch.from_arrays(columns, [BUCKET_COLUMN, ARRAYS_COLUMN])

    def count(self, batches: Iterator[pl.DataFrame]) -> dict[int, tuple[HistoryState, LabelCounts]]:
        """Return the state and the labels of each bucket that has rows."""
        restaurants = decode_restaurants(self.restaurants)
        counted: dict[int, tuple[RestaurantIndex, HistoryState, LabelCounts]] = {}
        for batch in batches:
            for (bucket,), rows in batch.partition_by(BUCKET_COLUMN, as_dict=True).items():
                if bucket not in counted:
                    own = restaurants.slice_restaurants(self.rows_of(bucket))
                    empty = HistoryState.empty(len(own), own.vocabularies.category_cells)
                    counted[bucket] = own, empty, LabelCounts()
                own, state, labels = counted[bucket]
                state.add_orders(own, counted_orders(rows, restaurants))
                labels.add(counted_labels(rows))
        return {bucket: (state, labels) for bucket, (_, state, labels) in counted.items()}

    def rows_of(self, bucket: int) -> slice:
        """Return the restaurants of a bucket, as positions."""
        return slice(bucket * self.width, (bucket + 1) * self.width)


def with_file_places(rows: pl.DataFrame, files: Mapping[str, int]) -> pl.DataFrame:
    """Return rows with the place of their file, from `files`, instead of its address. Without files, it's 0."""
    # Spark writes the address of the same file in several ways.
    places = {name: files[decoded_path(name)] if files else 0 for name in rows[FILE_COLUMN].unique()}
    place = pl.col(FILE_COLUMN).replace_strict(places, return_dtype=pl.Int32) if places else pl.lit(0, pl.Int32)
    return rows.with_columns(place.alias(FILE_COLUMN))


def _encode_part(file: int, row: int, counts: OrderCounts) -> bytes:
    return pack_arrays({_PLACE_ARRAY: np.array([file, row], np.int64), **counts.arrays()})


def join_order_counts(parts: Iterable[bytes]) -> OrderCounts:
    """Return the counts of all orders, from those that tasks sent for consecutive rows of a file, in any order."""
    total = OrderCounts()
    decoded = [unpack_arrays(part) for part in parts]
    for arrays in sorted(decoded, key=lambda arrays: arrays[_PLACE_ARRAY].tolist()):
        total.append(OrderCounts.from_arrays(arrays))
    return total


def join_buckets(
    parts: Mapping[int, bytes], restaurants: RestaurantIndex, width: int
) -> tuple[HistoryState, LabelCounts]:
    """Return the state of all restaurants and the labels, from the arrays of each bucket that has rows."""
    states, labels = [], []
    for bucket, start in enumerate(range(0, max(len(restaurants), 1), width)):
        size = min(width, len(restaurants) - start)
        if bucket not in parts:
            states.append(HistoryState.empty(size, restaurants.vocabularies.category_cells))
            continue
        arrays = unpack_arrays(parts[bucket])
        states.append(HistoryState.from_arrays(arrays))
        labels.append(LabelCounts.from_arrays(arrays))
    return HistoryState.join_restaurants(states), LabelCounts.merge(labels)
