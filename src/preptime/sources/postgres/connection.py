"""Addresses and connections of PostgreSQL, and `COPY` of frames.

Errors of the server are translated to errors of preptime. `COPY` uses CSV, which both Polars and PostgreSQL read and
write quickly and exactly.
"""

from __future__ import annotations

import io
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from urllib.parse import SplitResult, quote, unquote, urlencode, urlsplit

import polars as pl
import psycopg
from psycopg import errors, sql
from psycopg.conninfo import make_conninfo
from psycopg.pq import Conninfo

from preptime.errors import DataError, OperationError, PreptimeError, UsageError
from preptime.network import split_url
from preptime.redaction import HIDDEN, is_shown_parameter, redact_address, remember_secrets
from preptime.sources.database import TABLE_NAMES, DatabaseAddress, DateRange, first_message_line, resolve_table_name

_OWN_PARAMETERS = ("table", "day")
_UNESCAPED = re.compile(r"[/?#@\s]|%(?![0-9A-Fa-f]{2})")
"""What a user name or a password contains only percent-encoded."""
_ESCAPE_HINT = (
    "Write @ as %40, / as %2F, ? as %3F, # as %23, % as %25, and a space as %20, or set the password in PGPASSWORD."
)


@dataclass(frozen=True)
class PostgresAddress(DatabaseAddress):
    """A libpq URL with the parameters `table` and `day`: `postgresql://user@host/database?table=orders&day=2015-06-24`."""

    conninfo: str = field(repr=False)
    """The URL for libpq. It can contain a password: never show it."""

    @classmethod
    def parse(cls, url: str) -> PostgresAddress:
        """Parse a URL. Raises `UsageError` for an invalid one, an unknown table, or an invalid day."""
        remember_secrets(url)
        _require_escaped(url)
        parts = split_url(url)
        parameters = _parse_query(parts)
        _require_known_parameters(url, parameters)
        own_parameters = {name: value for name, value in parameters if name in _OWN_PARAMETERS}
        table = resolve_table_name(own_parameters.get("table"))
        day = own_parameters.get("day")
        libpq_parameters = [(name, value) for name, value in parameters if name not in _OWN_PARAMETERS]
        return cls(table, None if day is None else DateRange.parse(day), _build_url(parts, libpq_parameters))

    def table_url(self, table: str, days: DateRange | None = None) -> str:
        """Return the address of a table of this database, without a password."""
        parts = urlsplit(self.conninfo)
        user, separator, host = parts.netloc.rpartition("@")
        parts_without_password = parts._replace(netloc=user.partition(":")[0] + separator + host)
        query = [(name, value) for name, value in _parse_query(parts) if is_shown_parameter(name, value)]
        if table != TABLE_NAMES[0]:
            query.append(("table", table))
        if days is not None:
            query.append(("day", str(days)))
        return _build_url(parts_without_password, query)

    def table_url_with_password(self, table: str) -> str:
        """Return the address of a table of this database, with the password if there is one."""
        parts = urlsplit(self.conninfo)
        return _build_url(parts, [*_parse_query(parts), ("table", table)])

    @property
    def connection_parameters(self) -> dict[str, str]:
        """The connection parameters in the query of the URL, by name."""
        return dict(_parse_query(urlsplit(self.conninfo)))

    @property
    def database_name(self) -> str:
        """The name of the database, or an empty string if libpq uses its default."""
        return unquote(urlsplit(self.conninfo).path.lstrip("/"))


def _require_escaped(url: str) -> None:
    """Raise `UsageError` if libpq would split the URL in the middle of a password, and show a part of it."""
    rest = url.partition("://")[2]
    problem = ""
    if "#" in rest or _UNESCAPED.search(rest.rpartition("@")[0]):
        problem = "it contains a character that isn't percent-encoded"
    elif redact_address(url).endswith(HIDDEN) and "?" not in rest:
        problem = "its host or its port isn't valid"
    if problem:
        raise UsageError(f"{redact_address(url)} isn't a valid address: {problem}.", _ESCAPE_HINT)


