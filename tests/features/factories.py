"""Small directories and orders for the tests of this folder, and Hypothesis strategies for them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from preptime.domain.orders import UNKNOWN_CODE, OrderColumns
from preptime.domain.timestamps import SECONDS_PER_DAY
from preptime.features.history import History, build_history
from preptime.features.history_state import CompletedOrders, HistoryState
from preptime.features.restaurant_index import RestaurantIndex, Vocabularies

FIRST = dt.date(2015, 6, 1)
MORNING = dt.date(2015, 6, 11)
"""The morning that most tests stand on: ten days after `FIRST`."""

VOCABULARIES = Vocabularies(
    country=("France", "UK"),
    city=("Leeds", "London", "Paris"),
    type_of_food=("burgers", "italian", "thai"),
    time_zone=("Europe/London", "Europe/Paris"),
)
STRANGER = 99
"""An id that the directory does not list."""


class Order(NamedTuple):
    """One completed order; `at` and `ready` are seconds since the midnight that begins `FIRST`."""

    restaurant: int
    at: int
    label: int
    pence: int = 2_140
    items: int = 3
    city: int = UNKNOWN_CODE
    food: int = UNKNOWN_CODE

    @property
    def ready(self) -> int:
        return self.at + self.label


def directory() -> RestaurantIndex:
    """Five restaurants: two Italians in London, a Thai in Leeds, burgers in Paris, and one of which nothing is said."""
    return RestaurantIndex(
        VOCABULARIES,
        np.array([3, 5, 8, 12, 20], np.int64),
        np.array([1, 1, 1, 0, UNKNOWN_CODE], np.int32),
        np.array([1, 1, 0, 2, UNKNOWN_CODE], np.int32),
        np.array([1, 1, 2, 0, UNKNOWN_CODE], np.int32),
        np.array([0, 0, 0, 1, 0], np.int32),
    )


def midnight(date: dt.date) -> int:
    """Local seconds since 1970 at which a day begins."""
    return (date - dt.date(1970, 1, 1)).days * SECONDS_PER_DAY


def columns(orders: Sequence[Order]) -> OrderColumns:
    """What was known of orders at acknowledgement; categories are the restaurant's where it is listed."""
    of = directory()
    ids = np.array([order.restaurant for order in orders], np.int64)
    position = of.positions(ids)

    def codes(listed: NDArray[np.int32], own: list[int]) -> NDArray[np.int32]:
        return np.where(position == UNKNOWN_CODE, np.array(own, np.int32), listed[position]).astype(np.int32)

    return OrderColumns(
        np.array([order.at for order in orders], np.int64) + midnight(FIRST),
        ids,
        np.array([order.pence for order in orders], np.float64) / 100,
        np.array([order.items for order in orders], np.int64),
        codes(of.country, [UNKNOWN_CODE for _ in orders]),
        codes(of.city, [order.city for order in orders]),
        codes(of.type_of_food, [order.food for order in orders]),
    )


def completed(orders: Sequence[Order]) -> CompletedOrders:
    """The same orders with how they ended."""
    return CompletedOrders(
        columns(orders),
        np.array([order.ready for order in orders], np.int64) + midnight(FIRST),
        np.array([order.label for order in orders], np.int64),
    )


def known_on(orders: Sequence[Order], date: dt.date = MORNING) -> History:
    """The history of a morning, of whichever orders were ready before its midnight."""
    known = [order for order in orders if midnight(FIRST) + order.ready < midnight(date)]
    return build_history(HistoryState.from_orders(directory(), completed(known)), directory(), date)


def history_bytes(history: History) -> dict[str, bytes]:
    """Every array of a history, to the bit."""
    return {name: array.tobytes() for name, array in history.arrays().items()}


def state_bytes(state: HistoryState) -> tuple[object, ...]:
    """Every field of a state, to the bit."""
    arrays = (
        state.bin_orders,
        state.slot_orders,
        state.slot_bin_sums,
        state.value_pence,
        state.items,
        state.meal_period_orders,
        state.first_ready,
        state.latest_orders,
    )
    recent = {when: sums.tobytes() for when, sums in state.recent_days.items()}
    return (*(array.tobytes() for array in arrays), recent)


def some_orders(
    *, first_day: int = 0, last_day: int = 12, min_size: int = 0, max_size: int = 40
) -> st.SearchStrategy[list[Order]]:
    """Orders of all restaurants and of a stranger, between two days counted from `FIRST` (both included)."""
    order = st.builds(
        Order,
        restaurant=st.sampled_from([3, 5, 8, 12, 20, STRANGER]),
        at=st.integers(first_day * SECONDS_PER_DAY, (last_day + 1) * SECONDS_PER_DAY - 1),
        label=st.integers(0, 10_800),
        pence=st.integers(0, 20_000),
        items=st.integers(1, 40),
        city=st.integers(UNKNOWN_CODE, 2),
        food=st.integers(UNKNOWN_CODE, 2),
    )
    return st.lists(order, min_size=min_size, max_size=max_size)
