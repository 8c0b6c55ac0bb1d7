"""Rows out of BigQuery as frames, and frames into a table that a statement then merges.

Reading orders and restaurants from BigQuery, day by day, in pages.

Loading into BigQuery: into a table of this load's own, then merged by one atomic statement.
"""

from __future__ import annotations

import datetime as dt
import io
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import polars as pl
from google.cloud import bigquery

from preptime.domain.data_dictionary import FILE_COLUMN, ROW_COLUMN
from preptime.sources.bigquery import statements
from preptime.sources.bigquery.client import BigQueryAddress, QueryParameters, open_client, query_config
from preptime.sources.bigquery.statements import bigquery_type
from preptime.sources.database import (
    ORDERS_TABLE,
    DatabaseSource,
    DateRange,
    LoadResult,
    NoStorableRowsError,
    readable_columns,
)
from preptime.sources.database_schema import (
    EXTRA,
    ORDER_DATE,
    RESTAURANT_COLUMNS,
    encode_extra,
    expand_json,
    is_declared,
    stored_type,
)

_STAGING_EXPIRY_HOURS = 24
"""A table that a killed load has left behind goes by itself after this long."""


def iter_pages(
    client: bigquery.Client, statement: str, parameters: QueryParameters, schema: pl.Schema, page_rows: int
) -> Iterator[pl.DataFrame]:
    """What a query gives, in the server's pages: at most `rows`, fewer where they would be too many bytes."""
    result = client.query_and_wait(statement, job_config=query_config(parameters), page_size=page_rows)
    for page in result.pages:
        values = [row.values() for row in page]
        if values:
            yield pl.DataFrame(values, schema, orient="row")


def query_frame(
    client: bigquery.Client, statement: str, parameters: QueryParameters, schema: pl.Schema
) -> pl.DataFrame:
    """Everything that a query gives."""
    frames = list(iter_pages(client, statement, parameters, schema, 50_000))
    return pl.concat(frames) if frames else pl.DataFrame(schema=schema)


def execute_dml(client: bigquery.Client, statement: str, parameters: QueryParameters) -> tuple[int, int]:
    """Run a statement that changes a table; how many rows it has added and changed."""
    job = client.query(statement, job_config=query_config(parameters))
    job.result()
    stats = job.dml_stats
    return (stats.inserted_row_count or 0, stats.updated_row_count or 0) if stats is not None else (0, 0)


@contextmanager
def staging_table(client: bigquery.Client, address: BigQueryAddress, schema: pl.Schema) -> Iterator[str]:
    """The name of an empty table of this load's own, which goes with the block."""
    name = f"staging_{secrets.token_hex(8)}"
    fields = [bigquery.SchemaField(column, bigquery_type(data_type)) for column, data_type in schema.items()]
    table = bigquery.Table(f"{address.project}.{address.dataset}.{name}", schema=fields)
    table.expires = dt.datetime.now(dt.UTC) + dt.timedelta(hours=_STAGING_EXPIRY_HOURS)
    client.create_table(table)
    try:
        yield name
    finally:
        client.delete_table(table, not_found_ok=True)


def append_rows(client: bigquery.Client, address: BigQueryAddress, table: str, chunks: Iterable[pl.DataFrame]) -> int:
    """Load frames into a table, one job each; the rows."""
    rows = 0
    for chunk in chunks:
        if chunk.is_empty():
            continue
        buffer = io.BytesIO()
        chunk.write_parquet(buffer)
        size = buffer.tell()
        config = bigquery.LoadJobConfig(
            source_format=bigquery.SourceFormat.PARQUET,
            write_disposition=bigquery.WriteDisposition.WRITE_APPEND,
            schema=[bigquery.SchemaField(name, bigquery_type(data_type)) for name, data_type in chunk.schema.items()],
        )
        target = f"{address.project}.{address.dataset}.{table}"
        client.load_table_from_file(buffer, target, rewind=True, size=size, job_config=config).result()
        rows += len(chunk)
    return rows


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
