"""Schema migrations and daily partitions of PostgreSQL.

Migrations are numbered files that are applied once, in order. A partition is created when its day gets its first row.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from typing import LiteralString

from psycopg import sql

from preptime.errors import DataError
from preptime.sources.postgres.connection import Connection, PostgresAddress, missing_schema_error, open_transaction

SCHEMA_LOCK_KEY = 0x70726570
"""The key of the advisory lock: only one process at a time changes the schema or loads."""


@dataclass(frozen=True)
class Migration:
    """A numbered file of SQL."""

    number: int
    name: str
    sql: str

    @property
    def digest(self) -> str:
        """The SHA-256 hash of the text. A file must not change after it was applied."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def list_migrations() -> tuple[Migration, ...]:
    """Return all migrations, in order."""
    folder = resources.files("preptime.sources.postgres") / "migrations"
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".sql")), key=lambda file: file.name)
    return tuple(Migration(int(file.name[:4]), file.name, file.read_text(encoding="utf-8")) for file in files)


def migrate(address: PostgresAddress) -> tuple[str, ...]:
    """Apply the missing migrations, all or nothing, and return their names.

    Raises `DataError` if the database was created by a newer version of preptime or from other files.
    """
    with open_transaction(address, write=True) as connection:
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [SCHEMA_LOCK_KEY])
        # `CREATE SCHEMA IF NOT EXISTS` requires the permission to create it even if it exists.
        if _is_null(connection, "to_regnamespace('preptime')"):
            connection.execute("CREATE SCHEMA preptime")
        connection.execute(
            "CREATE TABLE IF NOT EXISTS preptime.migrations (number integer PRIMARY KEY, name text NOT NULL, "
            "sha256 text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
        )
        applied = _read_applied(connection)
        _require_known_migrations(address, applied)
        missing = [migration for migration in list_migrations() if migration.number not in applied]
        for migration in missing:
            connection.execute(migration.sql.encode())
            connection.execute(
                "INSERT INTO preptime.migrations (number, name, sha256) VALUES (%s, %s, %s)",
                [migration.number, migration.name, migration.digest],
            )
        return tuple(migration.name for migration in missing)


def require_current_schema(connection: Connection, address: PostgresAddress) -> None:
    """Check that the database has exactly the schema of this version. Raises `DataError` otherwise."""
    if _is_null(connection, "to_regclass('preptime.migrations')"):
        raise missing_schema_error(address)
    applied = _read_applied(connection)
    _require_known_migrations(address, applied)
    missing = [migration.name for migration in list_migrations() if migration.number not in applied]
    if missing:
        raise DataError(
            f"{address.database_url} lacks the migration{'s' if len(missing) > 1 else ''} {', '.join(missing)}.",
            f"To apply them, run: preptime ingest --to {address.shell_quoted_url}",
        )


def _is_null(connection: Connection, expression: LiteralString) -> bool:
    return bool(connection.execute(f"SELECT {expression} IS NULL").fetchall()[0][0])


def _read_applied(connection: Connection) -> dict[int, str]:
    rows = connection.execute("SELECT number, sha256 FROM preptime.migrations").fetchall()
    return {int(str(number)): str(digest) for number, digest in rows}


def _require_known_migrations(address: PostgresAddress, applied: dict[int, str]) -> None:
    known = {migration.number: migration for migration in list_migrations()}
    unknown = sorted(applied.keys() - known.keys())
    if unknown:
        raise DataError(
            f"{address.database_url} was created by a newer version of preptime: it has migration {unknown[-1]}, and "
            f"this version has {max(known)}.",
            "Upgrade preptime to that version.",
        )
    changed = next(
        (
            migration.name
            for number, migration in known.items()
            if number in applied and applied[number] != migration.digest
        ),
        None,
    )
    if changed is not None:
        raise DataError(
            f"{address.database_url} was created from a different version of {changed}.",
            "Applied migrations must not change. Install an unmodified copy of preptime.",
        )


def partition_name(table: str, day: dt.date) -> str:
    """Return the name of the partition of a day."""
    return f"{table}_{day:%Y%m%d}"


def partition_dates(connection: Connection, table: str) -> list[dt.date]:
    """Return the days that a table has partitions for, oldest first, from the catalog and without reading rows."""
    rows = connection.execute(
        "SELECT right(child.relname, 8) FROM pg_inherits "
        "JOIN pg_class child ON child.oid = inhrelid WHERE inhparent = to_regclass(%s) ORDER BY 1",
        [f"preptime.{table}"],
    )
    return [dt.date.fromisoformat(str(day)) for (day,) in rows]


def create_partitions(connection: Connection, table: str, days: Iterable[dt.date]) -> None:
    """Create the missing partitions.

    A table is created and then attached, which doesn't block readers of other partitions. `CREATE … PARTITION OF` waits
    for them and blocks all other queries meanwhile.
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
