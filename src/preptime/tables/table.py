"""What every kind of table can do. `tests/tables/test_conformance.py` holds each kind to it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import polars as pl


class DataSource(Protocol):
    """Rows to read, in their own order. Frames carry the table's columns and those of `preptime.tables.columns`."""

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
