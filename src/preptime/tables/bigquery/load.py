"""Loading into BigQuery: into a table of this load's own, then merged by one atomic statement."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import polars as pl
from google.cloud import bigquery

from preptime.tables.bigquery import statements
from preptime.tables.bigquery.address import Address
from preptime.tables.bigquery.client import Parameters, connected
from preptime.tables.bigquery.read import known_columns
from preptime.tables.bigquery.rows import append, run, staged, whole
from preptime.tables.database import Loaded, NothingToStoreError
from preptime.tables.stored import EXTRA, RESTAURANT_COLUMNS, as_extra

Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class BigQueryDatabase:
    """The dataset of an address, which has to be there: where its data lies is its owner's choice."""

    address: Address

    @property
    def name(self) -> str:
        """Its address."""
        return self.address.database

    @property
    def restaurants(self) -> str:
        """The address of its restaurants."""
        return self.address.of("restaurants")

    def prepare(self) -> tuple[str, ...]:
        """Make the tables that are missing; their names."""
        with connected(self.address) as client:
            there = {table.table_id for table in client.list_tables(f"{self.address.project}.{self.address.dataset}")}
            missing = {name: text for name, text in statements.definitions(self.address).items() if name not in there}
            for text in missing.values():
                run(client, text, {})
        return tuple(missing)

    def load_restaurants(self, restaurants: pl.DataFrame) -> Loaded:
        """Add or replace these restaurants; of one that is there only the columns that are given change."""
        given = [name for name in RESTAURANT_COLUMNS if name in restaurants.columns]
        others = [name for name in restaurants.columns if name not in given]
        rows = restaurants.select(given).with_columns(as_extra(restaurants, others))
        with connected(self.address) as client, staged(client, self.address, rows.schema) as staging:
            append(client, self.address, staging, [rows])
            columns = [*given, EXTRA] if others else given
            self._add_columns(client, "restaurants", restaurants.columns)
            new, updated = run(client, statements.merge_restaurants(self.address, staging, columns), {})
        return Loaded(rows=len(rows), new=new, updated=updated, unchanged=len(rows) - new - updated, repeated=0)

    def load_orders(self, chunks: Iterable[pl.DataFrame], columns: Sequence[str], progress: Progress | None) -> Loaded:
        """Add or complete orders: everything that `chunks` gives, or nothing."""
        with connected(self.address) as client, staged(client, self.address, statements.DELIVERED) as staging:
            rows = append(client, self.address, staging, _numbered(chunks))
            if not rows:
                raise NothingToStoreError
            if progress:
                progress("Merging", 0.0)
            counted = whole(
                client,
                statements.count_repeated(self.address, staging),
                {},
                pl.Schema({"repeated": pl.Int64()}),
            )
            repeated = int(counted["repeated"][0])
            self._add_columns(client, "orders", columns)
            new, updated = run(client, statements.merge_orders(self.address, staging), {})
        if progress:
            progress("Merging", 1.0)
        unchanged = rows - repeated - new - updated
        return Loaded(rows=rows, new=new, updated=updated, unchanged=unchanged, repeated=repeated)

    def _add_columns(self, client: bigquery.Client, table: str, names: Sequence[str]) -> None:
        there = known_columns(client, self.address, table)
        new = [name for name in names if name not in there]
        if not new:
            return
        parameters: Parameters = {"table": table}
        for place, name in enumerate(new):
            parameters |= {f"position{place}": len(there) + place, f"name{place}": name}
        run(client, statements.add_columns(self.address, len(new)), parameters)


def open_bigquery_database(url: str) -> BigQueryDatabase:
    """The dataset of an address; nothing is asked of it yet."""
    return BigQueryDatabase(Address.parse(url))


def _numbered(chunks: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    before = 0
    for chunk in chunks:
        yield chunk.with_columns((pl.int_range(pl.len()) + before).alias(statements.LINE))
        before += len(chunk)
