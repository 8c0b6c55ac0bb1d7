"""Connections, and what a server says translated into our errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import errors
from psycopg.conninfo import make_conninfo

from preptime.errors import DataError, OperationError, PreptimeError, UsageError
from preptime.tables.postgres.address import PostgresAddress

Connection = psycopg.Connection[tuple[object, ...]]

_CONNECT_TIMEOUT_SECONDS = 10
"""A server that takes longer is down or behind a wall; libpq by itself would wait for minutes."""
LOCK_TIMEOUT = "10min"
"""How long a load waits for another one, in PostgreSQL's words: a large one takes a minute or two."""


@contextmanager
def open_transaction(address: PostgresAddress, *, write: bool = False) -> Iterator[Connection]:
    """A transaction: committed at the end, rolled back by any exception.

    A reading one sees the database as it was at its first look, whatever others commit meanwhile.
    Raises `UsageError`, `DataError` or `OperationError` for whatever the server or the way to it says no to.
    """
    with _translate_errors(address, "written" if write else "read"), _open_connection(address) as connection:
        if not write:
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            connection.read_only = True
        else:
            connection.execute("SELECT set_config('lock_timeout', %s, true)", [LOCK_TIMEOUT])
        yield connection


@contextmanager
def _open_connection(address: PostgresAddress) -> Iterator[Connection]:
    defaults = {"connect_timeout": str(_CONNECT_TIMEOUT_SECONDS), "application_name": "preptime"}
    settings = {name: value for name, value in defaults.items() if name not in address.connection_parameters}
    try:
        connection = psycopg.connect(make_conninfo(address.conninfo, client_encoding="utf8", **settings))
    except psycopg.ProgrammingError as error:
        raise UsageError(
            f"{address.name} is no address: {_first_message_line(error)}.", "See docs/databases.md."
        ) from error
    except psycopg.OperationalError as error:
        raise _connection_error(address, error) from error
    with connection:
        yield connection


def _connection_error(address: PostgresAddress, error: psycopg.Error) -> PreptimeError:
    message = _first_message_line(error)
    if "password" in message:
        return UsageError(
            f"{address.database_url} refused the password: {message}.",
            "Give it in the address, in PGPASSWORD or in ~/.pgpass.",
        )
    if f'database "{address.database_name}" does not exist' in message:
        return UsageError(
            f"There is no database {address.database_name!r} at {address.database_url}.", "Make it: createdb."
        )
    if 'role "' in message and "does not exist" in message:
        return UsageError(f"{address.database_url}: {message}.", "Name a user that the server knows.")
    return OperationError(
        f"{address.database_url} cannot be reached: {message}.",
        "Nothing was changed; run again when the server answers.",
    )


@contextmanager
def _translate_errors(address: PostgresAddress, action: str) -> Iterator[None]:
    try:
        yield
    except (errors.InvalidSchemaName, errors.UndefinedTable, errors.UndefinedColumn) as error:
        raise missing_schema_error(address) from error
    except errors.InsufficientPrivilege as error:
        raise UsageError(
            f"{address.database_url}: {_first_message_line(error)}.", "Ask its owner for the permission."
        ) from error
    except (errors.SerializationFailure, errors.DeadlockDetected, errors.LockNotAvailable) as error:
        raise OperationError(
            f"{address.database_url} is being changed by someone else ({_first_message_line(error)}).",
            "Nothing of this run was kept; run again.",
        ) from error
    except errors.DiskFull as error:
        raise OperationError(
            f"{address.database_url}: {_first_message_line(error)}.",
            "Nothing of this run was kept; make room and run again.",
        ) from error
    except psycopg.DataError as error:
        raise DataError(
            f"{address.database_url} refused a value: {_first_message_line(error)}.", "Nothing was kept."
        ) from error
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        raise OperationError(
            f"The connection to {address.database_url} was lost while it was {action}: {_first_message_line(error)}.",
            "Nothing was lost and nothing half-written; run again when the server answers.",
        ) from error
    except psycopg.Error as error:
        raise OperationError(
            f"{address.database_url} could not be {action}: {_first_message_line(error)}.",
            "Nothing of this run was kept.",
        ) from error


def missing_schema_error(address: PostgresAddress) -> DataError:
    """What is said of a database that has not got our tables."""
    return DataError(
        f"{address.database_url} has no tables of preptime.",
        f"Make and fill them: preptime ingest ORDERS --restaurants RESTAURANTS --to {address.shell_quoted_url}",
    )


def _first_message_line(error: psycopg.Error) -> str:
    """The server's own words, one sentence of them."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error).__name__
