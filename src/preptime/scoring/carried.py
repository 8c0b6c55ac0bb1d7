"""The input's own columns on their way to the output."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

import polars as pl

from preptime.errors import DataError
from preptime.tables.table import DataSource

_TYPES_NOT_IN_CSV = (pl.List, pl.Array, pl.Struct, pl.Binary, pl.Object)


@dataclass(frozen=True)
class PassthroughColumns:
    """A table's own columns, of the same types in every chunk; for csv, moments are text as in the orders file."""

    schema: pl.Schema
    for_csv: bool

    @classmethod
    def from_source(cls, source: DataSource, *, for_csv: bool) -> PassthroughColumns:
        """Looks at the first row of each partition, since partitions may differ in types.

        Raises `DataError` when their types cannot be told together, or csv has no cell for one.
        """
        try:
            schema = pl.concat(_first_rows(source), how="vertical_relaxed").schema
        except pl.exceptions.PolarsError as error:
            raise DataError(
                f"The partitions of {source.name} hold different things ({str(error).splitlines()[0]}).",
                "Write each column with the same type in every partition.",
            ) from error
        unsupported = [name for name, dtype in schema.items() if isinstance(dtype, _TYPES_NOT_IN_CSV)]
        if for_csv and unsupported:
            raise DataError(
                f"csv has no cell for the column {unsupported[0]} ({schema[unsupported[0]]}).",
                "Name the output .parquet.",
            )
        return cls(schema, for_csv)

    def select(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The carried columns of a chunk."""
        columns = rows.select(self.schema.names())
        if columns.schema != self.schema:
            columns = columns.cast(self.schema)
        if not self.for_csv:
            return columns
        return columns.with_columns(
            pl.col(name).dt.strftime("%Y-%m-%d %H:%M:%S%.f" + ("%:z" if dtype.time_zone else ""))
            for name, dtype in self.schema.items()
            if isinstance(dtype, pl.Datetime)
        )


def _first_rows(source: DataSource) -> list[pl.DataFrame]:
    """One row of each partition. Of several some may be empty, and what is wrong with one is said when it is read."""
    first_rows = []
    for partition in source.partitions():
        with suppress(DataError):
            first_rows.append(next(partition.batches(1)).select(source.columns))
    return first_rows or [next(source.batches(1)).select(source.columns)]
