"""The schema, as numbered files that are applied once, in order, by whoever comes first."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import resources
from typing import LiteralString

from preptime.errors import DataError
from preptime.tables.postgres.address import Address
from preptime.tables.postgres.session import Connection, connected, not_prepared

LOCK = 0x70726570
"""The advisory lock under which one at a time changes the schema or loads."""


@dataclass(frozen=True)
class Migration:
    """One numbered file."""

    number: int
    name: str
    sql: str

    @property
    def digest(self) -> str:
        """SHA-256 of its text: a file that was applied may not change any more."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def migrations() -> tuple[Migration, ...]:
    """All of them, in order."""
    folder = resources.files("preptime.tables.postgres") / "migrations"
    files = sorted((one for one in folder.iterdir() if one.name.endswith(".sql")), key=lambda one: one.name)
    return tuple(Migration(int(one.name[:4]), one.name, one.read_text(encoding="utf-8")) for one in files)


def migrate(address: Address) -> tuple[str, ...]:
    """Apply what the database has not got yet, all or nothing; the names of what was applied.

    Raises `DataError` when it was made by a newer preptime or from other files.
    """
    with connected(address, write=True) as connection:
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
        # Asked first: `IF NOT EXISTS` wants the right to make what is there already.
        if _is_null(connection, "to_regnamespace('preptime')"):
            connection.execute("CREATE SCHEMA preptime")
        connection.execute(
            "CREATE TABLE IF NOT EXISTS preptime.migrations (number integer PRIMARY KEY, name text NOT NULL, "
            "sha256 text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
        )
        there = _applied(connection)
        _check(address, there)
        missing = [one for one in migrations() if one.number not in there]
        for one in missing:
            connection.execute(one.sql.encode())
            connection.execute(
                "INSERT INTO preptime.migrations (number, name, sha256) VALUES (%s, %s, %s)",
                [one.number, one.name, one.digest],
            )
        return tuple(one.name for one in missing)


def require_current(connection: Connection, address: Address) -> None:
    """Raises `DataError` unless the database has exactly the schema of this preptime."""
    if _is_null(connection, "to_regclass('preptime.migrations')"):
        raise not_prepared(address)
    there = _applied(connection)
    _check(address, there)
    behind = [one.name for one in migrations() if one.number not in there]
    if behind:
        raise DataError(
            f"{address.database} lacks the migration{'s' if len(behind) > 1 else ''} {', '.join(behind)}.",
            f"Apply them: preptime ingest --to {address.quoted}",
        )


def _is_null(connection: Connection, expression: LiteralString) -> bool:
    return bool(connection.execute(f"SELECT {expression} IS NULL").fetchall()[0][0])


def _applied(connection: Connection) -> dict[int, str]:
    rows = connection.execute("SELECT number, sha256 FROM preptime.migrations").fetchall()
    return {int(str(number)): str(digest) for number, digest in rows}


def _check(address: Address, there: dict[int, str]) -> None:
    ours = {one.number: one for one in migrations()}
    unknown = sorted(there.keys() - ours.keys())
    if unknown:
        raise DataError(
            f"{address.database} was made by a newer preptime (migration {unknown[-1]}; this one knows {max(ours)}).",
            "Use that version.",
        )
    other = next((one.name for number, one in ours.items() if number in there and there[number] != one.digest), None)
    if other is not None:
        raise DataError(
            f"{address.database} was made from another {other} than this preptime has.",
            "A migration never changes once it is applied: use an unchanged copy of preptime.",
        )
