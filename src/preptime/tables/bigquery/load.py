"""Loading into BigQuery: into a table of this load's own, then merged by one atomic statement."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import polars as pl
from google.cloud import bigquery

from preptime.tables.bigquery import statements
from preptime.tables.bigquery.address import BigQueryAddress
from preptime.tables.bigquery.client import QueryParameters, open_client
from preptime.tables.bigquery.read import read_column_names
from preptime.tables.bigquery.rows import append_rows, execute_dml, query_frame, staging_table
from preptime.tables.database import LoadResult, NoStorableRowsError
from preptime.tables.stored import EXTRA, RESTAURANT_COLUMNS, encode_extra

ProgressCallback = Callable[[str, float], None]


@dataclass(frozen=True)
class BigQueryDatabase:
    """The dataset of an address, which has to be there: where its data lies is its owner's choice."""

    address: BigQueryAddress

    @property
    def name(self) -> str:
        """Its address."""
        return self.address.database_url

    @property
    def restaurants(self) -> str:
        """The address of its restaurants."""
        return self.address.table_url("restaurants")

    def prepare(self) -> tuple[str, ...]:
        """Make the tables that are missing; their names."""
        with open_client(self.address) as client:
            existing = {
                table.table_id for table in client.list_tables(f"{self.address.project}.{self.address.dataset}")
            }
            missing = {
                name: statement
                for name, statement in statements.table_definitions(self.address).items()
                if name not in existing
            }
            for statement in missing.values():
                execute_dml(client, statement, {})
        return tuple(missing)

    def load_restaurants(self, restaurants: pl.DataFrame) -> LoadResult:
        """Add or replace these restaurants; of one that is there only the columns that are given change."""
        declared_columns = [name for name in RESTAURANT_COLUMNS if name in restaurants.columns]
        extra_columns = [name for name in restaurants.columns if name not in declared_columns]
        rows = restaurants.select(declared_columns).with_columns(encode_extra(restaurants, extra_columns))
        with open_client(self.address) as client, staging_table(client, self.address, rows.schema) as staging:
            append_rows(client, self.address, staging, [rows])
            columns = [*declared_columns, EXTRA] if extra_columns else declared_columns
            self._record_column_names(client, "restaurants", restaurants.columns)
            new, updated = execute_dml(client, statements.merge_restaurants(self.address, staging, columns), {})
        return LoadResult(
            rows=len(rows), inserted=new, updated=updated, unchanged=len(rows) - new - updated, duplicates=0
        )

    def load_orders(
        self, chunks: Iterable[pl.DataFrame], columns: Sequence[str], progress: ProgressCallback | None
    ) -> LoadResult:
        """Add or complete orders: everything that `chunks` gives, or nothing."""
        with (
            open_client(self.address) as client,
            staging_table(client, self.address, statements.STAGED_ORDERS_SCHEMA) as staging,
        ):
            rows = append_rows(client, self.address, staging, _with_line_numbers(chunks))
            if not rows:
                raise NoStorableRowsError
            if progress:
                progress("Merging", 0.0)
            duplicate_counts = query_frame(
                client,
                statements.count_duplicates(self.address, staging),
                {},
                pl.Schema({"duplicates": pl.Int64()}),
            )
            repeated = int(duplicate_counts["duplicates"][0])
            self._record_column_names(client, "orders", columns)
            new, updated = execute_dml(client, statements.merge_orders(self.address, staging), {})
        if progress:
            progress("Merging", 1.0)
        unchanged = rows - repeated - new - updated
        return LoadResult(rows=rows, inserted=new, updated=updated, unchanged=unchanged, duplicates=repeated)

    def _record_column_names(self, client: bigquery.Client, table: str, names: Sequence[str]) -> None:
        recorded = read_column_names(client, self.address, table)
        missing = [name for name in names if name not in recorded]
        if not missing:
            return
        parameters: QueryParameters = {"table": table}
        for index, name in enumerate(missing):
            parameters |= {f"position{index}": len(recorded) + index, f"name{index}": name}
        execute_dml(client, statements.insert_column_names(self.address, len(missing)), parameters)


def open_bigquery_database(url: str) -> BigQueryDatabase:
    """The dataset of an address; nothing is asked of it yet."""
    return BigQueryDatabase(BigQueryAddress.parse(url))


def _with_line_numbers(chunks: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    rows_before = 0
    for chunk in chunks:
        yield chunk.with_columns((pl.int_range(pl.len()) + rows_before).alias(statements.LINE_NUMBER))
        rows_before += len(chunk)
