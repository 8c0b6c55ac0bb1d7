"""Rows between Spark and Polars, as Arrow. Workers use it, so it imports no PySpark.

Polars writes text, bytes, and lists with 64-bit offsets. Spark reads lists only with 32-bit offsets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    import pyarrow as pa  # type: ignore[import-untyped]


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
