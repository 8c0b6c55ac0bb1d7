"""What addresses of databases may name: a table, and local days.

What every kind of database can do beside being read as tables.

What reading from any database has in common: days are read one after the other, and a table knows which it has.
"""

from __future__ import annotations

import datetime as dt
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Generic, Protocol, Self, TypeVar

import msgspec
import polars as pl

from preptime.domain.data_dictionary import ORDERS_DICTIONARY, RESTAURANTS_DICTIONARY
from preptime.errors import DataError, UsageError

if TYPE_CHECKING:
    import polars as pl

TABLE_NAMES = ("orders", "restaurants", "predictions")
"""The first is meant where none is named."""


@dataclass(frozen=True)
class DateRange:
    """Local days from the first to the last."""

    first: dt.date
    last: dt.date

    @classmethod
    def parse(cls, text: str) -> DateRange:
        """`2015-06-24`, or `2015-06-01..2015-06-07`. Raises `UsageError`."""
        first_text, separator, last_text = text.partition("..")
        try:
            return cls(dt.date.fromisoformat(first_text), dt.date.fromisoformat(last_text if separator else first_text))
        except ValueError as error:
            raise UsageError(
                f"day={text} is no day.", "Write day=2015-06-24, or day=2015-06-01..2015-06-07."
            ) from error

    def __str__(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first}..{self.last}"

    def __contains__(self, date: dt.date) -> bool:
        return self.first <= date <= self.last

    def intersection(self, other: DateRange | None) -> DateRange:
        """The days that are also among `others`; all of them when there are none to compare with."""
        return self if other is None else DateRange(max(self.first, other.first), min(self.last, other.last))


def resolve_table_name(name: str | None) -> str:
    """The table that an address means. Raises `UsageError` for one that there is not."""
    table = name or TABLE_NAMES[0]
    if table not in TABLE_NAMES:
        raise UsageError(f"There is no table={table}.", f"The tables are {', '.join(TABLE_NAMES)}.")
    return table


class LoadResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a load did. `rows` = `new` + `updated` + `unchanged` + `repeated`."""

    rows: int
    """Rows that were given and could be stored."""
    inserted: int
    updated: int
    """Rows that were there and got what was not known of them, or was known otherwise."""
    unchanged: int
    duplicates: int
    """Rows of an order that the same delivery holds more than once, beyond its first."""


class NoStorableRowsError(DataError):
    """Not one row of a delivery could be stored."""

    def __init__(self) -> None:
        super().__init__("No row could be stored.", "Repair the refused rows and load them again.")


class Database(Protocol):
    """Where `preptime ingest` loads to."""

    @property
    def name(self) -> str:
        """How people call it: its address without secrets."""
        ...

    @property
    def restaurants(self) -> str:
        """The address of its restaurants, to open as a table."""
        ...

    def prepare(self) -> tuple[str, ...]:
        """Make or bring up to date the tables; what was applied."""
        ...

    def load_restaurants(self, restaurants: pl.DataFrame) -> LoadResult:
        """Add or replace these restaurants, all or nothing. Those that are not named stay as they are."""
        ...

    def load_orders(
        self, chunks: Iterable[pl.DataFrame], columns: Sequence[str], progress: Callable[[str, float], None] | None
    ) -> LoadResult:
        """Add or complete orders, all or nothing: also when `chunks` raises.

        Chunks have the columns of `preptime.sources.database_schema.ORDER_SCHEMA`; `columns` are those of the file.
        """
        ...


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
