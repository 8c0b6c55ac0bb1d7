"""Reading and loading of orders and restaurants in BigQuery.

Rows are read by local day, page by page. A load writes its rows to a staging table of its own, and one atomic statement
merges them.
"""

from __future__ import annotations

import datetime as dt
import io
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import polars as pl
from google.cloud import bigquery

from preptime.progress import ProgressCallback
from preptime.sources.bigquery import statements
from preptime.sources.bigquery.client import BigQueryAddress, QueryParameters, open_client, query_config
from preptime.sources.bigquery.statements import bigquery_type
from preptime.sources.database import (
    ORDERS_TABLE,
    RESTAURANTS_TABLE,
    Database,
    DatabaseSource,
    MergeCounts,
    readable_columns,
)
from preptime.sources.database_schema import EXTRA, ORDER_DATE, expand_json, is_declared, stored_type

_STAGING_EXPIRY_HOURS = 24
"""BigQuery deletes a staging table of a killed load after this time."""
_PAGE_ROWS = 50_000


def iter_pages(
    client: bigquery.Client, statement: str, parameters: QueryParameters, schema: pl.Schema, page_rows: int
) -> Iterator[pl.DataFrame]:
    """Yield the result of a query in pages of at most `page_rows`. The server sends fewer rows if they are large."""
    result = client.query_and_wait(statement, job_config=query_config(parameters), page_size=page_rows)
    for page in result.pages:
        values = [row.values() for row in page]
        if values:
            yield pl.DataFrame(values, schema, orient="row")


def query_frame(
    client: bigquery.Client, statement: str, parameters: QueryParameters, schema: pl.Schema
) -> pl.DataFrame:
    """Return the result of a query."""
    frames = list(iter_pages(client, statement, parameters, schema, _PAGE_ROWS))
    return pl.concat(frames) if frames else pl.DataFrame(schema=schema)


def execute_dml(client: bigquery.Client, statement: str, parameters: QueryParameters) -> MergeCounts:
    """Run a statement that changes a table, and return the number of inserted and updated rows."""
    job = client.query(statement, job_config=query_config(parameters))
    job.result()
    stats = job.dml_stats
    return MergeCounts(stats.inserted_row_count or 0, stats.updated_row_count or 0) if stats else MergeCounts(0, 0)


@contextmanager
def staging_table(client: bigquery.Client, address: BigQueryAddress, schema: pl.Schema) -> Iterator[str]:
    """Create an empty staging table, yield its name, and delete it when the block ends."""
    name = f"staging_{secrets.token_hex(8)}"
    table = bigquery.Table(f"{address.project}.{address.dataset}.{name}", schema=_schema_fields(schema))
    table.expires = dt.datetime.now(dt.UTC) + dt.timedelta(hours=_STAGING_EXPIRY_HOURS)
    client.create_table(table)
    try:
        yield name
    finally:
        client.delete_table(table, not_found_ok=True)


def append_rows(client: bigquery.Client, address: BigQueryAddress, table: str, rows: pl.DataFrame) -> None:
    """Append rows to a table with one load job."""
    if rows.is_empty():
        return
    buffer = io.BytesIO()
    rows.write_parquet(buffer)
    size = buffer.tell()
    config = bigquery.LoadJobConfig(
        source_format=bigquery.SourceFormat.PARQUET,
        write_disposition=bigquery.WriteDisposition.WRITE_APPEND,
        schema=_schema_fields(rows.schema),
    )
    target = f"{address.project}.{address.dataset}.{table}"
    client.load_table_from_file(buffer, target, rewind=True, size=size, job_config=config).result()


def _schema_fields(schema: pl.Schema) -> list[bigquery.SchemaField]:
    return [bigquery.SchemaField(name, bigquery_type(data_type)) for name, data_type in schema.items()]


@dataclass(frozen=True)
class BigQueryReader:
    """Queries of a table as of one point in time (`preptime.sources.database.DatabaseReader`)."""

    client: bigquery.Client
    address: BigQueryAddress
    columns: tuple[str, ...]
    snapshot_time: dt.datetime

    def days(self) -> list[dt.date]:
        """Return the local days that have orders, in order."""
        statement = statements.select_days(self.address, ORDERS_TABLE, ORDER_DATE)
        return list(query_frame(self.client, statement, {}, pl.Schema({ORDER_DATE: pl.Date()}))[ORDER_DATE])

    def iter_rows(self, day: dt.date | None, chunk_rows: int) -> Iterator[pl.DataFrame]:
        """Yield the orders of a day, or all restaurants without a day, in chunks of at most `chunk_rows`."""
        table = self.address.table
        schema = pl.Schema({name: stored_type(table, name) for name in self.columns if is_declared(table, name)})
        extra_columns = [name for name in self.columns if name not in schema]
        if extra_columns:
            schema[EXTRA] = pl.String()
        parameters: QueryParameters = {}
        if day is None:
            statement = statements.select_restaurants(self.address, schema.names())
        else:
            statement = statements.select_orders(self.address, schema.names())
            parameters = {"day": day, "as_of": self.snapshot_time}
        for page in iter_pages(self.client, statement, parameters, schema, chunk_rows):
            rows = page.with_columns(expand_json(page[EXTRA], extra_columns, pl.String())) if extra_columns else page
            yield rows.select(self.columns)


