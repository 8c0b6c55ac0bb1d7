"""Predictions in PostgreSQL, with one partition for each date."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import polars as pl
from psycopg import sql

from preptime.sources.database import PREDICTIONS_TABLE
from preptime.sources.postgres.connection import Connection, PostgresAddress, copy_in, copy_out, open_transaction
from preptime.sources.postgres.migrate import create_partitions, partition_dates, require_current_schema
from preptime.sources.predictions import BUNDLE_COLUMN, DATE_COLUMN, POSITION_COLUMN, STORED_SCHEMA, PredictionStore

PREDICTIONS_LOCK_KEY = 0x70726571
"""The key of an advisory lock: only one process writes at a time, so that a date has the predictions of one of them."""
_CHUNK_ROWS = 250_000
_PREDICTIONS_IDENTIFIER = sql.Identifier("preptime", PREDICTIONS_TABLE)


@dataclass(frozen=True)
class PostgresPredictionStore(PredictionStore):
    """The predictions of a PostgreSQL database."""

    address: PostgresAddress

    def days(self) -> list[dt.date]:
        """Return the dates that have predictions, oldest first."""
        with open_transaction(self.address) as connection:
            require_current_schema(connection, self.address)
            return [day for day in partition_dates(connection, PREDICTIONS_TABLE) if _has_rows(connection, day)]

    def _replace(self, day: dt.date, bundle: str, rows: pl.DataFrame) -> None:
        with open_transaction(self.address, write=True) as connection:
            require_current_schema(connection, self.address)
            connection.execute("SELECT pg_advisory_xact_lock(%s)", [PREDICTIONS_LOCK_KEY])
            create_partitions(connection, PREDICTIONS_TABLE, [day])
            connection.execute(
                _build_query(sql.SQL("DELETE FROM {table} WHERE {date} = {day}{bundle_filter}"), day, bundle)
            )
            for chunk in rows.iter_slices(_CHUNK_ROWS):
                copy_in(connection, _PREDICTIONS_IDENTIFIER, chunk)

    def _select(self, day: dt.date, bundle: str | None) -> pl.DataFrame:
        columns = sql.SQL(", ").join(map(sql.Identifier, STORED_SCHEMA))
        query = _build_query(
            sql.SQL("SELECT {columns} FROM {table} WHERE {date} = {day}{bundle_filter}"), day, bundle, columns
        )
        query += sql.SQL(" ORDER BY {}, {}").format(sql.Identifier(BUNDLE_COLUMN), sql.Identifier(POSITION_COLUMN))
        with open_transaction(self.address) as connection:
            require_current_schema(connection, self.address)
            chunks = list(copy_out(connection, query, STORED_SCHEMA, _CHUNK_ROWS))
        return pl.concat(chunks) if chunks else pl.DataFrame(schema=STORED_SCHEMA)


def open_postgres_prediction_store(url: str) -> PostgresPredictionStore:
    """Return the predictions of the database at a URL, without connecting to it."""
    return PostgresPredictionStore(PostgresAddress.parse(url))


def _build_query(
    template: sql.SQL, day: dt.date, bundle: str | None, columns: sql.Composable | None = None
) -> sql.Composed:
    bundle_filter = (
        sql.SQL(" AND {} = {}").format(sql.Identifier(BUNDLE_COLUMN), sql.Literal(bundle)) if bundle else sql.SQL("")
    )
    return template.format(
        columns=columns or sql.SQL(""),
        table=_PREDICTIONS_IDENTIFIER,
        date=sql.Identifier(DATE_COLUMN),
        day=sql.Literal(day),
        bundle_filter=bundle_filter,
    )


def _has_rows(connection: Connection, day: dt.date) -> bool:
    query = _build_query(sql.SQL("SELECT EXISTS (SELECT FROM {table} WHERE {date} = {day}{bundle_filter})"), day, None)
    return bool(connection.execute(query).fetchall()[0][0])
