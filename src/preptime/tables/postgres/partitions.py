"""Partitions: one table for each day, made when its first row comes."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable

from psycopg import sql

from preptime.tables.postgres.session import Connection


def partition_name(table: str, day: dt.date) -> str:
    """The name of a day's partition."""
    return f"{table}_{day:%Y%m%d}"


def partition_dates(connection: Connection, table: str) -> list[dt.date]:
    """The days that a table has partitions for, oldest first. Asks the catalogue, so no row is looked at."""
    rows = connection.execute(
        "SELECT right(child.relname, 8) FROM pg_inherits "
        "JOIN pg_class child ON child.oid = inhrelid WHERE inhparent = to_regclass(%s) ORDER BY 1",
        [f"preptime.{table}"],
    )
    return [dt.date.fromisoformat(str(day)) for (day,) in rows]


def create_partitions(connection: Connection, table: str, days: Iterable[dt.date]) -> None:
    """Make the partitions that are missing.

    A table is made and then attached, which lets those who are reading the others go on; `CREATE … PARTITION OF` would
    wait for them and keep everybody else waiting behind itself.
    """
    existing = set(partition_dates(connection, table))
    for day in sorted(set(days) - existing):
        names = {
            "parent": sql.Identifier("preptime", table),
            "child": sql.Identifier("preptime", partition_name(table, day)),
        }
        for statement in (
            "CREATE TABLE {child} (LIKE {parent} INCLUDING ALL)",
            "ALTER TABLE {parent} ATTACH PARTITION {child} FOR VALUES IN ({day})",
        ):
            connection.execute(sql.SQL(statement).format(day=sql.Literal(day), **names))
