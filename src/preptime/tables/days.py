"""What addresses of databases may name: a table, and local days."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from preptime.errors import UsageError

TABLE_NAMES = ("orders", "restaurants", "predictions")
"""The first is meant where none is named."""


@dataclass(frozen=True)
class DateRange:
    """Local days from the first to the last."""

    first: dt.date
    last: dt.date

    @classmethod
    def parse(cls, text: str) -> DateRange:
        """`2015-06-24`, or `2015-06-01..2015-06-07`. Raises `UsageError`."""
        first_text, separator, last_text = text.partition("..")
        try:
            return cls(dt.date.fromisoformat(first_text), dt.date.fromisoformat(last_text if separator else first_text))
        except ValueError as error:
            raise UsageError(
                f"day={text} is no day.", "Write day=2015-06-24, or day=2015-06-01..2015-06-07."
            ) from error

    def __str__(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first}..{self.last}"

    def __contains__(self, date: dt.date) -> bool:
        return self.first <= date <= self.last

    def intersection(self, other: DateRange | None) -> DateRange:
        """The days that are also among `others`; all of them when there are none to compare with."""
        return self if other is None else DateRange(max(self.first, other.first), min(self.last, other.last))


def resolve_table_name(name: str | None) -> str:
    """The table that an address means. Raises `UsageError` for one that there is not."""
    table = name or TABLE_NAMES[0]
    if table not in TABLE_NAMES:
        raise UsageError(f"There is no table={table}.", f"The tables are {', '.join(TABLE_NAMES)}.")
    return table
