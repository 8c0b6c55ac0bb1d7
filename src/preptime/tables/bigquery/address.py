"""Addresses of tables in BigQuery."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, replace
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from preptime.errors import UsageError
from preptime.tables.days import TABLE_NAMES, DateRange, resolve_table_name

_DATASET_PATTERN = re.compile(r"(?P<project>[a-z][a-z0-9.:-]*)\.(?P<dataset>[A-Za-z0-9_]+)")
_PARAMETERS = ("table", "day", "location")


@dataclass(frozen=True)
class BigQueryAddress:
    """`bigquery://project.dataset?table=orders&day=2015-06-24&location=EU`; no secret has a place in it."""

    project: str
    dataset: str
    table: str
    days: DateRange | None
    location: str | None

    @classmethod
    def parse(cls, url: str) -> BigQueryAddress:
        """Raises `UsageError` for what is no address."""
        parts = urlsplit(url)
        match = _DATASET_PATTERN.fullmatch(parts.netloc)
        parameters = dict(parse_qsl(parts.query, keep_blank_values=True))
        unknown = sorted(parameters.keys() - set(_PARAMETERS))
        if match is None or parts.path.strip("/") or unknown:
            problem = f"{unknown[0]} is nothing that it can say" if unknown else "it names no project and dataset"
            raise UsageError(f"{url} is no address: {problem}.", "Write bigquery://project.dataset?table=orders.")
        day = parameters.get("day")
        return cls(
            match["project"],
            match["dataset"],
            resolve_table_name(parameters.get("table")),
            None if day is None else DateRange.parse(day),
            parameters.get("location"),
        )

    @property
    def name(self) -> str:
        """The address, to show and to open again."""
        return self.table_url(self.table, self.days)

    def table_url(self, table: str, days: DateRange | None = None) -> str:
        """The address of a table of this dataset."""
        query = {} if table == TABLE_NAMES[0] else {"table": table}
        query |= {} if days is None else {"day": str(days)}
        query |= {} if self.location is None else {"location": self.location}
        return f"bigquery://{self.project}.{self.dataset}" + (f"?{urlencode(query, quote_via=quote)}" if query else "")

    @property
    def database_url(self) -> str:
        """The dataset's own address."""
        return self.table_url(TABLE_NAMES[0])

    def for_days(self, days: DateRange) -> BigQueryAddress:
        """The same table on these days only."""
        return replace(self, days=days)

    @property
    def shell_quoted_url(self) -> str:
        """The dataset's address as a shell takes it, for commands in hints."""
        return shlex.quote(self.database_url)

    def sql_name(self, table: str) -> str:
        """What the table is called in SQL."""
        return f"`{self.project}.{self.dataset}.{table}`"
