"""The interface of data sources, and an estimate of their size for progress reports.

`tests/sources/test_conformance.py` checks every kind of data source.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol, runtime_checkable

import polars as pl

from preptime.errors import DataError
from preptime.schema.schema import Schema
from preptime.sources.file_format import READ_ERRORS, decompressed_size, read_head, scan_parquet


class DataSource(Protocol):
    """Rows to read, in a fixed order.

    Frames have the source's own columns and the reader columns of `preptime.domain.data_dictionary`.
    """

    @property
    def name(self) -> str:
        """The path, or the URL without secrets."""
        ...

    @property
    def columns(self) -> tuple[str, ...]:
        """The source's own columns, in order."""
        ...

    @property
    def schema(self) -> Schema:
        """The schema of the rows: a company's own for its files, and the canonical one for databases."""
        ...

    def frame(self) -> pl.DataFrame:
        """Return all rows. Raises `DataError` if there are none."""
        ...

    def batches(self, rows: int) -> Iterator[pl.DataFrame]:
        """Yield all rows in chunks of at most `rows`, in bounded memory. Raises `DataError` if there are none."""
        ...

    def partitions(self) -> tuple[DataSource, ...]:
        """Return one source for each partition, such as a file, in order. An unpartitioned source returns itself."""
        ...


@runtime_checkable
class SupportsDateRange(Protocol):
    """A source of orders that can read some days without reading the others."""

    def batches_for_dates(self, first: dt.date, last: dt.date, rows: int) -> Iterator[pl.DataFrame]:
        """Yield the orders of these local days, in chunks of at most `rows`. There can be no chunk."""
        ...


@runtime_checkable
class SupportsPaths(Protocol):
    """A source that reads local files."""

    @property
    def location(self) -> Path:
        """A file, a folder, or a glob."""
        ...

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files, in order."""
        ...


def batches_for_dates(source: DataSource, first: dt.date, last: dt.date, rows: int) -> Iterator[pl.DataFrame]:
    """Yield at least the orders of these local days, in chunks of at most `rows`.

    A source that is partitioned by day reads only these days, and can yield no chunk. Any other source yields all its
    rows, and raises `DataError` if it has none. The caller filters the rows by day.
    """
    if isinstance(source, SupportsDateRange):
        return source.batches_for_dates(first, last, rows)
    return source.batches(rows)


def incompatible_types_error(name: str, error: Exception) -> DataError:
    """Return an error for partitions whose columns have different types."""
    return DataError(
        f"The partitions of {name} have incompatible column types ({str(error).splitlines()[0]}).",
        "Write each column with the same type in every partition.",
    )


def estimate_rows(source: DataSource) -> int:
    """Return the number of rows: exact for Parquet, estimated from the first lines for CSV, and 0 for databases."""
    paths = source.paths if isinstance(source, SupportsPaths) else ()
    return sum(_estimate_file_rows(path) for path in paths)


def _estimate_file_rows(path: Path) -> int:
    """Return an estimate, or 0 for a file that can't be read, because reading its rows reports the error."""
    try:
        head = read_head(path)
        if head.startswith(b"PAR1"):
            return int(scan_parquet(path).select(pl.len()).collect().item())
        lines = head.count(b"\n")
        return decompressed_size(path) * lines // len(head) if lines else 1
    except DataError:
        return 0
    except READ_ERRORS:
        return 0
