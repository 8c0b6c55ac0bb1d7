"""Connections, and what a server says translated into our errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import errors
from psycopg.conninfo import make_conninfo

from preptime.errors import DataError, FaultError, PreptimeError, UsageError
from preptime.tables.postgres.address import Address

Connection = psycopg.Connection[tuple[object, ...]]

_CONNECT_SECONDS = 10
"""A server that takes longer is down or behind a wall; libpq by itself would wait for minutes."""
WAIT = "10min"
"""How long a load waits for another one, in PostgreSQL's words: a large one takes a minute or two."""


@contextmanager
def connected(address: Address, *, write: bool = False) -> Iterator[Connection]:
    """A transaction: committed at the end, rolled back by any exception.

    A reading one sees the database as it was at its first look, whatever others commit meanwhile.
    Raises `UsageError`, `DataError` or `FaultError` for whatever the server or the way to it says no to.
    """
    with _translated(address, "written" if write else "read"), _opened(address) as connection:
        if not write:
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            connection.read_only = True
        else:
            connection.execute("SELECT set_config('lock_timeout', %s, true)", [WAIT])
        yield connection


@contextmanager
def _opened(address: Address) -> Iterator[Connection]:
    defaults = {"connect_timeout": str(_CONNECT_SECONDS), "application_name": "preptime"}
    settings = {name: value for name, value in defaults.items() if name not in address.given}
    try:
        connection = psycopg.connect(make_conninfo(address.conninfo, client_encoding="utf8", **settings))
    except psycopg.ProgrammingError as error:
        raise UsageError(f"{address.name} is no address: {_first_line(error)}.", "See docs/databases.md.") from error
    except psycopg.OperationalError as error:
        raise _unreachable(address, error) from error
    with connection:
        yield connection


def _unreachable(address: Address, error: psycopg.Error) -> PreptimeError:
    said = _first_line(error)
    if "password" in said:
        return UsageError(
            f"{address.database} refused the password: {said}.",
            "Give it in the address, in PGPASSWORD or in ~/.pgpass.",
        )
    if f'database "{address.dbname}" does not exist' in said:
        return UsageError(f"There is no database {address.dbname!r} at {address.database}.", "Make it: createdb.")
    if 'role "' in said and "does not exist" in said:
        return UsageError(f"{address.database}: {said}.", "Name a user that the server knows.")
    return FaultError(
        f"{address.database} cannot be reached: {said}.", "Nothing was changed; run again when the server answers."
    )


@contextmanager
def _translated(address: Address, doing: str) -> Iterator[None]:
    try:
        yield
    except (errors.InvalidSchemaName, errors.UndefinedTable, errors.UndefinedColumn) as error:
        raise not_prepared(address) from error
    except errors.InsufficientPrivilege as error:
        raise UsageError(f"{address.database}: {_first_line(error)}.", "Ask its owner for the permission.") from error
    except (errors.SerializationFailure, errors.DeadlockDetected, errors.LockNotAvailable) as error:
        raise FaultError(
            f"{address.database} is being changed by someone else ({_first_line(error)}).",
            "Nothing of this run was kept; run again.",
        ) from error
    except errors.DiskFull as error:
        raise FaultError(
            f"{address.database}: {_first_line(error)}.", "Nothing of this run was kept; make room and run again."
        ) from error
    except psycopg.DataError as error:
        raise DataError(f"{address.database} refused a value: {_first_line(error)}.", "Nothing was kept.") from error
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        raise FaultError(
            f"The connection to {address.database} was lost while it was {doing}: {_first_line(error)}.",
            "Nothing was lost and nothing half-written; run again when the server answers.",
        ) from error
    except psycopg.Error as error:
        raise FaultError(
            f"{address.database} could not be {doing}: {_first_line(error)}.", "Nothing of this run was kept."
        ) from error


def not_prepared(address: Address) -> DataError:
    """What is said of a database that has not got our tables."""
    return DataError(
        f"{address.database} has no tables of preptime.",
        f"Make and fill them: preptime ingest ORDERS --restaurants RESTAURANTS --to {address.quoted}",
    )


def _first_line(error: psycopg.Error) -> str:
    """The server's own words, one sentence of them."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error).__name__
