"""What reading from any database has in common: days are read one after the other, and a table knows which it has."""

from __future__ import annotations

import datetime as dt
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, Generic, Protocol, Self, TypeVar

import polars as pl

from preptime.domain.dictionary import ORDERS_DICTIONARY, RESTAURANTS_DICTIONARY
from preptime.errors import DataError, UsageError
from preptime.tables.days import DateRange

ORDERS_TABLE = "orders"
_PREDICTIONS_TABLE = "predictions"


class DatabaseAddress(Protocol):
    """An address of a table in a database."""

    @property
    def name(self) -> str:
        """The address for people, and to open again: without secrets."""

    @property
    def table(self) -> str:
        """Which of the database's tables."""

    @property
    def days(self) -> DateRange | None:
        """The days that it is limited to."""

    @property
    def shell_quoted_url(self) -> str:
        """The database's own address as a shell takes it, for commands in hints."""

    def for_days(self, days: DateRange) -> Self:
        """The same table on these days only."""


AddressT = TypeVar("AddressT", bound=DatabaseAddress)


@dataclass(frozen=True)
class DatabaseSource(ABC, Generic[AddressT]):
    """Orders in the order of their local days, then moments, then keys; or restaurants by their ids."""

    default_chunk_rows: ClassVar[int]
    """Rows of a chunk when all are wanted at once."""

    address: AddressT
    columns: tuple[str, ...]

    @property
    def name(self) -> str:
        """The address without secrets."""
        return self.address.name

    def frame(self) -> pl.DataFrame:
        """All rows. Raises `DataError` when there are none."""
        return pl.concat(self.batches(self.default_chunk_rows))

    def batches(self, rows: int) -> Iterator[pl.DataFrame]:
        """The same rows in chunks of at most `rows`; each chunk is of one day. All are of one moment's database."""
        is_empty = True
        for chunk in self._chunks(self.address.days, rows):
            is_empty = False
            yield chunk
        if is_empty:
            command_arguments = "ORDERS" if self.address.table == ORDERS_TABLE else "--restaurants RESTAURANTS"
            raise DataError(
                f"{self.name} has no rows.",
                f"Load some: preptime ingest {command_arguments} --to {self.address.shell_quoted_url}",
            )

    def batches_for_dates(self, first: dt.date, last: dt.date, rows: int) -> Iterator[pl.DataFrame]:
        """The orders of these local days: no other partition is read. No chunk when there are none."""
        return self._chunks(DateRange(first, last).intersection(self.address.days), rows)

    def partitions(self) -> tuple[Self, ...]:
        """One table for each day."""
        if self.address.table != ORDERS_TABLE:
            return (self,)
        return tuple(replace(self, address=self.address.for_days(DateRange(day, day))) for day in self._days()) or (
            self,
        )

    @abstractmethod
    def _chunks(self, selected_days: DateRange | None, rows: int) -> Iterator[pl.DataFrame]:
        """The rows of those days, or all, in chunks of at most `rows`."""

    @abstractmethod
    def _days(self) -> list[dt.date]:
        """The days of the address that have orders, in order."""


def readable_columns(table: str) -> tuple[str, ...]:
    """The columns of a table that nobody has put a row into. Raises `UsageError` for one that is not read so."""
    if table == _PREDICTIONS_TABLE:
        raise UsageError("Predictions are not read as orders are.", "Name table=orders or table=restaurants.")
    return tuple(column.name for column in (ORDERS_DICTIONARY if table == ORDERS_TABLE else RESTAURANTS_DICTIONARY))
