"""Orders as people look at them: a slim table, and a choice of its rows. `preptime.tables.looks` says what is seen."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import numpy as np
import polars as pl

from preptime.domain.dictionary import TARGET
from preptime.domain.fence import upper_outlier_limit
from preptime.domain.verdict import Purpose, ValidationReason, exclusion_mask
from preptime.features.directory import RestaurantIndex
from preptime.tables.audit import AuditedOrders, audit_orders
from preptime.tables.report import CheckReport, summarize_audit
from preptime.tables.table import DataSource

UNKNOWN_LABEL = "(unknown)"
"""A city, country or type of food that nothing tells."""

MAX_ROWS = 1_000_000
"""How many orders are looked at: a month of a large city, read in 5 s and within 400 MB (measured, parquet)."""

_BATCH_ROWS = 100_000
_CATEGORIES = ("country", "city", "type_of_food")


@dataclass(frozen=True)
class OrderSample:
    """N orders whose preparation time can be believed or is merely too long: those over three hours are shown, as the
    notebook shows its outliers; contradictory, unreadable and repeated ones are not.
    """

    frame: pl.DataFrame
    """`restaurant_id`, `country`, `city`, `type_of_food` (text), local `day` (date), `weekday` (1 is Monday), `hour`,
    `order_value_gbp`, `number_of_items`, `prep_minutes`. About 40 bytes an order."""
    excluded: int
    """Orders that were read and are not here."""

    def __len__(self) -> int:
        return len(self.frame)

    @classmethod
    def from_audited(cls, audited: AuditedOrders, restaurants: RestaurantIndex) -> OrderSample:
        """From audited orders with labels."""
        excluding_mask = exclusion_mask(Purpose.EVALUATION) & ~ValidationReason.LABEL_OVER_CAP.bit
        orders = audited.frame.filter(pl.Series((audited.reasons & np.uint32(excluding_mask)) == 0))
        acknowledged_local = pl.col("acknowledged_local")
        frame = orders.select(
            pl.col("restaurant_id").cast(pl.Int64),
            *(_decode_category(name, getattr(restaurants.vocabularies, name)) for name in _CATEGORIES),
            acknowledged_local.dt.date().alias("day"),
            acknowledged_local.dt.weekday().alias("weekday"),
            acknowledged_local.dt.hour().alias("hour"),
            pl.col("order_value_gbp").cast(pl.Float32),
            pl.col("number_of_items").cast(pl.Int32),
            (pl.col(TARGET) / 60).cast(pl.Float32).alias("prep_minutes"),
        )
        return cls(frame, len(audited) - len(frame))

    @property
    def date_range(self) -> tuple[dt.date, dt.date]:
        """First and last local day; at least one order."""
        date_range: tuple[dt.date, dt.date] = self.frame.select(
            pl.col("day").min().alias("first"), pl.col("day").max().alias("last")
        ).row(0)
        return date_range

    def category_values(self, column: str) -> list[str]:
        """The names in a category, the one with most orders first."""
        counts = self.frame.group_by(column).len().sort(["len", column], descending=[True, False])
        return [str(name) for name in counts[column]]

    def outlier_limit_minutes(self) -> float:
        """The outlier fence of the preparation times; at least one order."""
        return upper_outlier_limit(self.frame["prep_minutes"].to_numpy().astype(np.float64))

    def filtered(self, order_filter: OrderFilter) -> OrderSample:
        """The orders of a choice. The fence it leaves out by is that of all orders here."""
        is_selected = pl.lit(value=True)
        for column, names in (("city", order_filter.cities), ("type_of_food", order_filter.foods)):
            if names:
                is_selected &= pl.col(column).is_in(list(names))
        if order_filter.date_range:
            is_selected &= pl.col("day").is_between(*order_filter.date_range)
        if order_filter.exclude_outliers and len(self):
            is_selected &= pl.col("prep_minutes") <= self.outlier_limit_minutes()
        return OrderSample(self.frame.filter(is_selected), self.excluded)


@dataclass(frozen=True)
class ExplorationData:
    """A table of orders as people look at it."""

    sample: OrderSample
    report: CheckReport
    """The audit of every row that was read."""
    is_truncated: bool
    """Whether the table has rows beyond those that were read."""


def load_exploration(orders: DataSource, restaurants: RestaurantIndex, max_rows: int = MAX_ROWS) -> ExplorationData:
    """Read, audit and slim the first `most_rows` orders of a table. Raises `DataError` for what cannot be read."""
    batches, row_count = list[pl.DataFrame](), 0
    for batch in orders.batches(_BATCH_ROWS):
        batches.append(batch.head(max_rows - row_count))
        row_count += len(batch)
        if row_count > max_rows:
            break
    audited = audit_orders(pl.concat(batches, how="diagonal_relaxed"), restaurants, need_label=True)
    return ExplorationData(
        OrderSample.from_audited(audited, restaurants), summarize_audit(audited, len(restaurants)), row_count > max_rows
    )


@dataclass(frozen=True, slots=True)
class OrderFilter:
    """What somebody wants to look at; nothing chosen means everything."""

    cities: tuple[str, ...] = ()
    foods: tuple[str, ...] = ()
    date_range: tuple[dt.date, dt.date] | None = None
    """Both included."""
    exclude_outliers: bool = False
    """Without the outliers of the preparation time."""


def _decode_category(column: str, vocabulary: tuple[str, ...]) -> pl.Expr:
    """Codes as names; one entry a distinct name is kept, however many orders there are."""
    names = [*vocabulary, UNKNOWN_LABEL]
    code = pl.col(column).cast(pl.Int64)
    return code.replace_strict(
        [*range(len(vocabulary)), -1], names, return_dtype=pl.Enum(list(dict.fromkeys(names)))
    ).alias(column)
