"""What addresses of databases may name: a table, and local days."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from preptime.errors import UsageError

TABLES = ("orders", "restaurants", "predictions")
"""The first is meant where none is named."""


@dataclass(frozen=True)
class Days:
    """Local days from the first to the last."""

    first: dt.date
    last: dt.date

    @classmethod
    def parse(cls, text: str) -> Days:
        """`2015-06-24`, or `2015-06-01..2015-06-07`. Raises `UsageError`."""
        first, separator, last = text.partition("..")
        try:
            return cls(dt.date.fromisoformat(first), dt.date.fromisoformat(last if separator else first))
        except ValueError as error:
            raise UsageError(
                f"day={text} is no day.", "Write day=2015-06-24, or day=2015-06-01..2015-06-07."
            ) from error

    def __str__(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first}..{self.last}"

    def __contains__(self, day: dt.date) -> bool:
        return self.first <= day <= self.last

    def within(self, others: Days | None) -> Days:
        """The days that are also among `others`; all of them when there are none to compare with."""
        return self if others is None else Days(max(self.first, others.first), min(self.last, others.last))


def named_table(name: str | None) -> str:
    """The table that an address means. Raises `UsageError` for one that there is not."""
    table = name or TABLES[0]
    if table not in TABLES:
        raise UsageError(f"There is no table={table}.", f"The tables are {', '.join(TABLES)}.")
    return table
