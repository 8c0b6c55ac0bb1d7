"""What a history is made from: sums that add up.

A state counts completed orders. Two states over one directory merge by adding, so a history can be built partition by
partition, anywhere, and a day added gives the same bytes as a build from scratch. Every field is an integer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from preptime.domain.order import UNKNOWN, OrderColumns
from preptime.features.clock import NIGHT_ENDS_SECOND, SLOTS, day, second_of_day, service, slot
from preptime.features.directory import Directory
from preptime.features.durations import BINS, bins_of

LAST_ORDERS = 5
"""How many of a restaurant's latest orders "last orders" means."""
RECENT_DAYS = 28
"""Days whose sums are kept apart for the recency-weighted mean; at a half-life of 5 days older ones weigh under 2 %."""
SERVICES = 2
NEVER = np.iinfo(np.int32).max
"""First ready second of a service that a restaurant has never worked."""
NO_MOMENT = np.iinfo(np.int64).min


@dataclass(frozen=True, slots=True)
class CompletedOrders:
    """N completed orders: what was known at acknowledgement, and how it ended."""

    orders: OrderColumns
    ready_at: NDArray[np.int64]
    """Seconds on the restaurant's wall clock, as `OrderColumns.acknowledged_at`."""
    prep_time_seconds: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ready_at)

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_] | slice) -> CompletedOrders:
        """The same columns at `rows`."""
        return CompletedOrders(self.orders.take(rows), self.ready_at[rows], self.prep_time_seconds[rows])


@dataclass(frozen=True, slots=True)
class HistoryState:
    """Integer sums over completed orders, for the R restaurants of a directory."""

    bins: NDArray[np.int32]
    """[R, BINS] orders by log-bin of preparation time."""
    slot_orders: NDArray[np.int32]
    """[R, SLOTS] orders by time slot of acknowledgement."""
    slot_bins: NDArray[np.int64]
    """[R, SLOTS] sum of their bins."""
    value_pence: NDArray[np.int64]
    items: NDArray[np.int64]
    service_orders: NDArray[np.int32]
    """[R, SERVICES] orders by the service they were ready in."""
    first_ready: NDArray[np.int32]
    """[R, SERVICES] earliest second after 05:00 at which one was ready, or `NEVER`."""
    last_ready_at: NDArray[np.int64]
    """[R, LAST_ORDERS] when the latest orders were ready, latest first, or `NO_MOMENT`."""
    last_bins: NDArray[np.int8]
    recent: dict[int, NDArray[np.int32]]
    """For each local day an order was ready on: [2, R] orders and sum of their bins."""

    @classmethod
    def empty(cls, size: int) -> HistoryState:
        """The state of `size` restaurants before the first order."""
        return cls(
            bins=np.zeros((size, BINS), np.int32),
            slot_orders=np.zeros((size, SLOTS), np.int32),
            slot_bins=np.zeros((size, SLOTS), np.int64),
            value_pence=np.zeros(size, np.int64),
            items=np.zeros(size, np.int64),
            service_orders=np.zeros((size, SERVICES), np.int32),
            first_ready=np.full((size, SERVICES), NEVER, np.int32),
            last_ready_at=np.full((size, LAST_ORDERS), NO_MOMENT, np.int64),
            last_bins=np.zeros((size, LAST_ORDERS), np.int8),
            recent={},
        )

    @classmethod
    def of(cls, directory: Directory, completed: CompletedOrders) -> HistoryState:
        """The state of these orders. Those of restaurants outside the directory are not counted."""
        return cls.empty(len(directory)).plus(directory, completed)

    def plus(self, directory: Directory, completed: CompletedOrders) -> HistoryState:
        """The state with more orders counted."""
        position = directory.positions(completed.orders.restaurant_id)
        if np.any(position == UNKNOWN):
            known = position != UNKNOWN
            completed, position = completed.take(known), position[known]
        if not len(completed):
            return self
        orders = completed.orders
        bin_ = bins_of(completed.prep_time_seconds)
        in_slot = position * SLOTS + slot(second_of_day(orders.acknowledged_at))
        ready_second = second_of_day(completed.ready_at)
        in_service = position * SERVICES + service(ready_second)
        first_ready = self.first_ready.copy()
        # After midnight is late, not early: the small hours open no service.
        awake = ready_second >= NIGHT_ENDS_SECOND
        np.minimum.at(first_ready.reshape(-1), in_service[awake], ready_second[awake].astype(np.int32))
        return HistoryState(
            _added(self.bins, position * BINS + bin_, 1),
            _added(self.slot_orders, in_slot, 1),
            _added(self.slot_bins, in_slot, bin_),
            _added(self.value_pence, position, np.rint(orders.order_value_gbp * 100)),
            _added(self.items, position, orders.number_of_items),
            _added(self.service_orders, in_service, 1),
            first_ready,
            *_merge_latest(
                (self.last_ready_at, self.last_bins), _latest(position, completed.ready_at, bin_, len(directory))
            ),
            _merge_recent(self.recent, _by_day(position, completed.ready_at, bin_, len(directory))),
        )

    def merge(self, other: HistoryState) -> HistoryState:
        """The state of both sets of orders together."""
        return HistoryState(
            self.bins + other.bins,
            self.slot_orders + other.slot_orders,
            self.slot_bins + other.slot_bins,
            self.value_pence + other.value_pence,
            self.items + other.items,
            self.service_orders + other.service_orders,
            np.minimum(self.first_ready, other.first_ready),
            *_merge_latest((self.last_ready_at, self.last_bins), (other.last_ready_at, other.last_bins)),
            _merge_recent(self.recent, other.recent),
        )

    def part(self, rows: slice) -> HistoryState:
        """The state of some of the restaurants."""
        return HistoryState(
            self.bins[rows],
            self.slot_orders[rows],
            self.slot_bins[rows],
            self.value_pence[rows],
            self.items[rows],
            self.service_orders[rows],
            self.first_ready[rows],
            self.last_ready_at[rows],
            self.last_bins[rows],
            {when: sums[:, rows] for when, sums in self.recent.items()},
        )

    @property
    def last_day(self) -> int | None:
        """The latest local day on which a counted order was ready, or None before the first."""
        return max(self.recent, default=None)

    @property
    def orders(self) -> NDArray[np.int64]:
        """[R] completed orders of each restaurant."""
        total: NDArray[np.int64] = self.bins.sum(axis=1, dtype=np.int64)
        return total


