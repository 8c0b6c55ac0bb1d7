"""Counts of orders by day, for the checks of the data gate. They add up in the order of a source of any size."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from preptime.domain.timestamps import MICROSECONDS
from preptime.domain.validation_reasons import Purpose, ValidationReason, exclusion_mask, reasons_in_mask
from preptime.validation.audit import AuditedOrders
from preptime.validation.label_counts import day_number, is_open

_DAY_SECONDS = 86_400
_FITTING_MASK = exclusion_mask(Purpose.FITTING)
_FITTING_REASONS = reasons_in_mask(_FITTING_MASK)


@dataclass(frozen=True, slots=True)
class DayOrders:
    """The orders of one day."""

    orders: int = 0
    open_at_end: int = 0
    """Orders that weren't ready by the end of the day."""
    last_second: int = 0
    """The time of the last acknowledgement, in seconds since midnight."""

    def __add__(self, other: DayOrders) -> DayOrders:
        return DayOrders(
            self.orders + other.orders,
            self.open_at_end + other.open_at_end,
            max(self.last_second, other.last_second),
        )


@dataclass(frozen=True, slots=True)
class OrderRows:
    """The N orders of one batch that were acknowledged before a midnight, and M rows without a valid time."""

    rows: NDArray[np.intp]
    """[N] the rows of the orders in their batch, ascending."""
    acknowledged: NDArray[np.int64]
    """[N] seconds since 1970-01-01 on the restaurant's clock."""
    reasons: NDArray[np.uint32]
    """[N] bit masks of validation reasons."""
    is_open: NDArray[np.bool_]
    """[N] which orders have no label before the midnight."""
    is_open_at_end: NDArray[np.bool_]
    """[N] which orders weren't ready by the end of their day."""
    undated_rows: NDArray[np.intp]
    """[M] rows without a valid time in the batch, ascending."""
    undated_reasons: NDArray[np.uint32]
    """[M] bit masks of validation reasons."""

    @classmethod
    def from_audited(cls, audited: AuditedOrders, as_of: dt.date) -> OrderRows:
        """Return the orders that were acknowledged before local midnight of `as_of`."""
        frame, reasons = audited.frame, audited.reasons
        acknowledged = frame["acknowledged_local"].to_physical().fill_null(0).to_numpy() // MICROSECONDS
        ready = frame["ready_local"].to_physical().fill_null(-1).to_numpy() // MICROSECONDS
        is_undated = frame["acknowledged_local"].is_null().to_numpy()
        midnight = day_number(as_of) * _DAY_SECONDS
        rows = np.flatnonzero(~is_undated & (acknowledged < midnight))
        is_open_order = (is_open(audited) | (ready >= midnight))[rows]
        is_later_day = ready[rows] // _DAY_SECONDS > acknowledged[rows] // _DAY_SECONDS
        undated_rows = np.flatnonzero(is_undated)
        return cls(
            rows,
            acknowledged[rows],
            reasons[rows],
            is_open_order,
            is_open_order | is_later_day,
            undated_rows,
            reasons[undated_rows],
        )

    def only(self, is_selected: NDArray[np.bool_]) -> OrderRows:
        """Return the same rows without those that a mask of the batch leaves out."""
        dated, undated = is_selected[self.rows], is_selected[self.undated_rows]
        return OrderRows(
            self.rows[dated],
            self.acknowledged[dated],
            self.reasons[dated],
            self.is_open[dated],
            self.is_open_at_end[dated],
            self.undated_rows[undated],
            self.undated_reasons[undated],
        )

    def with_duplicates(self, rows: NDArray[np.intp]) -> OrderRows:
        """Return the same orders, with those at `rows` of the batch as duplicates of orders in other batches."""
        bits = np.where(np.isin(self.rows, rows), np.uint32(ValidationReason.DUPLICATE.bit), np.uint32(0))
        return replace(self, reasons=self.reasons | bits)


