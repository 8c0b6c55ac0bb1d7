"""Reading and loading of orders and restaurants in BigQuery.

Rows are read by local day, page by page. A load writes its rows to a staging table of its own, and one atomic statement
merges them.
"""

from __future__ import annotations

import datetime as dt
import io
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import polars as pl
from google.cloud import bigquery

from preptime.errors import DataError
from preptime.progress import ProgressCallback
from preptime.schema.schema import Schema
from preptime.sources.bigquery import statements
from preptime.sources.bigquery.client import BigQueryAddress, QueryParameters, open_client, query_config
from preptime.sources.bigquery.statements import bigquery_type
from preptime.sources.database import (
    ORDERS_TABLE,
    PREDICTIONS_TABLE,
    RESTAURANTS_TABLE,
    ColumnNames,
    Database,
    DatabaseSource,
    MergeCounts,
    feature_names_table,
    readable_columns,
    source_columns,
)
from preptime.sources.database_schema import (
    EXTRA,
    FEATURES,
    ORDER_DATE,
    decode_features,
    expand_json,
    is_declared,
    stored_type,
)

_STAGING_EXPIRY_HOURS = 24
"""BigQuery deletes a staging table of a killed load after this time."""
_PAGE_ROWS = 50_000
_DECODERS = {FEATURES: decode_features, EXTRA: expand_json}
_UPGRADED_TABLES = (RESTAURANTS_TABLE, ORDERS_TABLE, PREDICTIONS_TABLE)
_INTEGER_TYPES = ("INTEGER", "INT64")
_OLD_VALUE_COLUMN = "order_value_gbp"


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
    feature_types: Mapping[str, pl.DataType]
    snapshot_time: dt.datetime

    def days(self) -> list[dt.date]:
        """Return the local days that have orders, in order."""
        statement = statements.select_days(self.address, ORDERS_TABLE, ORDER_DATE)
        return list(query_frame(self.client, statement, {}, pl.Schema({ORDER_DATE: pl.Date()}))[ORDER_DATE])

    def iter_rows(self, day: dt.date | None, chunk_rows: int) -> Iterator[pl.DataFrame]:
        """Yield the orders of a day, or all restaurants without a day, in chunks of at most `chunk_rows`."""
        table = self.address.table
        types = {name: stored_type(table, name, self.feature_types) for name in self.columns}
        schema = pl.Schema({name: types[name] for name in self.columns if is_declared(table, name)})
        members: dict[str, dict[str, pl.DataType]] = {}
        for name in self.columns:
            if name not in schema:
                members.setdefault(FEATURES if name in self.feature_types else EXTRA, {})[name] = types[name]
        schema = pl.Schema(schema | dict.fromkeys(members, pl.String()))
        parameters: QueryParameters = {}
        if day is None:
            statement = statements.select_restaurants(self.address, schema.names())
        else:
            statement = statements.select_orders(self.address, schema.names())
            parameters = {"day": day, "as_of": self.snapshot_time}
        for page in iter_pages(self.client, statement, parameters, schema, chunk_rows):
            columns = [cells for column, types in members.items() for cells in _DECODERS[column](page[column], types)]
            yield page.with_columns(columns).select(self.columns)


@dataclass(frozen=True)
class BigQuerySource(DatabaseSource):
    """A table of a BigQuery dataset as a data source."""

    default_chunk_rows = _PAGE_ROWS

    address: BigQueryAddress

    @contextmanager
    def _open_reader(self) -> Iterator[BigQueryReader]:
        with open_client(self.address) as client:
            yield BigQueryReader(client, self.address, self.columns, self.feature_types, _server_time(client))


def _server_time(client: bigquery.Client) -> dt.datetime:
    """Return the time of the server. By a slow clock of this machine, the rows of the last load would be missing."""
    schema = pl.Schema({"server_time": pl.Datetime("us", "UTC")})
    time: dt.datetime = query_frame(client, statements.SERVER_TIME, {}, schema).item()
    return time


