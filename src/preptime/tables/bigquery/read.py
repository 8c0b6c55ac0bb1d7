"""Reading orders and restaurants from BigQuery, day by day, in pages."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

import polars as pl
from google.cloud import bigquery

from preptime.tables.bigquery import statements
from preptime.tables.bigquery.address import Address
from preptime.tables.bigquery.client import connected
from preptime.tables.bigquery.rows import pages, whole
from preptime.tables.columns import FILE, ROW
from preptime.tables.days import Days
from preptime.tables.stored import DAY, EXTRA, is_declared, own_type, spread
from preptime.tables.stored_table import IN_ORDERS, StoredTable, readable_columns


class BigQueryTable(StoredTable[Address]):
    """The rows of an address, in pages."""

    whole_rows = 50_000

    def _days(self) -> list[dt.date]:
        with connected(self.address) as client:
            return _days(client, self.address, self.address.days)

    def _chunks(self, wanted: Days | None, rows: int) -> Iterator[pl.DataFrame]:
        with connected(self.address) as client:
            if self.address.table != IN_ORDERS:
                statement = statements.restaurants(self.address, self._selected())
                yield from self._part(pages(client, statement, {}, self._schema(), rows), self.name, (self.name,))
                return
            now = dt.datetime.now(dt.UTC)
            statement = statements.orders(self.address, self._selected())
            days = {day: self.address.of(IN_ORDERS, Days(day, day)) for day in _days(client, self.address, wanted)}
            for day, name in days.items():
                found = pages(client, statement, {"day": day, "as_of": now}, self._schema(), rows)
                yield from self._part(found, name, tuple(days.values()))

    def _part(self, found: Iterator[pl.DataFrame], name: str, names: tuple[str, ...]) -> Iterator[pl.DataFrame]:
        before = 0
        others = [column for column in self.columns if not is_declared(self.address.table, column)]
        for page in found:
            chunk = page.with_columns(spread(page[EXTRA], others, pl.String())) if others else page
            own = chunk.select(self.columns).with_row_index(ROW, before + 1)
            yield own.with_columns(pl.lit(name, pl.Enum(names)).alias(FILE))
            before += len(page)

    def _selected(self) -> list[str]:
        return self._schema().names()

    def _schema(self) -> pl.Schema:
        table = self.address.table
        own = {name: own_type(table, name) for name in self.columns if is_declared(table, name)}
        if len(own) < len(self.columns):
            own[EXTRA] = pl.String()
        return pl.Schema(own)


def _days(client: bigquery.Client, address: Address, wanted: Days | None) -> list[dt.date]:
    days = whole(client, statements.days_of(address, IN_ORDERS, DAY), {}, pl.Schema({DAY: pl.Date()}))
    return [day for day in days[DAY] if wanted is None or day in wanted]


def open_bigquery(url: str) -> BigQueryTable:
    """The table at an address. Raises `UsageError`, `DataError` or `FaultError` when it is not there to be read."""
    address = Address.parse(url)
    declared = readable_columns(address.table)
    with connected(address) as client:
        columns = known_columns(client, address, address.table)
    return BigQueryTable(address, columns or declared)


def known_columns(client: bigquery.Client, address: Address, table: str) -> tuple[str, ...]:
    """The columns that people have given a table, in the order in which they came."""
    schema = pl.Schema({"column_name": pl.String()})
    return tuple(whole(client, statements.columns_of(address), {"table": table}, schema)["column_name"])
