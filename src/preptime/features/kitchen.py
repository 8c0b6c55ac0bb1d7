"""The state of a restaurant's kitchen when an order is acknowledged, and the live features that depend on it.

The state counts what is known strictly before the acknowledgement: the restaurant's open orders, and its latest orders
that became ready on the same local day. Requests send it, and training, backtests, and batch scoring replay it from the
orders. Both give the same integers, so the features are the same bits. Times are in UTC, because local time runs
backward when the clocks are set back.

Measured on June 10 to 23 of the public data, with three seeds: the error of the p50 decreases by 2.8 s with these two
features, and not more with thirteen (`python -m benchmarks live_model`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from preptime.domain.orders import OrderColumns
from preptime.features.spec import Feature, local_day

OPEN_SECONDS = 3 * 3600
"""An order without a ready time counts as open for this long, and a longer preparation time isn't counted."""
RECENT_ORDERS = 3
"""How many of the day's latest completed orders are counted."""

LIVE_FEATURES = (
    Feature("open_orders", "orders", "open orders", "Orders of the restaurant that are acknowledged and not ready"),
    Feature(
        "recent_residual",
        "log",
        "recent orders compared with usual",
        "Log of preparation time divided by the restaurant's p50: the sum over the day's latest 3 completed orders, "
        "divided by their number plus 1",
    ),
)
"""The columns that the live model reads after those of `feature_matrix`."""

LOG_SCALE = float(2**20)
"""Sums of logarithms are integers in units of 1 / LOG_SCALE, so they don't depend on the order of addition."""

LOG_UNITS: NDArray[np.int64] = np.rint(np.log(np.maximum(np.arange(OPEN_SECONDS + 1), 1)) * LOG_SCALE).astype(np.int64)
"""The logarithm of each whole number of seconds, in units of 1 / `LOG_SCALE`."""

NEVER = np.iinfo(np.int64).max // 2
"""The ready time of an order that isn't ready."""

_TIME_BITS = 34
"""Bits of a time in a sort key: seconds until the year 2514."""


@dataclass(frozen=True, slots=True)
class KitchenStates:
    """The states of the kitchens of N orders. Every array has one entry per order."""

    open_orders: NDArray[np.int64]
    recent_orders: NDArray[np.int64]
    """The number of the day's latest completed orders, at most `RECENT_ORDERS`."""
    recent_log_sum: NDArray[np.int64]
    """The sum of the logarithms of their preparation times in seconds (`LOG_UNITS`)."""

    def __len__(self) -> int:
        return len(self.open_orders)

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_] | slice) -> KitchenStates:
        """Return the states selected by row indexes, a mask, or a slice."""
        return KitchenStates(self.open_orders[rows], self.recent_orders[rows], self.recent_log_sum[rows])

    @classmethod
    def from_rows(cls, rows: Iterable[tuple[int, int, int]]) -> KitchenStates:
        """Return the states of rows of open orders, recent orders, and the sum of their logarithms."""
        columns = np.array(list(rows), np.int64).reshape(-1, 3)
        return cls(columns[:, 0], columns[:, 1], columns[:, 2])


