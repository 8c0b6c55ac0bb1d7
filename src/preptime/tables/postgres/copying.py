"""COPY in and out, in csv, which Polars and PostgreSQL both write and read quickly and exactly."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

import polars as pl
from psycopg import sql

from preptime.tables.postgres.session import Connection

_TIMESTAMP_FORMAT = "%Y-%m-%d %H:%M:%S%.6f"


def copy_in(connection: Connection, table: sql.Composable, rows: pl.DataFrame) -> None:
    """Append rows to a table, by the names of their columns."""
    names = sql.SQL(", ").join(map(sql.Identifier, rows.columns))
    command = sql.SQL("COPY {table} ({names}) FROM STDIN (FORMAT csv)").format(table=table, names=names)
    text = rows.write_csv(include_header=False, datetime_format=_TIMESTAMP_FORMAT, quote_style="non_numeric")
    with connection.cursor() as cursor, cursor.copy(command) as copy:
        copy.write(text)


def copy_out(
    connection: Connection, query: sql.Composed, schema: Mapping[str, pl.DataType], chunk_rows: int
) -> Iterator[pl.DataFrame]:
    """What a query gives, in chunks of at most `rows`. Memory holds one chunk: the server waits while it is used."""
    command = sql.SQL("COPY ({query}) TO STDOUT (FORMAT csv)").format(query=query)
    with connection.cursor() as cursor, cursor.copy(command) as copy:
        messages = iter(copy)
        # The protocol promises one message for each row.
        while lines := list(islice(messages, chunk_rows)):
            yield pl.read_csv(io.BytesIO(b"".join(lines)), has_header=False, schema=pl.Schema(schema))


def read_column_names(connection: Connection, table: str) -> tuple[str, ...]:
    """The columns that people have given a table, in the order in which they came."""
    rows = connection.execute(
        "SELECT column_name FROM preptime.columns WHERE table_name = %s ORDER BY position", [table]
    )
    return tuple(str(name) for (name,) in rows)


def record_column_names(connection: Connection, table: str, names: Sequence[str]) -> None:
    """Remember that a table has these columns."""
    recorded = read_column_names(connection, table)
    missing = [name for name in names if name not in recorded]
    for position, name in enumerate(missing, start=len(recorded)):
        connection.execute(
            "INSERT INTO preptime.columns (table_name, position, column_name) VALUES (%s, %s, %s)",
            [table, position, name],
        )