def _require_known_parameters(url: str, parameters: list[tuple[str, str]]) -> None:
    known = {*_OWN_PARAMETERS, "ssl", *(option.keyword.decode() for option in Conninfo.get_defaults())}
    unknown = next(((name, value) for name, value in parameters if name not in known), None)
    if unknown is not None:
        name = f" {unknown[0]}" if all(unknown) else ""  # without a value, the name can be a part of a secret
        raise UsageError(
            f"{redact_address(url)} isn't a valid address: unknown parameter{name}.",
            "For the format of addresses, see docs/databases.md.",
        )


def _parse_query(parts: SplitResult) -> list[tuple[str, str]]:
    """Return the parameters as libpq reads them: unlike in a web form, + isn't a space."""
    pairs = (pair.partition("=") for pair in parts.query.split("&") if pair)
    return [(unquote(name), unquote(value)) for name, _, value in pairs]


def _build_url(parts: SplitResult, query: list[tuple[str, str]]) -> str:
    # `geturl` would omit the // of a URL without a host.
    text = urlencode(query, quote_via=quote, safe="/")
    return f"postgresql://{parts.netloc}{parts.path}" + (f"?{text}" if text else "")


Connection = psycopg.Connection[tuple[object, ...]]

_CONNECT_TIMEOUT_SECONDS = 10
"""A server that takes longer is down or behind a firewall. By default, libpq waits for minutes."""
LOCK_TIMEOUT = "10min"
"""How long a load waits for another one, as a PostgreSQL setting. A large load takes one or two minutes."""
_TRANSACTION_SETTINGS = (
    b"SET LOCAL TimeZone = 'UTC'; SET LOCAL DateStyle = 'ISO, YMD'; SET LOCAL extra_float_digits = 1"
)
"""The format in which times, dates, and floats are written and read. The server, the role, the address, and `PGTZ` can
set others. Unlike a startup option, a statement also works behind a connection pooler. It takes no snapshot."""


@contextmanager
def open_transaction(address: PostgresAddress, *, write: bool = False) -> Iterator[Connection]:
    """Open a transaction that is committed when the block ends and rolled back by any exception.

    A transaction without `write` sees the database as of its first query, whatever is committed meanwhile. Raises
    `UsageError`, `DataError`, or `OperationError` for errors of the server or the connection.
    """
    with _translate_errors(address, "written" if write else "read"), _open_connection(address) as connection:
        if not write:
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            connection.read_only = True
        connection.execute(_TRANSACTION_SETTINGS)
        if write:
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
            f"{address.name} isn't a valid address: {first_message_line(error)}.",
            "For the format of addresses, see docs/databases.md.",
        ) from error
    except psycopg.OperationalError as error:
        raise _connection_error(address, error) from error
    with connection:
        yield connection


def _connection_error(address: PostgresAddress, error: psycopg.Error) -> PreptimeError:
    message = first_message_line(error)
    if "password" in message:
        return UsageError(
            f"{address.database_url} rejected the password: {message}.",
            "Set the password in ~/.pgpass, in PGPASSWORD, or in the address.",
        )
    if f'database "{address.database_name}" does not exist' in message:
        return UsageError(
            f"There is no database {address.database_name!r} at {address.database_url}.",
            f"To create it, run: {_createdb_command(address)}",
        )
    if 'role "' in message and "does not exist" in message:
        return UsageError(f"{address.database_url}: {message}.", "Use the name of an existing user.")
    return OperationError(
        f"{address.database_url} can't be reached: {message}.",
        "Nothing was changed. Start the server or check the address, and then run the command again.",
    )


def _createdb_command(address: PostgresAddress) -> str:
    """Return the command that creates the database on its server, quoted for a shell."""
    server_url = urlsplit(address.database_url)._replace(path="/postgres")
    url = _build_url(server_url, _parse_query(server_url))
    return f"createdb --maintenance-db={shlex.quote(url)} {shlex.quote(address.database_name)}"


