"""Addresses of tables in BigQuery."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, replace
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from preptime.errors import UsageError
from preptime.tables.days import TABLES, Days, named_table

_DATASET = re.compile(r"(?P<project>[a-z][a-z0-9.:-]*)\.(?P<dataset>[A-Za-z0-9_]+)")
_KNOWN = ("table", "day", "location")


@dataclass(frozen=True)
class Address:
    """`bigquery://project.dataset?table=orders&day=2015-06-24&location=EU`; no secret has a place in it."""

    project: str
    dataset: str
    table: str
    days: Days | None
    location: str | None

    @classmethod
    def parse(cls, url: str) -> Address:
        """Raises `UsageError` for what is no address."""
        parts = urlsplit(url)
        found = _DATASET.fullmatch(parts.netloc)
        given = dict(parse_qsl(parts.query, keep_blank_values=True))
        unknown = sorted(given.keys() - set(_KNOWN))
        if found is None or parts.path.strip("/") or unknown:
            what = f"{unknown[0]} is nothing that it can say" if unknown else "it names no project and dataset"
            raise UsageError(f"{url} is no address: {what}.", "Write bigquery://project.dataset?table=orders.")
        day = given.get("day")
        return cls(
            found["project"],
            found["dataset"],
            named_table(given.get("table")),
            None if day is None else Days.parse(day),
            given.get("location"),
        )

    @property
    def name(self) -> str:
        """The address, to show and to open again."""
        return self.of(self.table, self.days)

    def of(self, table: str, days: Days | None = None) -> str:
        """The address of a table of this dataset."""
        query = {} if table == TABLES[0] else {"table": table}
        query |= {} if days is None else {"day": str(days)}
        query |= {} if self.location is None else {"location": self.location}
        return f"bigquery://{self.project}.{self.dataset}" + (f"?{urlencode(query, quote_via=quote)}" if query else "")

    @property
    def database(self) -> str:
        """The dataset's own address."""
        return self.of(TABLES[0])

    def on(self, days: Days) -> Address:
        """The same table on these days only."""
        return replace(self, days=days)

    @property
    def quoted(self) -> str:
        """The dataset's address as a shell takes it, for commands in hints."""
        return shlex.quote(self.database)

    def path(self, table: str) -> str:
        """What the table is called in SQL."""
        return f"`{self.project}.{self.dataset}.{table}`"
