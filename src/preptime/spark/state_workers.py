"""What `preptime spark state` does in the workers: judge rows, and count buckets of restaurants. Imports no PySpark."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import polars as pl

from preptime.domain.data_dictionary import FILE_COLUMN
from preptime.features.history_state import HistoryState
from preptime.features.restaurant_index import RestaurantIndex
from preptime.schema.schema import Schema
from preptime.spark.arrow_rows import from_arrow, to_arrow
from preptime.spark.failures import plain_path
from preptime.training.history_rows import counted_labels, counted_orders, history_rows
from preptime.training.saved_state import decode_restaurants, pack_arrays, unpack_arrays
from preptime.validation.label_counts import LabelCounts

if TYPE_CHECKING:
    import pyarrow as pa  # type: ignore[import-untyped]

BUCKET_COLUMN = "bucket"
ARRAYS_COLUMN = "arrays"


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

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Yield the narrow rows of each batch."""
        for batch in batches:
            yield from to_arrow(self.judge(from_arrow(batch))).to_batches()

    def judge(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Return the narrow rows of a batch, with the place of the file instead of its name."""
        restaurants = decode_restaurants(self.restaurants)
        rows = history_rows(batch, restaurants, self.as_of, self.schema)
        return with_file_places(rows, self.files)

    def narrow_schema(self, columns: pa.Schema) -> pa.Schema:
        """Return the schema of the narrow rows of batches with the schema `columns`."""
        return to_arrow(self.judge(from_arrow(columns.empty_table()))).schema


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
    places = {name: files[plain_path(name)] if files else 0 for name in rows[FILE_COLUMN].unique()}
    place = pl.col(FILE_COLUMN).replace_strict(places, return_dtype=pl.Int32) if places else pl.lit(0, pl.Int32)
    return rows.with_columns(place.alias(FILE_COLUMN))


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
