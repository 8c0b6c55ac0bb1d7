"""Reading orders and restaurants from PostgreSQL, day by day, in bounded memory."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass, replace

import polars as pl
from psycopg import sql

from preptime.domain.dictionary import ORDERS, RESTAURANTS
from preptime.errors import DataError, UsageError
from preptime.tables.columns import FILE, ROW
from preptime.tables.days import Days
from preptime.tables.postgres.address import Address
from preptime.tables.postgres.copying import columns_of, copy_out
from preptime.tables.postgres.migrate import require_current
from preptime.tables.postgres.partitions import days_of
from preptime.tables.postgres.session import Connection, connected
from preptime.tables.stored import DAY, is_declared, own_type

_WHOLE = 250_000
"""Rows of a chunk when all are wanted at once."""


@dataclass(frozen=True)
class PostgresTable:
    """Orders in the order of their local days, then moments, then keys; or restaurants by their ids."""

    address: Address
    columns: tuple[str, ...]

    @property
    def name(self) -> str:
        """The address without password."""
        return self.address.name

    def frame(self) -> pl.DataFrame:
        """All rows. Raises `DataError` when there are none."""
        return pl.concat(self.batches(_WHOLE))

    def batches(self, rows: int) -> Iterator[pl.DataFrame]:
        """The same rows in chunks of at most `rows`; each chunk is of one day. All are of one moment's database."""
        empty = True
        for chunk in self._chunks(self.address.days, rows):
            empty = False
            yield chunk
        if empty:
            what = "ORDERS" if self.address.table == "orders" else "--restaurants RESTAURANTS"
            raise DataError(
                f"{self.name} has no rows.", f"Load some: preptime ingest {what} --to {self.address.quoted}"
            )

    def batches_of_days(self, first: dt.date, last: dt.date, rows: int) -> Iterator[pl.DataFrame]:
        """The orders of these local days: no other partition is read. No chunk when there are none."""
        return self._chunks(Days(first, last).within(self.address.days), rows)

    def partitions(self) -> tuple[PostgresTable, ...]:
        """One table for each day."""
        if self.address.table != "orders":
            return (self,)
        with connected(self.address) as connection:
            days = _days(connection, self.address.days)
        return tuple(replace(self, address=self.address.on(Days(day, day))) for day in days) or (self,)

    def _chunks(self, wanted: Days | None, rows: int) -> Iterator[pl.DataFrame]:
        with connected(self.address) as connection:
            if self.address.table != "orders":
                yield from self._part(connection, None, self.name, pl.Enum([self.name]), rows)
                return
            days = {day: self.address.of("orders", Days(day, day)) for day in _days(connection, wanted)}
            names = pl.Enum(list(days.values()))
            for day, name in days.items():
                yield from self._part(connection, day, name, names, rows)

    def _part(
        self, connection: Connection, day: dt.date | None, name: str, names: pl.Enum, rows: int
    ) -> Iterator[pl.DataFrame]:
        schema = {column: own_type(self.address.table, column) for column in self.columns}
        before = 0
        for chunk in copy_out(connection, self._query(day), schema, rows):
            yield chunk.with_row_index(ROW, before + 1).with_columns(pl.lit(name, names).alias(FILE))
            before += len(chunk)

    def _query(self, day: dt.date | None) -> sql.Composed:
        table = self.address.table
        cells = [
            sql.Identifier(name) if is_declared(table, name) else sql.SQL("extra ->> {}").format(sql.Literal(name))
            for name in self.columns
        ]
        chosen = sql.SQL("SELECT {cells} FROM {table}").format(
            cells=sql.SQL(", ").join(cells), table=sql.Identifier("preptime", table)
        )
        if day is None:
            return chosen + sql.SQL(" ORDER BY restaurant_id")
        of_day = sql.SQL(" WHERE {column} = {day} ORDER BY acknowledged_at, order_key")
        return chosen + of_day.format(column=sql.Identifier(DAY), day=sql.Literal(day))


def _days(connection: Connection, wanted: Days | None) -> list[dt.date]:
    return [day for day in days_of(connection, "orders") if wanted is None or day in wanted]


def open_postgres(url: str) -> PostgresTable:
    """The table at an address. Raises `UsageError`, `DataError` or `FaultError` when it is not there to be read."""
    address = Address.parse(url)
    if address.table == "predictions":
        raise UsageError("Predictions are not read as orders are.", "Name table=orders or table=restaurants.")
    declared = ORDERS if address.table == "orders" else RESTAURANTS
    with connected(address) as connection:
        require_current(connection, address)
        columns = columns_of(connection, address.table)
    return PostgresTable(address, columns or tuple(column.name for column in declared))
