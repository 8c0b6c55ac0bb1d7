"""Data sources that are data frames in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from preptime.domain.data_dictionary import READER_COLUMNS, ROW_COLUMN
from preptime.errors import DataError
from preptime.schema.schema import TAKE_HOME_SCHEMA, Schema


@dataclass(frozen=True)
class FrameSource:
    """The rows of a data frame, numbered from 1.

    Example:
        >>> FrameSource(pl.DataFrame({"restaurant_id": ["a", "b"]})).frame()["_row"].to_list()
        [1, 2]
    """

    rows: pl.DataFrame
    schema: Schema = TAKE_HOME_SCHEMA
    name: str = "the data frame"

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the frame, without those that readers add, such as the number of a row in a file."""
        return tuple(name for name in self.rows.columns if name not in READER_COLUMNS)

    def frame(self) -> pl.DataFrame:
        """Return all rows. Raises `DataError` if there are none."""
        if self.rows.is_empty():
            raise DataError(f"{self.name[0].upper()}{self.name[1:]} has no rows.", "Use at least one row.")
        return self.rows.select(self.columns).with_row_index(ROW_COLUMN, offset=1)

    def batches(self, rows: int) -> Iterator[pl.DataFrame]:
        """Yield all rows in chunks of at most `rows`. Raises `DataError` if there are none."""
        return self.frame().iter_slices(rows)

    def partitions(self) -> tuple[FrameSource, ...]:
        """Return the source itself, because it has no partitions."""
        return (self,)
