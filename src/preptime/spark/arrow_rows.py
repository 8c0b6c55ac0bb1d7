"""Rows between Spark and Polars, as Arrow. Workers use it, so it imports no PySpark.

Polars writes text, bytes, and lists with 64-bit offsets. Spark reads lists only with 32-bit offsets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

if TYPE_CHECKING:
    import pyarrow as pa  # type: ignore[import-untyped]

    BatchFunction = Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]


def map_batches(frame: Any, function: BatchFunction, schema: Any) -> Any:
    """Return the rows that a function yields for the batches of a DataFrame of Spark. `schema` is that of these rows.

    Spark's `mapInArrow` fails for a column such as `restaurant.id`, because it takes the dot as a field of a struct.
    """
    places = frame.toDF(*map(str, range(len(frame.columns))))
    return places.mapInArrow(_NamedBatches(function, tuple(frame.columns)), schema)


@dataclass(frozen=True)
class _NamedBatches:
    """Calls a function with batches whose columns have their names again. Spark sends it to the workers."""

    function: BatchFunction
    columns: tuple[str, ...]

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Yield what the function yields."""
        return self.function(batch.rename_columns(self.columns) for batch in batches)


def from_arrow(rows: pa.RecordBatch | pa.Table) -> pl.DataFrame:
    """Return rows of Spark as a frame."""
    return pl.DataFrame(pl.from_arrow(rows))


def to_arrow(frame: pl.DataFrame) -> pa.Table:
    """Return a frame as rows for Spark."""
    table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
    return table.cast(plain_schema(table.schema))


def plain_schema(schema: pa.Schema) -> pa.Schema:
    """Return a schema with 32-bit offsets, also inside of lists and structs."""
    import pyarrow as pa

    return pa.schema([pa.field(field.name, _plain_type(field.type)) for field in schema])


def _plain_type(kind: pa.DataType) -> pa.DataType:
    import pyarrow as pa

    if pa.types.is_large_string(kind):
        return pa.string()
    if pa.types.is_large_binary(kind):
        return pa.binary()
    if pa.types.is_large_list(kind) or pa.types.is_list(kind):
        return pa.list_(_plain_type(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(field.name, _plain_type(field.type)) for field in kind])
    return kind
