"""Addresses of tables in PostgreSQL: libpq's own, with what we add to them taken out."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit

from preptime.tables.days import TABLE_NAMES, DateRange, resolve_table_name

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
