"""The scale on which preparation times are counted: a declared log-histogram.

Means and quantiles of a history are taken from it. Counts are integers, so histories of two partitions add up to that
of both to the bit, in any order; and on the log scale a mean is not carried away by the long tail (log times are close
to symmetric, times are not: mean 1,300 s, median 820 s).

What a history is made from: sums that add up.

A state counts completed orders. Two states over one directory merge by adding, so a history can be built partition by
partition, anywhere, and a day added gives the same bytes as a build from scratch. Every field is an integer.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from preptime.domain.orders import UNKNOWN_CODE, OrderColumns
from preptime.features.restaurant_index import RestaurantIndex
from preptime.features.spec import NIGHT_END_SECOND, TIME_SLOT_COUNT, local_day, meal_period, second_of_day, time_slot

MIN_SCALE_SECONDS = 30
MAX_SCALE_SECONDS = 10_800
BIN_COUNT = 64
"""Bins of 9.6 % each. 48 and 96 bins gave the same p50 MAE within half a second."""

BIN_WIDTH = float(np.log(MAX_SCALE_SECONDS / MIN_SCALE_SECONDS) / BIN_COUNT)
"""Width of a bin in log units. A *position* is a place on this scale: 3.0 is the middle of bin 3."""

_Counts = TypeVar("_Counts", np.int32, np.int64)

_BIN_UPPER_SECONDS = np.floor(MIN_SCALE_SECONDS * np.exp(BIN_WIDTH * np.arange(1, BIN_COUNT))).astype(np.int64)
# Which bin every whole second belongs to. The edges are whole seconds, so every machine bins alike.
_BIN_BY_SECOND = np.searchsorted(_BIN_UPPER_SECONDS, np.arange(MAX_SCALE_SECONDS + 1), side="left").astype(np.int8)


def duration_bins(seconds: NDArray[np.int64]) -> NDArray[np.int8]:
    """[N] bin of each preparation time in whole seconds; what lies outside the scale counts in the nearest bin."""
    return _BIN_BY_SECOND[np.clip(seconds, 0, MAX_SCALE_SECONDS)]


def position_to_seconds(position: NDArray[np.float64]) -> NDArray[np.float64]:
    """Seconds at a position on the scale."""
    seconds: NDArray[np.float64] = MIN_SCALE_SECONDS * np.exp(BIN_WIDTH * (position + 0.5))
    return seconds


def quantile_positions(counts: NDArray[_Counts], levels: tuple[float, ...]) -> NDArray[np.float64]:
    """[R, levels] positions of the quantiles of histograms [R, BIN_COUNT], linear within a bin; 0 for an empty one."""
    cumulative = np.cumsum(counts, axis=1, dtype=counts.dtype)
    positions = np.zeros((len(counts), len(levels)))
    nonempty = np.flatnonzero(cumulative[:, -1])
    nonempty_cumulative = cumulative[nonempty]
    for column, level in enumerate(levels):
        rank = level * nonempty_cumulative[:, -1]
        bin_ = (nonempty_cumulative < np.ceil(rank).astype(nonempty_cumulative.dtype)[:, None]).sum(axis=1)
        bin_orders = counts[nonempty, bin_]
        orders_below = nonempty_cumulative[np.arange(len(nonempty)), bin_] - bin_orders
        positions[nonempty, column] = bin_ - 0.5 + (rank - orders_below) / np.maximum(bin_orders, 1)
    return positions


def squared_deviations(counts: NDArray[_Counts]) -> NDArray[np.float64]:
    """[R] sum of squared deviations from each histogram's own mean, in positions."""
    bin_positions = np.arange(BIN_COUNT)
    total = counts.sum(axis=1)
    # The square of the first moment outgrows 63 bits at 90 million orders.
    first_moment = (counts @ bin_positions).astype(np.float64)
    deviations: NDArray[np.float64] = counts @ bin_positions**2 - first_moment * first_moment / np.maximum(total, 1)
    return deviations


