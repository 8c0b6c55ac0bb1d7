"""The input's own columns on their way to the output."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

import polars as pl

from preptime.errors import DataError
from preptime.tables.table import Table

_NOT_IN_CSV = (pl.List, pl.Array, pl.Struct, pl.Binary, pl.Object)


@dataclass(frozen=True)
class Carried:
    """A table's own columns, of the same types in every chunk; for csv, moments are text as in the orders file."""

    schema: pl.Schema
    to_csv: bool

    @classmethod
    def of(cls, table: Table, *, to_csv: bool) -> Carried:
        """Looks at the first row of each partition, since partitions may differ in types.

        Raises `DataError` when their types cannot be told together, or csv has no cell for one.
        """
        try:
            schema = pl.concat(_heads(table), how="vertical_relaxed").schema
        except pl.exceptions.PolarsError as error:
            raise DataError(
                f"The partitions of {table.name} hold different things ({str(error).splitlines()[0]}).",
                "Write each column with the same type in every partition.",
            ) from error
        nested = [name for name, kind in schema.items() if isinstance(kind, _NOT_IN_CSV)]
        if to_csv and nested:
            raise DataError(
                f"csv has no cell for the column {nested[0]} ({schema[nested[0]]}).", "Name the output .parquet."
            )
        return cls(schema, to_csv)

    def of_chunk(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The carried columns of a chunk."""
        own = rows.select(self.schema.names())
        if own.schema != self.schema:
            own = own.cast(self.schema)
        if not self.to_csv:
            return own
        return own.with_columns(
            pl.col(name).dt.strftime("%Y-%m-%d %H:%M:%S%.f" + ("%:z" if kind.time_zone else ""))
            for name, kind in self.schema.items()
            if isinstance(kind, pl.Datetime)
        )


def _heads(table: Table) -> list[pl.DataFrame]:
    """One row of each partition. Of several some may be empty, and what is wrong with one is said when it is read."""
    heads = []
    for part in table.partitions():
        with suppress(DataError):
            heads.append(next(part.batches(1)).select(table.columns))
    return heads or [next(table.batches(1)).select(table.columns)]