@dataclass(slots=True)
class OrderCounts:
    """Counts of the orders that were acknowledged before a midnight."""

    by_day: dict[int, DayOrders] = field(default_factory=dict)
    """By local day of acknowledgement."""
    open_orders: int = 0
    """Orders without a label. They count neither as usable nor as unusable."""
    usable: int = 0
    """Orders that can be used for fitting."""
    unknown_restaurants: int = 0
    """Orders of restaurants that aren't in the restaurants file."""
    undated: int = 0
    """Rows without a valid time that have an order after them. They can belong to any day."""
    unusable_reasons: NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(_FITTING_REASONS), np.int64))
    """[R] orders that can't be used for fitting, and undated rows, by reason."""
    later_undated: int = 0
    """Rows without a valid time after the last order. In a growing table, they arrived later, so they don't count."""
    later_reasons: NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(_FITTING_REASONS), np.int64))
    """[R] the reasons of those rows."""

    @classmethod
    def from_audited(cls, audited: AuditedOrders, as_of: dt.date) -> OrderCounts:
        """Return the counts of the orders that were acknowledged before local midnight of `as_of`."""
        return cls.of_batch(OrderRows.from_audited(audited, as_of))

    @classmethod
    def of_batch(cls, batch: OrderRows) -> OrderCounts:
        """Return the counts of one batch."""
        is_usable = ~batch.is_open & ((batch.reasons & np.uint32(_FITTING_MASK)) == 0)
        is_unusable = ~batch.is_open & ~is_usable
        is_followed = batch.undated_rows < (int(batch.rows[-1]) if len(batch.rows) else -1)
        return cls(
            _count_days(batch),
            int(np.count_nonzero(batch.is_open)),
            int(np.count_nonzero(is_usable)),
            int(np.count_nonzero(batch.reasons & np.uint32(ValidationReason.UNKNOWN_RESTAURANT.bit))),
            int(np.count_nonzero(is_followed)),
            _count_reasons(batch.reasons[is_unusable]) + _count_reasons(batch.undated_reasons[is_followed]),
            int(np.count_nonzero(~is_followed)),
            _count_reasons(batch.undated_reasons[~is_followed]),
        )

    def append(self, following: OrderCounts) -> None:
        """Add the counts of the rows that follow in the source."""
        if following.by_day:
            self.undated += self.later_undated
            self.unusable_reasons = self.unusable_reasons + self.later_reasons
            self.later_undated, self.later_reasons = 0, np.zeros_like(self.later_reasons)
        for day, orders in following.by_day.items():
            self.by_day[day] = self.by_day.get(day, DayOrders()) + orders
        self.open_orders += following.open_orders
        self.usable += following.usable
        self.unknown_restaurants += following.unknown_restaurants
        self.undated += following.undated
        self.unusable_reasons = self.unusable_reasons + following.unusable_reasons
        self.later_undated += following.later_undated
        self.later_reasons = self.later_reasons + following.later_reasons

    def reject_duplicates(self, usable: int, unusable: int) -> None:
        """Count orders as duplicates: so many that were counted as usable, and so many that were unusable anyway."""
        self.usable -= usable
        self.unusable_reasons = self.unusable_reasons.copy()
        self.unusable_reasons[_FITTING_REASONS.index(ValidationReason.DUPLICATE)] += usable + unusable

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return the counts as arrays by name, to write them."""
        days = [(day, of.orders, of.open_at_end, of.last_second) for day, of in sorted(self.by_day.items())]
        totals = [self.open_orders, self.usable, self.unknown_restaurants, self.undated, self.later_undated]
        bits = np.array([reason.bit for reason in _FITTING_REASONS], np.int64)
        return {
            "order_days": np.array(days, np.int64).reshape(-1, 4),
            "order_totals": np.array(totals, np.int64),
            "order_reasons": np.array([bits, self.unusable_reasons, self.later_reasons], np.int64),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> OrderCounts:
        """Return the counts that `arrays()` came from. Reasons that this version doesn't have are left out."""
        days = {day: DayOrders(*counts) for day, *counts in arrays["order_days"].tolist()}
        open_orders, usable, unknown_restaurants, undated, later_undated = arrays["order_totals"].tolist()
        counts = {bit: pair for bit, *pair in arrays["order_reasons"].T.tolist()}
        reasons, later = np.array([counts.get(reason.bit, [0, 0]) for reason in _FITTING_REASONS], np.int64).T
        return cls(days, open_orders, usable, unknown_restaurants, undated, reasons, later_undated, later)

    @property
    def days(self) -> int:
        """The number of days with orders."""
        return len(self.by_day)

    @property
    def orders(self) -> int:
        """The number of orders, with open orders and duplicates."""
        return sum(day.orders for day in self.by_day.values())

    @property
    def unusable(self) -> int:
        """The number of orders that can't be used for fitting, and of undated rows. Open orders don't count."""
        return self.orders - self.open_orders - self.usable + self.undated + self._only_undated

    @property
    def reason_counts(self) -> dict[ValidationReason, int]:
        """The number of unusable orders by reason, without reasons that none has. An order can have several."""
        counts = self.unusable_reasons + self.later_reasons if self._only_undated else self.unusable_reasons
        return {reason: count for reason, count in zip(_FITTING_REASONS, counts.tolist(), strict=True) if count}

    @property
    def _only_undated(self) -> int:
        """The number of rows without a valid time if there is no other row. Then no order can be later than others."""
        return 0 if self.by_day else self.later_undated


def _count_days(batch: OrderRows) -> dict[int, DayOrders]:
    days, seconds = np.divmod(batch.acknowledged, _DAY_SECONDS)
    table = pl.DataFrame({"day": days, "open": batch.is_open_at_end, "second": seconds})
    sums = table.group_by("day").agg(pl.len(), pl.col("open").sum(), pl.col("second").max())
    return {day: DayOrders(*values) for day, *values in sums.iter_rows()}


def _count_reasons(reasons: NDArray[np.uint32]) -> NDArray[np.int64]:
    return np.array(
        [np.count_nonzero(reasons & np.uint32(reason.bit)) for reason in _FITTING_REASONS],
        np.int64,
    )