LAST_ORDER_COUNT = 5
"""How many of a restaurant's latest orders "last orders" means."""
RECENT_DAYS = 28
"""Days whose sums are kept apart for the recency-weighted mean; at a half-life of 5 days older ones weigh under 2 %."""
MEAL_PERIOD_COUNT = 2
NEVER_READY = np.iinfo(np.int32).max
"""First ready second of a service that a restaurant has never worked."""
NO_ORDER = np.iinfo(np.int64).min
"""Where a restaurant has fewer than `LAST_ORDER_COUNT`; a multiple of BINS, so its bin is 0."""


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

    bin_orders: NDArray[np.int32]
    """[R, BIN_COUNT] orders by log-bin of preparation time."""
    slot_orders: NDArray[np.int32]
    """[R, TIME_SLOT_COUNT] orders by time slot of acknowledgement."""
    slot_bin_sums: NDArray[np.int64]
    """[R, TIME_SLOT_COUNT] sum of their bins."""
    value_pence: NDArray[np.int64]
    items: NDArray[np.int64]
    meal_period_orders: NDArray[np.int32]
    """[R, MEAL_PERIOD_COUNT] orders by the service they were ready in."""
    first_ready: NDArray[np.int32]
    """[R, MEAL_PERIOD_COUNT] earliest second after 05:00 at which one was ready, or `NEVER_READY`."""
    latest_orders: NDArray[np.int64]
    """[R, LAST_ORDER_COUNT] the latest orders, ascending: moment ready · BINS + bin, or `NO_ORDER`. Orders ready in the same
    second stand by bin, so the order of rows is nothing."""
    recent_days: dict[int, NDArray[np.int32]]
    """For each of the latest `RECENT_DAYS` local days that an order was ready on: [2, R] orders and sum of their bins.
    """

    @classmethod
    def empty(cls, size: int) -> HistoryState:
        """The state of `size` restaurants before the first order."""
        return cls(
            bin_orders=np.zeros((size, BIN_COUNT), np.int32),
            slot_orders=np.zeros((size, TIME_SLOT_COUNT), np.int32),
            slot_bin_sums=np.zeros((size, TIME_SLOT_COUNT), np.int64),
            value_pence=np.zeros(size, np.int64),
            items=np.zeros(size, np.int64),
            meal_period_orders=np.zeros((size, MEAL_PERIOD_COUNT), np.int32),
            first_ready=np.full((size, MEAL_PERIOD_COUNT), NEVER_READY, np.int32),
            latest_orders=np.full((size, LAST_ORDER_COUNT), NO_ORDER, np.int64),
            recent_days={},
        )

    @classmethod
    def from_orders(cls, restaurants: RestaurantIndex, completed: CompletedOrders) -> HistoryState:
        """The state of these orders. Those of restaurants outside the directory are not counted."""
        state = cls.empty(len(restaurants))
        state.add_orders(restaurants, completed)
        return state

    def with_orders(self, restaurants: RestaurantIndex, completed: CompletedOrders) -> HistoryState:
        """The state with more orders counted; this one stays as it is."""
        state = deepcopy(self)
        state.add_orders(restaurants, completed)
        return state

    def add_orders(self, restaurants: RestaurantIndex, completed: CompletedOrders) -> None:
        """Count more orders in place: for a builder that owns the state, since a copy costs as much as a day's orders.

        Orders of restaurants outside the directory are not counted.
        """
        position = restaurants.positions(completed.orders.restaurant_id)
        known = position != UNKNOWN_CODE
        if not known.all():
            completed, position = completed.take(known), position[known]
        if not len(completed):
            return
        orders, ready_at = completed.orders, completed.ready_at
        bin_ = duration_bins(completed.prep_time_seconds)
        slot_cell = position * TIME_SLOT_COUNT + time_slot(second_of_day(orders.acknowledged_at))
        ready_second = second_of_day(ready_at)
        meal_period_cell = position * MEAL_PERIOD_COUNT + meal_period(ready_second)
        _add_at(self.bin_orders, position * BIN_COUNT + bin_)
        _add_at(self.slot_orders, slot_cell)
        _add_at(self.slot_bin_sums, slot_cell, bin_)
        _add_at(self.value_pence, position, np.rint(orders.order_value_gbp * 100))
        _add_at(self.items, position, orders.number_of_items)
        _add_at(self.meal_period_orders, meal_period_cell)
        # After midnight is late, not early: the small hours open no service.
        after_night = ready_second >= NIGHT_END_SECOND
        np.minimum.at(
            _flat(self.first_ready), meal_period_cell[after_night], ready_second[after_night].astype(np.int32)
        )
        touched, latest = _latest_by_restaurant(position, ready_at, bin_)
        self.latest_orders[touched] = _merge_latest(self.latest_orders[touched], latest)
        self._add_days(position, local_day(ready_at), bin_)

    def _add_days(self, position: NDArray[np.int64], days: NDArray[np.int64], bin_: NDArray[np.int8]) -> None:
        latest_day = max(int(days.max()), self.last_day or 0)
        for day_number in range(latest_day - RECENT_DAYS + 1, latest_day + 1):
            rows = days == day_number
            if rows.any():
                sums = self.recent_days.setdefault(day_number, np.zeros((2, len(self.items)), np.int32))
                _add_at(sums[0], position[rows])
                _add_at(sums[1], position[rows], bin_[rows])
        for day_number in [day_number for day_number in self.recent_days if day_number <= latest_day - RECENT_DAYS]:
            del self.recent_days[day_number]

    def merge(self, other: HistoryState) -> HistoryState:
        """The state of both sets of orders together."""
        return HistoryState(
            self.bin_orders + other.bin_orders,
            self.slot_orders + other.slot_orders,
            self.slot_bin_sums + other.slot_bin_sums,
            self.value_pence + other.value_pence,
            self.items + other.items,
            self.meal_period_orders + other.meal_period_orders,
            np.minimum(self.first_ready, other.first_ready),
            _merge_latest(self.latest_orders, other.latest_orders),
            _merge_recent(self.recent_days, other.recent_days),
        )

    def slice_restaurants(self, rows: slice) -> HistoryState:
        """The state of some of the restaurants; it shares their memory."""
        return HistoryState(
            self.bin_orders[rows],
            self.slot_orders[rows],
            self.slot_bin_sums[rows],
            self.value_pence[rows],
            self.items[rows],
            self.meal_period_orders[rows],
            self.first_ready[rows],
            self.latest_orders[rows],
            {day_number: sums[:, rows] for day_number, sums in self.recent_days.items()},
        )

    @property
    def last_day(self) -> int | None:
        """The latest local day on which a counted order was ready, or None before the first."""
        return max(self.recent_days, default=None)

    @property
    def orders(self) -> NDArray[np.int64]:
        """[R] completed orders of each restaurant."""
        total: NDArray[np.int64] = self.slot_orders.sum(axis=1, dtype=np.int64)
        return total

    @property
    def bin_sums(self) -> NDArray[np.int64]:
        """[R] sum of the bins of its orders."""
        total: NDArray[np.int64] = self.slot_bin_sums.sum(axis=1)
        return total


