"""Addresses of tables in PostgreSQL: libpq's own, with what we add to them taken out.

Connections, and what a server says translated into our errors.

COPY in and out, in csv, which Polars and PostgreSQL both write and read quickly and exactly.
"""

from __future__ import annotations

import io
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit

import polars as pl
import psycopg
from psycopg import errors, sql
from psycopg.conninfo import make_conninfo

from preptime.errors import DataError, OperationError, PreptimeError, UsageError
from preptime.sources.database import TABLE_NAMES, DateRange, resolve_table_name

_OWN_PARAMETERS = ("table", "day")
_SECRET_PARAMETERS = ("password", "sslpassword")


@dataclass(frozen=True)
class PostgresAddress:
    """`postgresql://user@host/database?table=orders&day=2015-06-24`: whatever libpq understands, and `table`, `day`."""

    conninfo: str
    """For libpq. May hold a password: never shown."""
    table: str
    days: DateRange | None

    @classmethod
    def parse(cls, url: str) -> PostgresAddress:
        """Raises `UsageError` for a table or day that cannot be."""
        parts = urlsplit(url)
        parameters = parse_qsl(parts.query, keep_blank_values=True)
        own_parameters = {name: value for name, value in parameters if name in _OWN_PARAMETERS}
        table = resolve_table_name(own_parameters.get("table"))
        day = own_parameters.get("day")
        libpq_parameters = [(name, value) for name, value in parameters if name not in _OWN_PARAMETERS]
        return cls(_build_url(parts, libpq_parameters), table, None if day is None else DateRange.parse(day))

    @property
    def name(self) -> str:
        """The address for people, and to open again: without password."""
        return self.table_url(self.table, self.days)

    def table_url(self, table: str, days: DateRange | None = None) -> str:
        """The address of a table of this database, without password."""
        parts = urlsplit(self.conninfo)
        user, separator, host = parts.netloc.rpartition("@")
        parts_without_password = parts._replace(netloc=user.partition(":")[0] + separator + host)
        query = [(name, value) for name, value in parse_qsl(parts.query) if name not in _SECRET_PARAMETERS]
        if table != TABLE_NAMES[0]:
            query.append(("table", table))
        if days is not None:
            query.append(("day", str(days)))
        return _build_url(parts_without_password, query)

    def for_days(self, days: DateRange) -> PostgresAddress:
        """The same table on these days only."""
        return replace(self, days=days)

    def table_url_with_password(self, table: str) -> str:
        """The address of a table of this database as it was given, password and all."""
        parts = urlsplit(self.conninfo)
        return _build_url(parts, [*parse_qsl(parts.query, keep_blank_values=True), ("table", table)])

    @property
    def database_url(self) -> str:
        """The database's own address, without password, table or day."""
        return self.table_url(TABLE_NAMES[0])

    @property
    def shell_quoted_url(self) -> str:
        """The database's address as a shell takes it, for commands in hints."""
        return shlex.quote(self.database_url)

    @property
    def connection_parameters(self) -> dict[str, str]:
        """What the address says to libpq beside where, by name."""
        return dict(parse_qsl(urlsplit(self.conninfo).query))

    @property
    def database_name(self) -> str:
        """The database's name, or nothing where libpq has to know it."""
        return unquote(urlsplit(self.conninfo).path.lstrip("/"))


def _build_url(parts: SplitResult, query: list[tuple[str, str]]) -> str:
    # Not `geturl`, which leaves out the // of an address without host.
    text = urlencode(query, quote_via=quote, safe="/")
    return f"postgresql://{parts.netloc}{parts.path}" + (f"?{text}" if text else "")


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
