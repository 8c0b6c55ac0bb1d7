"""Addresses of tables in PostgreSQL: libpq's own, with what we add to them taken out."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit

from preptime.tables.days import TABLES, Days, named_table

_OURS = ("table", "day")
_SECRET = ("password", "sslpassword")


@dataclass(frozen=True)
class Address:
    """`postgresql://user@host/database?table=orders&day=2015-06-24`: whatever libpq understands, and `table`, `day`."""

    conninfo: str
    """For libpq. May hold a password: never shown."""
    table: str
    days: Days | None

    @classmethod
    def parse(cls, url: str) -> Address:
        """Raises `UsageError` for a table or day that cannot be."""
        parts = urlsplit(url)
        given = parse_qsl(parts.query, keep_blank_values=True)
        ours = {name: value for name, value in given if name in _OURS}
        table = named_table(ours.get("table"))
        day = ours.get("day")
        rest = [(name, value) for name, value in given if name not in _OURS]
        return cls(_joined(parts, rest), table, None if day is None else Days.parse(day))

    @property
    def name(self) -> str:
        """The address for people, and to open again: without password."""
        return self.of(self.table, self.days)

    def of(self, table: str, days: Days | None = None) -> str:
        """The address of a table of this database, without password."""
        parts = urlsplit(self.conninfo)
        user, at, host = parts.netloc.rpartition("@")
        shown = parts._replace(netloc=user.partition(":")[0] + at + host)
        query = [(name, value) for name, value in parse_qsl(parts.query) if name not in _SECRET]
        if table != TABLES[0]:
            query.append(("table", table))
        if days is not None:
            query.append(("day", str(days)))
        return _joined(shown, query)

    def on(self, days: Days) -> Address:
        """The same table on these days only."""
        return replace(self, days=days)

    def secret_of(self, table: str) -> str:
        """The address of a table of this database as it was given, password and all."""
        parts = urlsplit(self.conninfo)
        return _joined(parts, [*parse_qsl(parts.query, keep_blank_values=True), ("table", table)])

    @property
    def database(self) -> str:
        """The database's own address, without password, table or day."""
        return self.of(TABLES[0])

    @property
    def quoted(self) -> str:
        """The database's address as a shell takes it, for commands in hints."""
        return shlex.quote(self.database)

    @property
    def given(self) -> dict[str, str]:
        """What the address says to libpq beside where, by name."""
        return dict(parse_qsl(urlsplit(self.conninfo).query))

    @property
    def dbname(self) -> str:
        """The database's name, or nothing where libpq has to know it."""
        return unquote(urlsplit(self.conninfo).path.lstrip("/"))


def _joined(parts: SplitResult, query: list[tuple[str, str]]) -> str:
    # Not `geturl`, which leaves out the // of an address without host.
    text = urlencode(query, quote_via=quote, safe="/")
    return f"postgresql://{parts.netloc}{parts.path}" + (f"?{text}" if text else "")
