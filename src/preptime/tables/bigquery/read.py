"""Reading orders and restaurants from BigQuery, day by day, in pages."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

import polars as pl
from google.cloud import bigquery

from preptime.tables.bigquery import statements
from preptime.tables.bigquery.address import BigQueryAddress
from preptime.tables.bigquery.client import open_client
from preptime.tables.bigquery.rows import iter_pages, query_frame
from preptime.tables.columns import FILE_COLUMN, ROW_COLUMN
from preptime.tables.days import DateRange
from preptime.tables.stored import EXTRA, ORDER_DATE, expand_json, is_declared, stored_type
from preptime.tables.stored_table import ORDERS_TABLE, DatabaseSource, readable_columns


class BigQuerySource(DatabaseSource[BigQueryAddress]):
    """The rows of an address, in pages."""

    default_chunk_rows = 50_000

    def _days(self) -> list[dt.date]:
        with open_client(self.address) as client:
            return _list_days(client, self.address, self.address.days)

    def _chunks(self, selected_days: DateRange | None, rows: int) -> Iterator[pl.DataFrame]:
        with open_client(self.address) as client:
            if self.address.table != ORDERS_TABLE:
                statement = statements.select_restaurants(self.address, self._selected_columns())
                yield from self._iter_partition(
                    iter_pages(client, statement, {}, self._query_schema(), rows), self.name, (self.name,)
                )
                return
            snapshot_time = dt.datetime.now(dt.UTC)
            statement = statements.select_orders(self.address, self._selected_columns())
            days = {
                day: self.address.table_url(ORDERS_TABLE, DateRange(day, day))
                for day in _list_days(client, self.address, selected_days)
            }
            for day, name in days.items():
                result_pages = iter_pages(
                    client, statement, {"day": day, "as_of": snapshot_time}, self._query_schema(), rows
                )
                yield from self._iter_partition(result_pages, name, tuple(days.values()))

    def _iter_partition(
        self, result_pages: Iterator[pl.DataFrame], file_name: str, file_names: tuple[str, ...]
    ) -> Iterator[pl.DataFrame]:
        rows_before = 0
        extra_columns = [column for column in self.columns if not is_declared(self.address.table, column)]
        for page in result_pages:
            chunk = page.with_columns(expand_json(page[EXTRA], extra_columns, pl.String())) if extra_columns else page
            numbered = chunk.select(self.columns).with_row_index(ROW_COLUMN, rows_before + 1)
            yield numbered.with_columns(pl.lit(file_name, pl.Enum(file_names)).alias(FILE_COLUMN))
            rows_before += len(page)

    def _selected_columns(self) -> list[str]:
        return self._query_schema().names()

    def _query_schema(self) -> pl.Schema:
        table = self.address.table
        schema = {name: stored_type(table, name) for name in self.columns if is_declared(table, name)}
        if len(schema) < len(self.columns):
            schema[EXTRA] = pl.String()
        return pl.Schema(schema)


def _list_days(client: bigquery.Client, address: BigQueryAddress, selected_days: DateRange | None) -> list[dt.date]:
    days = query_frame(
        client, statements.select_days(address, ORDERS_TABLE, ORDER_DATE), {}, pl.Schema({ORDER_DATE: pl.Date()})
    )
    return [day for day in days[ORDER_DATE] if selected_days is None or day in selected_days]


def open_bigquery_source(url: str) -> BigQuerySource:
    """The table at an address. Raises `UsageError`, `DataError` or `OperationError` when it is not there to be read."""
    address = BigQueryAddress.parse(url)
    declared = readable_columns(address.table)
    with open_client(address) as client:
        columns = read_column_names(client, address, address.table)
    return BigQuerySource(address, columns or declared)


def read_column_names(client: bigquery.Client, address: BigQueryAddress, table: str) -> tuple[str, ...]:
    """The columns that people have given a table, in the order in which they came."""
    schema = pl.Schema({"column_name": pl.String()})
    return tuple(query_frame(client, statements.select_column_names(address), {"table": table}, schema)["column_name"])
