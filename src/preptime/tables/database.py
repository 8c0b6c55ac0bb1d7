"""What every kind of database can do beside being read as tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Protocol

import msgspec

from preptime.errors import DataError

if TYPE_CHECKING:  # the command line knows `LoadResult`, and does without Polars until a verb needs it
    import polars as pl


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

        Chunks have the columns of `preptime.tables.stored.ORDER_SCHEMA`; `columns` are those of the file.
        """
        ...
