"""What every kind of table can do. `tests/sources/test_conformance.py` holds each kind to it.

How much there is to read, roughly and without reading it, for progress.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol, runtime_checkable

import polars as pl


class DataSource(Protocol):
    """Rows to read, in their own order. Frames carry the table's columns and those of `preptime.domain.data_dictionary`."""

    @property
    def name(self) -> str:
        """How people call it: the path or URL without secrets."""
        ...

    @property
    def columns(self) -> tuple[str, ...]:
        """The table's own columns, in order."""
        ...

    def frame(self) -> pl.DataFrame:
        """All rows. Raises `DataError` when there are none."""
        ...

    def batches(self, rows: int) -> Iterator[pl.DataFrame]:
        """The same rows in chunks of at most `rows`, in bounded memory. Raises `DataError` when there are none."""
        ...

    def partitions(self) -> tuple[DataSource, ...]:
        """The tables this one is made of (one per file), in order; a single one stands for itself."""
        ...


@runtime_checkable
class SupportsDateRange(Protocol):
    """A table of orders that can read some days without reading the others."""

    def batches_for_dates(self, first: dt.date, last: dt.date, rows: int) -> Iterator[pl.DataFrame]:
        """As `DataSource.batches`, the orders of these local days only; no chunk when there are none."""
        ...


def batches_for_dates(source: DataSource, first: dt.date, last: dt.date, rows: int) -> Iterator[pl.DataFrame]:
    """At least the orders of these local days, in chunks of at most `rows`.

    A table that keeps days apart reads only those and may give no chunk at all; any other gives all it has, and
    raises `DataError` when it has nothing. Which rows are of which day is for the reader to say.
    """
    if isinstance(source, SupportsDateRange):
        return source.batches_for_dates(first, last, rows)
    return source.batches(rows)


_HEAD_BYTES = 1 << 16


def estimate_rows(source: DataSource) -> int:
    """Rows in the table: exact for parquet, by the length of its first lines for csv, 0 where nothing tells."""
    return sum(_estimate_file_rows(Path(partition.name)) for partition in source.partitions())


def _estimate_file_rows(path: Path) -> int:
    if not path.is_file():
        return 0
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if head.startswith(b"PAR1"):
        return int(pl.scan_parquet(path, glob=False).select(pl.len()).collect().item())
    lines = head.count(b"\n")
    return path.stat().st_size * lines // len(head) if lines else 1