@contextmanager
def _translate_errors(address: PostgresAddress, action: str) -> Iterator[None]:
    try:
        yield
    except (errors.InvalidSchemaName, errors.UndefinedTable, errors.UndefinedColumn) as error:
        raise missing_schema_error(address) from error
    except errors.InsufficientPrivilege as error:
        raise UsageError(
            f"{address.database_url}: {first_message_line(error)}.",
            "Ask the owner of the database for the permission.",
        ) from error
    except (errors.SerializationFailure, errors.DeadlockDetected, errors.LockNotAvailable) as error:
        raise OperationError(
            f"{address.database_url} is being changed by another process ({first_message_line(error)}).",
            "Nothing was stored. Run the command again.",
        ) from error
    except errors.DiskFull as error:
        raise OperationError(
            f"{address.database_url}: {first_message_line(error)}.",
            "Nothing was stored. Free disk space on the server, and then run the command again.",
        ) from error
    except psycopg.DataError as error:
        raise DataError(
            f"{address.database_url} rejected a value: {first_message_line(error)}.",
            "Nothing was stored. Correct the value and run the command again.",
        ) from error
    except psycopg.Error as error:
        raise _operation_error(address, error, action) from error


def _operation_error(address: PostgresAddress, error: psycopg.Error, action: str) -> OperationError:
    message = first_message_line(error)
    # An `ERROR` of the server, such as a timeout or a limit, leaves the connection intact.
    is_refusal = error.diag.severity_nonlocalized == "ERROR"
    if not is_refusal and isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError)):
        return OperationError(
            f"The connection to {address.database_url} was lost while it was {action}: {message}.",
            "No data was lost or partially written. Run the command again when the server is available.",
        )
    remedy = " ".join((error.diag.message_hint or "").split())
    if isinstance(error, errors.QueryCanceled):
        remedy = "If the message names a timeout, increase that setting for the user."
    hint = f"{remedy.rstrip('.')}. Then run the command again." if remedy else "Run the command again."
    return OperationError(f"{address.database_url} couldn't be {action}: {message}.", f"Nothing was stored. {hint}")


def missing_schema_error(address: PostgresAddress) -> DataError:
    """Return the error for a database without the tables of preptime."""
    return DataError(
        f"{address.database_url} has no tables of preptime.",
        f"To create them, run: preptime ingest ORDERS --restaurants RESTAURANTS --to {address.shell_quoted_url}",
    )


_TIMESTAMP_FORMAT = "%Y-%m-%d %H:%M:%S%.6f"


def copy_in(connection: Connection, table: sql.Composable, rows: pl.DataFrame) -> None:
    """Append rows to a table. Columns are matched by name."""
    names = sql.SQL(", ").join(map(sql.Identifier, rows.columns))
    command = sql.SQL("COPY {table} ({names}) FROM STDIN (FORMAT csv)").format(table=table, names=names)
    with connection.cursor() as cursor, cursor.copy(command) as copy:
        copy.write(rows.write_csv(include_header=False, datetime_format=_TIMESTAMP_FORMAT, quote_style="non_numeric"))


def copy_out(
    connection: Connection, query: sql.Composed, schema: Mapping[str, pl.DataType], chunk_rows: int
) -> Iterator[pl.DataFrame]:
    """Yield the rows of a query in chunks of at most `chunk_rows`. Memory holds one chunk while the server waits."""
    command = sql.SQL("COPY ({query}) TO STDOUT (FORMAT csv)").format(query=query)
    with connection.cursor() as cursor, cursor.copy(command) as copy:
        messages = iter(copy)
        # The protocol guarantees one message for each row.
        while lines := list(islice(messages, chunk_rows)):
            yield pl.read_csv(io.BytesIO(b"".join(lines)), has_header=False, schema=pl.Schema(schema))


def read_column_names(connection: Connection, table: str) -> tuple[str, ...]:
    """Return the columns of the files that were loaded into a table, in the order in which they first appeared."""
    rows = connection.execute(
        "SELECT column_name FROM preptime.columns WHERE table_name = %s ORDER BY position", [table]
    )
    return tuple(str(name) for (name,) in rows)


def record_column_names(connection: Connection, table: str, names: Sequence[str]) -> None:
    """Record the columns of a file that is loaded into a table."""
    recorded = read_column_names(connection, table)
    missing = [name for name in names if name not in recorded]
    for position, name in enumerate(missing, start=len(recorded)):
        connection.execute(
            "INSERT INTO preptime.columns (table_name, position, column_name) VALUES (%s, %s, %s)",
            [table, position, name],
        )