_Sums = TypeVar("_Sums", np.int32, np.int64)


def _added(sums: NDArray[_Sums], cell: NDArray[np.int64], values: NDArray[np.generic] | int) -> NDArray[_Sums]:
    """A copy of `sums` with `values` added at flat positions `cell`, repeated ones too."""
    out = sums.copy()
    np.add.at(out.reshape(-1), cell, np.asarray(values).astype(sums.dtype))
    return out


def _by_day(
    position: NDArray[np.int64], ready_at: NDArray[np.int64], bin_: NDArray[np.int8], size: int
) -> dict[int, NDArray[np.int32]]:
    days = day(ready_at)
    latest = int(days.max())
    out = {}
    for one in np.unique(days):
        if one <= latest - RECENT_DAYS:
            continue
        rows = days == one
        sums = np.zeros((2, size), np.int32)
        np.add.at(sums[0], position[rows], 1)
        np.add.at(sums[1], position[rows], bin_[rows])
        out[int(one)] = sums
    return out


def _merge_recent(
    one: dict[int, NDArray[np.int32]], other: dict[int, NDArray[np.int32]]
) -> dict[int, NDArray[np.int32]]:
    days = one.keys() | other.keys()
    earliest = max(days, default=0) - RECENT_DAYS
    kept = [when for when in sorted(days) if when > earliest]
    return {when: one[when] + other[when] if when in one and when in other else (one | other)[when] for when in kept}


def _latest(
    position: NDArray[np.int64], ready_at: NDArray[np.int64], bin_: NDArray[np.int8], size: int
) -> tuple[NDArray[np.int64], NDArray[np.int8]]:
    """[R, LAST_ORDERS] moments and bins of the latest orders, latest first; ties by bin, so row order is nothing."""
    order = np.lexsort((bin_, ready_at, position))[::-1]
    by_restaurant = position[order]
    starts = np.flatnonzero(np.r_[True, by_restaurant[1:] != by_restaurant[:-1]])
    rank = np.arange(len(order)) - np.repeat(starts, np.diff(np.r_[starts, len(order)]))
    kept = rank < LAST_ORDERS
    moments = np.full((size, LAST_ORDERS), NO_MOMENT, np.int64)
    bins = np.zeros((size, LAST_ORDERS), np.int8)
    moments[by_restaurant[kept], rank[kept]] = ready_at[order[kept]]
    bins[by_restaurant[kept], rank[kept]] = bin_[order[kept]]
    return moments, bins


def _merge_latest(
    one: tuple[NDArray[np.int64], NDArray[np.int8]], other: tuple[NDArray[np.int64], NDArray[np.int8]]
) -> tuple[NDArray[np.int64], NDArray[np.int8]]:
    moments = np.concatenate([one[0], other[0]], axis=1)
    bins = np.concatenate([one[1], other[1]], axis=1)
    order = np.lexsort((bins, moments), axis=1)[:, ::-1][:, :LAST_ORDERS]
    return np.take_along_axis(moments, order, 1), np.take_along_axis(bins, order, 1)
