"""Orders as people look at them: a slim table, and a choice of its rows. `preptime.tables.looks` says what is seen."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import numpy as np
import polars as pl

from preptime.domain.dictionary import TARGET
from preptime.domain.fence import upper_fence
from preptime.domain.verdict import Purpose, Reason, mask
from preptime.features.directory import Directory
from preptime.tables.audit import Audited, audit
from preptime.tables.report import CheckReport, summary
from preptime.tables.table import Table

UNKNOWN_LABEL = "(unknown)"
"""A city, country or type of food that nothing tells."""

MOST_ROWS = 1_000_000
"""How many orders are looked at: a month of a large city, read in 5 s and within 400 MB (measured, parquet)."""

_BATCH_ROWS = 100_000
_CATEGORIES = ("country", "city", "type_of_food")


@dataclass(frozen=True)
class Looked:
    """N orders whose preparation time can be believed or is merely too long: those over three hours are shown, as the
    notebook shows its outliers; contradictory, unreadable and repeated ones are not.
    """

    frame: pl.DataFrame
    """`restaurant_id`, `country`, `city`, `type_of_food` (text), local `day` (date), `weekday` (1 is Monday), `hour`,
    `order_value_gbp`, `number_of_items`, `prep_minutes`. About 40 bytes an order."""
    left_out: int
    """Orders that were read and are not here."""

    def __len__(self) -> int:
        return len(self.frame)

    @classmethod
    def of(cls, audited: Audited, directory: Directory) -> Looked:
        """From audited orders with labels."""
        against = mask(Purpose.EVALUATION) & ~Reason.LABEL_OVER_CAP.bit
        orders = audited.frame.filter(pl.Series((audited.reasons & np.uint32(against)) == 0))
        local = pl.col("acknowledged_local")
        frame = orders.select(
            pl.col("restaurant_id").cast(pl.Int64),
            *(_names(name, getattr(directory.vocabularies, name)) for name in _CATEGORIES),
            local.dt.date().alias("day"),
            local.dt.weekday().alias("weekday"),
            local.dt.hour().alias("hour"),
            pl.col("order_value_gbp").cast(pl.Float32),
            pl.col("number_of_items").cast(pl.Int32),
            (pl.col(TARGET) / 60).cast(pl.Float32).alias("prep_minutes"),
        )
        return cls(frame, len(audited) - len(frame))

    @property
    def days(self) -> tuple[dt.date, dt.date]:
        """First and last local day; at least one order."""
        days: tuple[dt.date, dt.date] = self.frame.select(
            pl.col("day").min().alias("first"), pl.col("day").max().alias("last")
        ).row(0)
        return days

    def values(self, column: str) -> list[str]:
        """The names in a category, the one with most orders first."""
        counts = self.frame.group_by(column).len().sort(["len", column], descending=[True, False])
        return [str(name) for name in counts[column]]

    def fence_minutes(self) -> float:
        """The outlier fence of the preparation times; at least one order."""
        return upper_fence(self.frame["prep_minutes"].to_numpy().astype(np.float64))

    def chosen(self, choice: Choice) -> Looked:
        """The orders of a choice. The fence it leaves out by is that of all orders here."""
        kept = pl.lit(value=True)
        for column, names in (("city", choice.cities), ("type_of_food", choice.foods)):
            if names:
                kept &= pl.col(column).is_in(list(names))
        if choice.days:
            kept &= pl.col("day").is_between(*choice.days)
        if choice.inside_fence and len(self):
            kept &= pl.col("prep_minutes") <= self.fence_minutes()
        return Looked(self.frame.filter(kept), self.left_out)


@dataclass(frozen=True)
class Seen:
    """A table of orders as people look at it."""

    looked: Looked
    report: CheckReport
    """The audit of every row that was read."""
    more: bool
    """Whether the table has rows beyond those that were read."""


def look(orders: Table, directory: Directory, most_rows: int = MOST_ROWS) -> Seen:
    """Read, audit and slim the first `most_rows` orders of a table. Raises `DataError` for what cannot be read."""
    parts, rows = list[pl.DataFrame](), 0
    for part in orders.batches(_BATCH_ROWS):
        parts.append(part.head(most_rows - rows))
        rows += len(part)
        if rows > most_rows:
            break
    audited = audit(pl.concat(parts, how="diagonal_relaxed"), directory, need_label=True)
    return Seen(Looked.of(audited, directory), summary(audited, len(directory)), rows > most_rows)


@dataclass(frozen=True, slots=True)
class Choice:
    """What somebody wants to look at; nothing chosen means everything."""

    cities: tuple[str, ...] = ()
    foods: tuple[str, ...] = ()
    days: tuple[dt.date, dt.date] | None = None
    """Both included."""
    inside_fence: bool = False
    """Without the outliers of the preparation time."""


def _names(column: str, vocabulary: tuple[str, ...]) -> pl.Expr:
    """Codes as names; one entry a distinct name is kept, however many orders there are."""
    names = [*vocabulary, UNKNOWN_LABEL]
    code = pl.col(column).cast(pl.Int64)
    return code.replace_strict(
        [*range(len(vocabulary)), -1], names, return_dtype=pl.Enum(list(dict.fromkeys(names)))
    ).alias(column)
