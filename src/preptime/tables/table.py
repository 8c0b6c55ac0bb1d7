"""What every kind of table can do. `tests/tables/test_conformance.py` holds each kind to it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import polars as pl


class Table(Protocol):
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

    def partitions(self) -> tuple[Table, ...]:
        """The tables this one is made of (one per file), in order; a single one stands for itself."""
        ...
