"""Predictions in PostgreSQL, a partition for each date."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import polars as pl
from psycopg import sql

from preptime.tables.postgres.address import Address
from preptime.tables.postgres.copying import copy_in, copy_out
from preptime.tables.postgres.migrate import require_current
from preptime.tables.postgres.partitions import days_of, make_partitions
from preptime.tables.postgres.session import Connection, connected
from preptime.tables.predictions import BUNDLE, DATE, POSITION, STORED_SCHEMA, from_stored, to_store

LOCK = 0x70726571
"""One writer at a time: two that score the same date must leave one of the two, whole."""
_ROWS = 250_000
_TABLE = sql.Identifier("preptime", "predictions")


@dataclass(frozen=True)
class PostgresPredictions:
    """The predictions of a database: `preptime.tables.predictions.Predictions`."""

    address: Address

    @property
    def name(self) -> str:
        """The address without password."""
        return self.address.of("predictions")

    def write(self, day: dt.date, bundle: str, frame: pl.DataFrame) -> int:
        """Replace what is there for this date and bundle; the rows written."""
        rows = to_store(day, bundle, frame)
        with connected(self.address, write=True) as connection:
            require_current(connection, self.address)
            connection.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
            make_partitions(connection, "predictions", [day])
            connection.execute(_of(sql.SQL("DELETE FROM {table} WHERE {date} = {day}{of_bundle}"), day, bundle))
            for chunk in rows.iter_slices(_ROWS):
                copy_in(connection, _TABLE, chunk)
        return len(rows)

    def read(self, day: dt.date, bundle: str | None = None) -> pl.DataFrame:
        """What was written for a date."""
        columns = sql.SQL(", ").join(map(sql.Identifier, STORED_SCHEMA))
        query = _of(sql.SQL("SELECT {columns} FROM {table} WHERE {date} = {day}{of_bundle}"), day, bundle, columns)
        query += sql.SQL(" ORDER BY {}, {}").format(sql.Identifier(BUNDLE), sql.Identifier(POSITION))
        with connected(self.address) as connection:
            require_current(connection, self.address)
            chunks = list(copy_out(connection, query, STORED_SCHEMA, _ROWS))
        return from_stored(pl.concat(chunks) if chunks else pl.DataFrame(schema=STORED_SCHEMA))

    def days(self) -> list[dt.date]:
        """The dates that have predictions, oldest first."""
        with connected(self.address) as connection:
            require_current(connection, self.address)
            return [day for day in days_of(connection, "predictions") if _has_rows(connection, day)]


def open_postgres_predictions(url: str) -> PostgresPredictions:
    """The predictions of the database at an address; nothing is asked of it yet."""
    return PostgresPredictions(Address.parse(url))


def _of(text: sql.SQL, day: dt.date, bundle: str | None, columns: sql.Composable | None = None) -> sql.Composed:
    of_bundle = sql.SQL(" AND {} = {}").format(sql.Identifier(BUNDLE), sql.Literal(bundle)) if bundle else sql.SQL("")
    return text.format(
        columns=columns or sql.SQL(""),
        table=_TABLE,
        date=sql.Identifier(DATE),
        day=sql.Literal(day),
        of_bundle=of_bundle,
    )


def _has_rows(connection: Connection, day: dt.date) -> bool:
    query = _of(sql.SQL("SELECT EXISTS (SELECT FROM {table} WHERE {date} = {day}{of_bundle})"), day, None)
    return bool(connection.execute(query).fetchall()[0][0])