@dataclass(frozen=True)
class BigQuerySource(DatabaseSource):
    """A table of a BigQuery dataset as a data source."""

    default_chunk_rows = _PAGE_ROWS

    address: BigQueryAddress

    @contextmanager
    def _open_reader(self) -> Iterator[BigQueryReader]:
        with open_client(self.address) as client:
            yield BigQueryReader(client, self.address, self.columns, dt.datetime.now(dt.UTC))


def open_bigquery_source(url: str) -> BigQuerySource:
    """Open the table at a URL. Raises `UsageError`, `DataError`, or `OperationError` if it can't be read."""
    address = BigQueryAddress.parse(url)
    declared = readable_columns(address.table)
    with open_client(address) as client:
        return BigQuerySource(address, read_column_names(client, address, address.table) or declared)


def read_column_names(client: bigquery.Client, address: BigQueryAddress, table: str) -> tuple[str, ...]:
    """Return the columns of the files that were loaded into a table, in the order in which they first appeared."""
    schema = pl.Schema({"column_name": pl.String()})
    return tuple(query_frame(client, statements.select_column_names(address), {"table": table}, schema)["column_name"])


def record_column_names(client: bigquery.Client, address: BigQueryAddress, table: str, names: Sequence[str]) -> None:
    """Record the columns of a file that is loaded into a table."""
    recorded = read_column_names(client, address, table)
    missing = [name for name in names if name not in recorded]
    if not missing:
        return
    parameters: QueryParameters = {"table": table}
    for index, name in enumerate(missing):
        parameters |= {f"position{index}": len(recorded) + index, f"name{index}": name}
    execute_dml(client, statements.insert_column_names(address, len(missing)), parameters)


class BigQueryStaging:
    """The staging table of one load (`preptime.sources.database.StagingTable`)."""

    def __init__(self, client: bigquery.Client, address: BigQueryAddress, name: str) -> None:
        self._client = client
        self._address = address
        self._name = name
        self._row_count = 0

    def append(self, rows: pl.DataFrame) -> None:
        """Add rows."""
        line_numbers = (pl.int_range(pl.len()) + self._row_count).alias(statements.LINE_NUMBER)
        append_rows(self._client, self._address, self._name, rows.with_columns(line_numbers))
        self._row_count += len(rows)

    def merge_restaurants(self, columns: Sequence[str], file_columns: Sequence[str]) -> MergeCounts:
        """Insert new restaurants, replace `columns` of existing ones, and record the names of the file's columns."""
        record_column_names(self._client, self._address, RESTAURANTS_TABLE, file_columns)
        return execute_dml(self._client, statements.merge_restaurants(self._address, self._name, columns), {})

    def merge_orders(self, file_columns: Sequence[str], progress: ProgressCallback) -> MergeCounts:
        """Insert new orders, complete existing ones, and record the names of the file's columns."""
        del progress  # BigQuery queues concurrent merges itself and doesn't report progress
        statement = statements.count_duplicates(self._address, self._name)
        duplicates = query_frame(self._client, statement, {}, pl.Schema({"duplicates": pl.Int64()})).item()
        record_column_names(self._client, self._address, ORDERS_TABLE, file_columns)
        counts = execute_dml(self._client, statements.merge_orders(self._address, self._name), {})
        return counts._replace(duplicates=duplicates)


@dataclass(frozen=True)
class BigQueryDatabase(Database):
    """A BigQuery dataset to load into. It must exist, because its owner chooses its location."""

    address: BigQueryAddress

    def prepare(self) -> tuple[str, ...]:
        """Create the missing tables and views, and return their names."""
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

    @contextmanager
    def _open_staging(self, table: str, schema: pl.Schema) -> Iterator[BigQueryStaging]:
        del table  # only the schema matters
        numbered_schema = pl.Schema({**schema, statements.LINE_NUMBER: pl.Int64()})
        with open_client(self.address) as client, staging_table(client, self.address, numbered_schema) as name:
            yield BigQueryStaging(client, self.address, name)


def open_bigquery_database(url: str) -> BigQueryDatabase:
    """Return the dataset at a URL, without connecting to it."""
    return BigQueryDatabase(BigQueryAddress.parse(url))