def live_features(states: KitchenStates, usual_seconds: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the live features of N orders, float32 [N, 2], in the order of `LIVE_FEATURES`.

    `usual_seconds` [N] are the restaurants' medians (`History.lookup`).
    """
    usual_log = np.log(np.maximum(usual_seconds, np.float32(1.0)).astype(np.float64))
    residual_sum = states.recent_log_sum / LOG_SCALE - states.recent_orders * usual_log
    columns = (states.open_orders, residual_sum / (states.recent_orders + 1))
    return np.column_stack(columns).astype(np.float32)


def count_kitchen(
    acknowledged_utc: int, day: int, open_orders: Iterable[int], completed_orders: Iterable[tuple[int, int, int]]
) -> tuple[int, int, int]:
    """Return the state of one kitchen as a row of `KitchenStates`.

    Args:
        acknowledged_utc: The order's acknowledgement, in seconds since 1970-01-01 in UTC, as all times.
        day: The local day of the acknowledgement (`preptime.features.spec.local_day`).
        open_orders: The acknowledgements of the restaurant's orders that aren't ready. Only those before the order's
            and within `OPEN_SECONDS` count.
        completed_orders: The ready times, their local days, and the preparation times in seconds of the restaurant's
            completed orders. Only those count that were ready before the order's acknowledgement on the same local day.

    Example:
        >>> count_kitchen(40_000, 0, [39_000, 39_990, 40_000], [])
        (2, 0, 0)
    """
    earliest = acknowledged_utc - OPEN_SECONDS
    count = sum(earliest < opened < acknowledged_utc for opened in open_orders)
    recent = sorted(
        (ready, prep)
        for ready, ready_day, prep in completed_orders
        if ready_day == day and ready < acknowledged_utc and 0 < prep <= OPEN_SECONDS
    )[-RECENT_ORDERS:]
    return count, len(recent), sum(int(LOG_UNITS[prep]) for _, prep in recent)


@dataclass(frozen=True, slots=True)
class KitchenEvents:
    """The N orders of all restaurants, in any order, from which the states are replayed."""

    restaurant_id: NDArray[np.int64]
    """Keys of the restaurants."""
    acknowledged_utc: NDArray[np.int64]
    """Seconds since 1970-01-01 in UTC."""
    ready_utc: NDArray[np.int64]
    """Seconds in UTC, or `NEVER` for an order without a ready time."""
    ready_day: NDArray[np.int64]
    """The local day of the ready time."""
    prep_time_seconds: NDArray[np.int64]
    """0 for an order without a label."""

    def replay(self, orders: OrderColumns) -> KitchenStates:
        """Return the states of N orders, each strictly before its acknowledgement."""
        return KitchenReplay.from_events(self).states(orders)


def concatenate_events(parts: Sequence[KitchenEvents]) -> KitchenEvents:
    """Return the events of all parts, at least one."""
    names = [field.name for field in fields(KitchenEvents)]
    return KitchenEvents(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


@dataclass(frozen=True, slots=True)
class KitchenReplay:
    """Events sorted for lookups. A key has a restaurant's position and a time, so it sorts by both."""

    restaurant_id: NDArray[np.int64]
    """[R] ascending."""
    opened: NDArray[np.int64]
    """[N] keys of the acknowledgements, ascending."""
    closed: NDArray[np.int64]
    """[N] keys of the last second in which an order is open, ascending."""
    completed: NDArray[np.int64]
    """[M] keys of the ready times, ascending."""
    completed_days: NDArray[np.int64]
    """[M] keys of their local days, ascending."""
    log_sums: NDArray[np.int64]
    """[M + 1] the sum of the logarithms of the preparation times of the first orders in `completed`."""

    @classmethod
    def from_events(cls, events: KitchenEvents) -> KitchenReplay:
        """Return the sorted events."""
        restaurants, position = np.unique(events.restaurant_id, return_inverse=True)
        acknowledged, ready, prep = events.acknowledged_utc, events.ready_utc, events.prep_time_seconds
        closed = np.minimum(ready, acknowledged + OPEN_SECONDS - 1)
        was_open = closed > acknowledged
        is_counted = (ready < NEVER) & (prep > 0) & (prep <= OPEN_SECONDS)
        completed, prep = _keys(position, ready)[is_counted], prep[is_counted]
        by_time = np.lexsort((prep, completed))
        return cls(
            restaurants,
            np.sort(_keys(position, acknowledged)[was_open]),
            np.sort(_keys(position, closed)[was_open]),
            completed[by_time],
            np.sort(_keys(position, events.ready_day)[is_counted]),
            np.concatenate([[0], np.cumsum(LOG_UNITS[prep[by_time]])]),
        )

    def states(self, orders: OrderColumns) -> KitchenStates:
        """Return the states of N orders with times in UTC. A restaurant without events has no orders in its kitchen."""
        if orders.acknowledged_utc is None:
            raise ValueError("The orders have no times in UTC.")
        position = np.searchsorted(self.restaurant_id, orders.restaurant_id)
        is_known = np.append(self.restaurant_id, -1)[position] == orders.restaurant_id
        is_known &= position < len(self.restaurant_id)
        keys, day_keys = _keys(position, orders.acknowledged_utc), _keys(position, local_day(orders.acknowledged_at))
        open_orders = np.searchsorted(self.opened, keys) - np.searchsorted(self.closed, keys)
        end = np.searchsorted(self.completed, keys)
        recent = np.clip(end - np.searchsorted(self.completed_days, day_keys), 0, RECENT_ORDERS)
        recent_log_sum = self.log_sums[end] - self.log_sums[end - recent]
        return KitchenStates(*(np.where(is_known, column, 0) for column in (open_orders, recent, recent_log_sum)))


def _keys(position: NDArray[np.int64], times: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return one sort key per order. Times outside of the representable range are at its ends."""
    bounded: NDArray[np.int64] = np.clip(times, 0, (1 << _TIME_BITS) - 1)
    return (position.astype(np.int64) << _TIME_BITS) | bounded
