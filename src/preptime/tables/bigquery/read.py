"""Reading orders and restaurants from BigQuery, day by day, in pages."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass, replace

import polars as pl
from google.cloud import bigquery

from preptime.domain.dictionary import ORDERS, RESTAURANTS
from preptime.errors import DataError, UsageError
from preptime.tables.bigquery import statements
from preptime.tables.bigquery.address import Address
from preptime.tables.bigquery.client import connected
from preptime.tables.bigquery.rows import pages, whole
from preptime.tables.columns import FILE, ROW
from preptime.tables.days import Days
from preptime.tables.stored import DAY, EXTRA, is_declared, own_type, spread

_WHOLE = 50_000
"""Rows of a page when all are wanted at once."""


@dataclass(frozen=True)
class BigQueryTable:
    """Orders in the order of their local days, then moments, then keys; or restaurants by their ids."""

    address: Address
    columns: tuple[str, ...]

    @property
    def name(self) -> str:
        """The address."""
        return self.address.name

    def frame(self) -> pl.DataFrame:
        """All rows. Raises `DataError` when there are none."""
        return pl.concat(self.batches(_WHOLE))

    def batches(self, rows: int) -> Iterator[pl.DataFrame]:
        """The same rows in chunks of at most `rows`; each chunk is of one day. All are of one moment's table."""
        empty = True
        for chunk in self._chunks(self.address.days, rows):
            empty = False
            yield chunk
        if empty:
            what = "ORDERS" if self.address.table == "orders" else "--restaurants RESTAURANTS"
            raise DataError(
                f"{self.name} has no rows.", f"Load some: preptime ingest {what} --to {self.address.database}"
            )

    def batches_of_days(self, first: dt.date, last: dt.date, rows: int) -> Iterator[pl.DataFrame]:
        """The orders of these local days: no other partition is read. No chunk when there are none."""
        return self._chunks(Days(first, last).within(self.address.days), rows)

    def partitions(self) -> tuple[BigQueryTable, ...]:
        """One table for each day."""
        if self.address.table != "orders":
            return (self,)
        with connected(self.address) as client:
            days = self._days(client, self.address.days)
        return tuple(replace(self, address=replace(self.address, days=Days(day, day))) for day in days) or (self,)

    def _chunks(self, wanted: Days | None, rows: int) -> Iterator[pl.DataFrame]:
        with connected(self.address) as client:
            if self.address.table != "orders":
                statement = statements.restaurants(self.address, self._selected())
                yield from self._part(pages(client, statement, {}, self._schema(), rows), self.name, (self.name,))
                return
            now = dt.datetime.now(dt.UTC)
            statement = statements.orders(self.address, self._selected())
            days = {day: self.address.of("orders", Days(day, day)) for day in self._days(client, wanted)}
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

    def _days(self, client: bigquery.Client, wanted: Days | None) -> list[dt.date]:
        days = whole(client, statements.days_of(self.address, "orders", DAY), {}, pl.Schema({DAY: pl.Date()}))
        return [day for day in days[DAY] if wanted is None or day in wanted]

    def _selected(self) -> list[str]:
        return self._schema().names()

    def _schema(self) -> pl.Schema:
        table = self.address.table
        own = {name: own_type(table, name) for name in self.columns if is_declared(table, name)}
        if len(own) < len(self.columns):
            own[EXTRA] = pl.String()
        return pl.Schema(own)


def open_bigquery(url: str) -> BigQueryTable:
    """The table at an address. Raises `UsageError`, `DataError` or `FaultError` when it is not there to be read."""
    address = Address.parse(url)
    if address.table == "predictions":
        raise UsageError("Predictions are not read as orders are.", "Name table=orders or table=restaurants.")
    declared = ORDERS if address.table == "orders" else RESTAURANTS
    with connected(address) as client:
        columns = known_columns(client, address, address.table)
    return BigQueryTable(address, columns or tuple(column.name for column in declared))


def known_columns(client: bigquery.Client, address: Address, table: str) -> tuple[str, ...]:
    """The columns that people have given a table, in the order in which they came."""
    schema = pl.Schema({"column_name": pl.String()})
    return tuple(whole(client, statements.columns_of(address), {"table": table}, schema)["column_name"])
