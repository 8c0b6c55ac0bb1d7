"""Reading orders and restaurants from PostgreSQL, day by day, in bounded memory."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

import polars as pl
from psycopg import sql

from preptime.tables.columns import FILE_COLUMN, ROW_COLUMN
from preptime.tables.days import DateRange
from preptime.tables.postgres.address import PostgresAddress
from preptime.tables.postgres.copying import copy_out, read_column_names
from preptime.tables.postgres.migrate import require_current_schema
from preptime.tables.postgres.partitions import partition_dates
from preptime.tables.postgres.session import Connection, open_transaction
from preptime.tables.stored import ORDER_DATE, is_declared, stored_type
from preptime.tables.stored_table import ORDERS_TABLE, DatabaseSource, readable_columns


class PostgresSource(DatabaseSource[PostgresAddress]):
    """The rows of an address."""

    default_chunk_rows = 250_000

    def _days(self) -> list[dt.date]:
        with open_transaction(self.address) as connection:
            return _list_days(connection, self.address.days)

    def _chunks(self, selected_days: DateRange | None, rows: int) -> Iterator[pl.DataFrame]:
        with open_transaction(self.address) as connection:
            if self.address.table != ORDERS_TABLE:
                yield from self._iter_partition(connection, None, self.name, pl.Enum([self.name]), rows)
                return
            days = {
                day: self.address.table_url(ORDERS_TABLE, DateRange(day, day))
                for day in _list_days(connection, selected_days)
            }
            names = pl.Enum(list(days.values()))
            for day, name in days.items():
                yield from self._iter_partition(connection, day, name, names, rows)

    def _iter_partition(
        self, connection: Connection, day: dt.date | None, file_name: str, file_names: pl.Enum, rows: int
    ) -> Iterator[pl.DataFrame]:
        schema = {column: stored_type(self.address.table, column) for column in self.columns}
        rows_before = 0
        for chunk in copy_out(connection, self._query(day), schema, rows):
            yield chunk.with_row_index(ROW_COLUMN, rows_before + 1).with_columns(
                pl.lit(file_name, file_names).alias(FILE_COLUMN)
            )
            rows_before += len(chunk)

    def _query(self, day: dt.date | None) -> sql.Composed:
        table = self.address.table
        cells = [
            sql.Identifier(name) if is_declared(table, name) else sql.SQL("extra ->> {}").format(sql.Literal(name))
            for name in self.columns
        ]
        query = sql.SQL("SELECT {cells} FROM {table}").format(
            cells=sql.SQL(", ").join(cells), table=sql.Identifier("preptime", table)
        )
        if day is None:
            return query + sql.SQL(" ORDER BY restaurant_id")
        day_filter = sql.SQL(" WHERE {column} = {day} ORDER BY acknowledged_at, order_key")
        return query + day_filter.format(column=sql.Identifier(ORDER_DATE), day=sql.Literal(day))


def _list_days(connection: Connection, selected_days: DateRange | None) -> list[dt.date]:
    return [day for day in partition_dates(connection, ORDERS_TABLE) if selected_days is None or day in selected_days]


def open_postgres_source(url: str) -> PostgresSource:
    """The table at an address. Raises `UsageError`, `DataError` or `OperationError` when it is not there to be read."""
    address = PostgresAddress.parse(url)
    declared = readable_columns(address.table)
    with open_transaction(address) as connection:
        require_current_schema(connection, address)
        columns = read_column_names(connection, address.table)
    return PostgresSource(address, columns or declared)
