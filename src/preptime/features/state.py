"""What a history is made from: sums that add up.

A state counts completed orders. Two states over one directory merge by adding, so a history can be built partition by
partition, anywhere, and a day added gives the same bytes as a build from scratch. Every field is an integer.
"""

from __future__ import annotations

from copy import deepcopy
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
NO_ORDER = np.iinfo(np.int64).min
"""Where a restaurant has fewer than `LAST_ORDERS`; a multiple of BINS, so its bin is 0."""


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
    """Integer sums over completed orders, for the R restaurants of a directory.

    A restaurant takes 412 bytes, and 8 more for each of the latest `RECENT_DAYS` days.
    """

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
    latest: NDArray[np.int64]
    """[R, LAST_ORDERS] the latest orders, ascending: moment ready · BINS + bin, or `NO_ORDER`. Orders ready in the same
    second stand by bin, so the order of rows is nothing."""
    recent: dict[int, NDArray[np.int32]]
    """For each of the latest `RECENT_DAYS` local days that an order was ready on: [2, R] orders and sum of their bins.
    """

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
            latest=np.full((size, LAST_ORDERS), NO_ORDER, np.int64),
            recent={},
        )

    @classmethod
    def of(cls, directory: Directory, completed: CompletedOrders) -> HistoryState:
        """The state of these orders. Those of restaurants outside the directory are not counted."""
        state = cls.empty(len(directory))
        state.count(directory, completed)
        return state

    def plus(self, directory: Directory, completed: CompletedOrders) -> HistoryState:
        """The state with more orders counted; this one stays as it is."""
        state = deepcopy(self)
        state.count(directory, completed)
        return state

    def count(self, directory: Directory, completed: CompletedOrders) -> None:
        """Count more orders in place: for a builder that owns the state, since a copy costs as much as a day's orders.

        Orders of restaurants outside the directory are not counted.
        """
        position = directory.positions(completed.orders.restaurant_id)
        known = position != UNKNOWN
        if not known.all():
            completed, position = completed.take(known), position[known]
        if not len(completed):
            return
        orders, ready_at = completed.orders, completed.ready_at
        bin_ = bins_of(completed.prep_time_seconds)
        in_slot = position * SLOTS + slot(second_of_day(orders.acknowledged_at))
        ready_second = second_of_day(ready_at)
        in_service = position * SERVICES + service(ready_second)
        _add(self.bins, position * BINS + bin_)
        _add(self.slot_orders, in_slot)
        _add(self.slot_bins, in_slot, bin_)
        _add(self.value_pence, position, np.rint(orders.order_value_gbp * 100))
        _add(self.items, position, orders.number_of_items)
        _add(self.service_orders, in_service)
        # After midnight is late, not early: the small hours open no service.
        awake = ready_second >= NIGHT_ENDS_SECOND
        np.minimum.at(_flat(self.first_ready), in_service[awake], ready_second[awake].astype(np.int32))
        touched, latest = _latest(position, ready_at, bin_)
        self.latest[touched] = _latest_of(self.latest[touched], latest)
        self._count_days(position, day(ready_at), bin_)

    def _count_days(self, position: NDArray[np.int64], days: NDArray[np.int64], bin_: NDArray[np.int8]) -> None:
        last = max(int(days.max()), self.last_day or 0)
        for one in range(last - RECENT_DAYS + 1, last + 1):
            rows = days == one
            if rows.any():
                sums = self.recent.setdefault(one, np.zeros((2, len(self.items)), np.int32))
                _add(sums[0], position[rows])
                _add(sums[1], position[rows], bin_[rows])
        for one in [one for one in self.recent if one <= last - RECENT_DAYS]:
            del self.recent[one]

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
            _latest_of(self.latest, other.latest),
            _merge_recent(self.recent, other.recent),
        )

    def part(self, rows: slice) -> HistoryState:
        """The state of some of the restaurants; it shares their memory."""
        return HistoryState(
            self.bins[rows],
            self.slot_orders[rows],
            self.slot_bins[rows],
            self.value_pence[rows],
            self.items[rows],
            self.service_orders[rows],
            self.first_ready[rows],
            self.latest[rows],
            {when: sums[:, rows] for when, sums in self.recent.items()},
        )

    @property
    def last_day(self) -> int | None:
        """The latest local day on which a counted order was ready, or None before the first."""
        return max(self.recent, default=None)

    @property
    def orders(self) -> NDArray[np.int64]:
        """[R] completed orders of each restaurant."""
        total: NDArray[np.int64] = self.slot_orders.sum(axis=1, dtype=np.int64)
        return total

    @property
    def sum_of_bins(self) -> NDArray[np.int64]:
        """[R] sum of the bins of its orders."""
        total: NDArray[np.int64] = self.slot_bins.sum(axis=1)
        return total


_Sums = TypeVar("_Sums", np.int32, np.int64)


def _flat(sums: NDArray[_Sums]) -> NDArray[_Sums]:
    return sums.reshape(-1, copy=False)


def _add(sums: NDArray[_Sums], cell: NDArray[np.int64], values: NDArray[np.generic] | None = None) -> None:
    """Add `values` (or 1) at flat positions `cell`, repeated ones too."""
    # NumPy has a path for equal types that is forty times quicker.
    np.add.at(_flat(sums), cell, sums.dtype.type(1) if values is None else values.astype(sums.dtype))


def _latest(
    position: NDArray[np.int64], ready_at: NDArray[np.int64], bin_: NDArray[np.int8]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Restaurants that these orders touch, ascending, and [touched, LAST_ORDERS] their latest of them."""
    by, order = _sorted(position, ready_at * BINS + bin_)
    starts = np.flatnonzero(np.r_[True, by[1:] != by[:-1]])
    ends = np.r_[starts[1:], len(by)]
    latest = np.full((len(starts), LAST_ORDERS), NO_ORDER, np.int64)
    for place in range(LAST_ORDERS):
        at = ends - LAST_ORDERS + place
        there = at >= starts
        latest[there, place] = order[at[there]]
    return by[starts], latest


def _sorted(position: NDArray[np.int64], order: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Both columns by position, then order."""
    low = int(order.min())
    span = int(order.max()) - low + 1
    if int(position.max()) * span < 2**62:
        # One column of integers sorts eighty times quicker than two.
        both = np.sort(position * span + (order - low))
        by = both // span
        return by, both - by * span + low
    rows = np.lexsort((order, position))
    return position[rows], order[rows]


def _latest_of(one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.int64]:
    """The latest of two times LAST_ORDERS, all ascending."""
    # One list against the other backwards: each pair's larger is among the latest of both (Batcher's merge).
    return np.sort(np.maximum(one, other[:, ::-1]), axis=1)


def _merge_recent(
    one: dict[int, NDArray[np.int32]], other: dict[int, NDArray[np.int32]]
) -> dict[int, NDArray[np.int32]]:
    days = one.keys() | other.keys()
    earliest = max(days, default=0) - RECENT_DAYS
    kept = [when for when in sorted(days) if when > earliest]
    # Always new arrays, so that no two states share one that is counted into.
    return {when: np.sum([of[when] for of in (one, other) if when in of], axis=0, dtype=np.int32) for when in kept}
