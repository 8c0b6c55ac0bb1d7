"""Rows out of BigQuery as frames, and frames into a table that a statement then merges."""

from __future__ import annotations

import datetime as dt
import io
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import polars as pl
from google.cloud import bigquery

from preptime.tables.bigquery.address import BigQueryAddress
from preptime.tables.bigquery.client import QueryParameters, query_config
from preptime.tables.bigquery.statements import bigquery_type

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