_Sums = TypeVar("_Sums", np.int32, np.int64)


def _flat(sums: NDArray[_Sums]) -> NDArray[_Sums]:
    return sums.reshape(-1, copy=False)


def _add_at(sums: NDArray[_Sums], cell: NDArray[np.int64], values: NDArray[np.generic] | None = None) -> None:
    """Add `values` (or 1) at flat positions `cell`, repeated ones too."""
    # NumPy has a path for equal types that is forty times quicker.
    np.add.at(_flat(sums), cell, sums.dtype.type(1) if values is None else values.astype(sums.dtype))


def _latest_by_restaurant(
    position: NDArray[np.int64], ready_at: NDArray[np.int64], bin_: NDArray[np.int8]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Restaurants that these orders touch, ascending, and [touched, LAST_ORDER_COUNT] their latest of them."""
    sorted_position, sorted_key = _sort_by_position(position, ready_at * BIN_COUNT + bin_)
    starts = np.flatnonzero(np.r_[True, sorted_position[1:] != sorted_position[:-1]])
    ends = np.r_[starts[1:], len(sorted_position)]
    latest = np.full((len(starts), LAST_ORDER_COUNT), NO_ORDER, np.int64)
    for column in range(LAST_ORDER_COUNT):
        source = ends - LAST_ORDER_COUNT + column
        is_present = source >= starts
        latest[is_present, column] = sorted_key[source[is_present]]
    return sorted_position[starts], latest


def _sort_by_position(
    position: NDArray[np.int64], key: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Both columns by position, then order."""
    low = int(key.min())
    span = int(key.max()) - low + 1
    if int(position.max()) * span < 2**62:
        # One column of integers sorts eighty times quicker than two.
        combined = np.sort(position * span + (key - low))
        sorted_position = combined // span
        return sorted_position, combined - sorted_position * span + low
    rows = np.lexsort((key, position))
    return position[rows], key[rows]


def _merge_latest(left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.int64]:
    """The latest of two times LAST_ORDERS, all ascending."""
    # One list against the other backwards: each pair's larger is among the latest of both (Batcher's merge).
    return np.sort(np.maximum(left, right[:, ::-1]), axis=1)


def _merge_recent(
    left: dict[int, NDArray[np.int32]], right: dict[int, NDArray[np.int32]]
) -> dict[int, NDArray[np.int32]]:
    days = left.keys() | right.keys()
    earliest = max(days, default=0) - RECENT_DAYS
    kept = [day_number for day_number in sorted(days) if day_number > earliest]
    # Always new arrays, so that no two states share one that is counted into.
    return {
        day_number: np.sum(
            [days_of_state[day_number] for days_of_state in (left, right) if day_number in days_of_state],
            axis=0,
            dtype=np.int32,
        )
        for day_number in kept
    }