def open_bigquery_source(url: str, schema: Schema) -> BigQuerySource:
    """Open the table at a URL. Its rows have `schema.canonical()`.

    Raises `UsageError`, `DataError`, or `OperationError` if it can't be read.
    """
    address = BigQueryAddress.parse(url)
    readable_columns(address.table)
    with open_client(address) as client:
        recorded = {
            table: read_column_names(client, address, table)
            for table in (address.table, feature_names_table(address.table))
        }
        if _has_integer_ids(client, address, address.table):
            raise DataError(
                f"{address.database_url} was created by an older version of preptime.",
                f"To upgrade it, run: preptime ingest --to {address.shell_quoted_url}",
            )
    return BigQuerySource(address, source_columns(address, schema, recorded), schema.canonical())


def _has_integer_ids(client: bigquery.Client, address: BigQueryAddress, table: str) -> bool:
    """Return whether a table was created by a version of preptime that stored restaurant identifiers as integers."""
    fields = client.get_table(f"{address.project}.{address.dataset}.{table}").schema
    return any(field.name == "restaurant_id" and field.field_type in _INTEGER_TYPES for field in fields)


def _upgrade_tables(client: bigquery.Client, address: BigQueryAddress, tables: Sequence[str]) -> None:
    """Upgrade tables to text identifiers and the column `order_value`. A repeated upgrade continues a stopped one."""
    if ORDERS_TABLE in tables and _OLD_VALUE_COLUMN in read_column_names(client, address, ORDERS_TABLE):
        # The recorded names come first. A reader of an old table then fails, and gets no wrong value.
        for old, new in (("order_value", "order_value_other"), (_OLD_VALUE_COLUMN, "order_value")):
            execute_dml(client, statements.rename_recorded_column(address), {"old": old, "new": new})
    for table in tables:
        execute_dml(client, statements.upgrade_table(address, table), {})


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

    def merge_restaurants(self, columns: Sequence[str], names: ColumnNames, *, replace: bool) -> MergeCounts:
        """Insert new restaurants, and record names. With `replace`, replace `columns` of existing ones."""
        self._record(names)
        features = names[feature_names_table(RESTAURANTS_TABLE)]
        statement = statements.merge_restaurants(self._address, self._name, columns, features, replace=replace)
        return execute_dml(self._client, statement, {})

    def _record(self, names: ColumnNames) -> None:
        for table, columns in names.items():
            record_column_names(self._client, self._address, table, columns)

    def merge_orders(self, names: ColumnNames, progress: ProgressCallback) -> MergeCounts:
        """Insert new orders, complete existing ones, and record names."""
        del progress  # BigQuery queues concurrent merges itself and doesn't report progress
        statement = statements.count_duplicates(self._address, self._name)
        duplicates = query_frame(self._client, statement, {}, pl.Schema({"duplicates": pl.Int64()})).item()
        self._record(names)
        features = names[feature_names_table(ORDERS_TABLE)]
        counts = execute_dml(self._client, statements.merge_orders(self._address, self._name, features), {})
        return counts._replace(duplicates=duplicates)


@dataclass(frozen=True)
class BigQueryDatabase(Database):
    """A BigQuery dataset to load into. It must exist, because its owner chooses its location."""

    address: BigQueryAddress

    def prepare(self) -> tuple[str, ...]:
        """Create the missing tables and views, upgrade old ones, and return their names."""
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
            upgraded = [
                table
                for table in _UPGRADED_TABLES
                if table in existing and _has_integer_ids(client, self.address, table)
            ]
            _upgrade_tables(client, self.address, upgraded)
        return (*missing, *upgraded)

    def recorded_names(self, table: str) -> tuple[str, ...]:
        """Return the recorded names of a table."""
        with open_client(self.address) as client:
            return read_column_names(client, self.address, table)

    @contextmanager
    def _open_staging(self, table: str, schema: pl.Schema) -> Iterator[BigQueryStaging]:
        del table  # only the schema matters
        numbered_schema = pl.Schema({**schema, statements.LINE_NUMBER: pl.Int64()})
        with open_client(self.address) as client, staging_table(client, self.address, numbered_schema) as name:
            yield BigQueryStaging(client, self.address, name)


def open_bigquery_database(url: str) -> BigQueryDatabase:
    """Return the dataset at a URL, without connecting to it."""
    return BigQueryDatabase(BigQueryAddress.parse(url))
