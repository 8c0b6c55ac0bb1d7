"""Reading orders and restaurants from PostgreSQL, day by day, in bounded memory."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

import polars as pl
from psycopg import sql

from preptime.tables.columns import FILE, ROW
from preptime.tables.days import Days
from preptime.tables.postgres.address import Address
from preptime.tables.postgres.copying import columns_of, copy_out
from preptime.tables.postgres.migrate import require_current
from preptime.tables.postgres.partitions import days_of
from preptime.tables.postgres.session import Connection, connected
from preptime.tables.stored import DAY, is_declared, own_type
from preptime.tables.stored_table import IN_ORDERS, StoredTable, readable_columns


class PostgresTable(StoredTable[Address]):
    """The rows of an address."""

    whole_rows = 250_000

    def _days(self) -> list[dt.date]:
        with connected(self.address) as connection:
            return _days(connection, self.address.days)

    def _chunks(self, wanted: Days | None, rows: int) -> Iterator[pl.DataFrame]:
        with connected(self.address) as connection:
            if self.address.table != IN_ORDERS:
                yield from self._part(connection, None, self.name, pl.Enum([self.name]), rows)
                return
            days = {day: self.address.of(IN_ORDERS, Days(day, day)) for day in _days(connection, wanted)}
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
    return [day for day in days_of(connection, IN_ORDERS) if wanted is None or day in wanted]


def open_postgres(url: str) -> PostgresTable:
    """The table at an address. Raises `UsageError`, `DataError` or `FaultError` when it is not there to be read."""
    address = Address.parse(url)
    declared = readable_columns(address.table)
    with connected(address) as connection:
        require_current(connection, address)
        columns = columns_of(connection, address.table)
    return PostgresTable(address, columns or declared)
