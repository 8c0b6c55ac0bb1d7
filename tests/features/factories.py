"""Small restaurant indexes and orders for tests, and Hypothesis strategies for them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from preptime.domain.orders import UNKNOWN_CODE, OrderColumns
from preptime.domain.timestamps import SECONDS_PER_DAY
from preptime.features.history import History
from preptime.features.history_state import CompletedOrders, HistoryState
from preptime.features.restaurant_index import RestaurantIndex, Vocabularies
from preptime.features.shrinkage import build_history

FIRST_DAY = dt.date(2015, 6, 1)
AS_OF = dt.date(2015, 6, 11)
"""The as-of date of most tests: ten days after `FIRST_DAY`."""

VOCABULARIES = Vocabularies(
    country=("France", "UK"),
    city=("Leeds", "London", "Paris"),
    type_of_food=("burgers", "italian", "thai"),
    time_zone=("Europe/London", "Europe/Paris"),
)
UNKNOWN_RESTAURANT = 99
"""An id that isn't in the restaurant index."""


class Order(NamedTuple):
    """One completed order. `at` and `ready` are seconds since midnight at the start of `FIRST_DAY`."""

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


def example_restaurants() -> RestaurantIndex:
    """Return five restaurants: two Italian in London, one Thai in Leeds, one burger in Paris, and one without data."""
    return RestaurantIndex(
        VOCABULARIES,
        np.array([3, 5, 8, 12, 20], np.int64),
        np.array([1, 1, 1, 0, UNKNOWN_CODE], np.int32),
        np.array([1, 1, 0, 2, UNKNOWN_CODE], np.int32),
        np.array([1, 1, 2, 0, UNKNOWN_CODE], np.int32),
        np.array([0, 0, 0, 1, 0], np.int32),
    )


def midnight_seconds(date: dt.date) -> int:
    """Return the start of a day in local seconds since 1970."""
    return (date - dt.date(1970, 1, 1)).days * SECONDS_PER_DAY


def order_columns(orders: Sequence[Order]) -> OrderColumns:
    """Return orders as columns. The categories of a known restaurant are those of the index."""
    restaurants = example_restaurants()
    ids = np.array([order.restaurant for order in orders], np.int64)
    position = restaurants.positions(ids)

    def codes(listed: NDArray[np.int32], own: list[int]) -> NDArray[np.int32]:
        return np.where(position == UNKNOWN_CODE, np.array(own, np.int32), listed[position]).astype(np.int32)

    return OrderColumns(
        np.array([order.at for order in orders], np.int64) + midnight_seconds(FIRST_DAY),
        ids,
        np.array([order.pence for order in orders], np.float64) / 100,
        np.array([order.items for order in orders], np.int64),
        codes(restaurants.country, [UNKNOWN_CODE for _ in orders]),
        codes(restaurants.city, [order.city for order in orders]),
        codes(restaurants.type_of_food, [order.food for order in orders]),
    )


def completed_orders(orders: Sequence[Order]) -> CompletedOrders:
    """Return orders as completed orders."""
    return CompletedOrders(
        order_columns(orders),
        np.array([order.ready for order in orders], np.int64) + midnight_seconds(FIRST_DAY),
        np.array([order.label for order in orders], np.int64),
    )


def history_as_of(orders: Sequence[Order], date: dt.date = AS_OF) -> History:
    """Return the history as of a date, from those orders that were ready before its midnight."""
    included = [order for order in orders if midnight_seconds(FIRST_DAY) + order.ready < midnight_seconds(date)]
    return build_history(
        HistoryState.from_orders(example_restaurants(), completed_orders(included)), example_restaurants(), date
    )


def history_bytes(history: History) -> dict[str, bytes]:
    """Return the bytes of every array of a history."""
    return {name: array.tobytes() for name, array in history.arrays().items()}


def state_bytes(state: HistoryState) -> tuple[object, ...]:
    """Return the bytes of every field of a state."""
    arrays = (
        state.bin_orders,
        state.slot_orders,
        state.slot_bin_sums,
        state.value_cents,
        state.items,
        state.meal_period_orders,
        state.first_ready,
        state.latest_orders,
        state.category_orders,
        state.category_bin_sums,
    )
    recent = {when: sums.tobytes() for when, sums in state.recent_days.items()}
    return (*(array.tobytes() for array in arrays), recent)


def some_orders(
    *, first_day: int = 0, last_day: int = 12, min_size: int = 0, max_size: int = 40
) -> st.SearchStrategy[list[Order]]:
    """Return a strategy for orders of all restaurants and an unknown one, between two days from `FIRST_DAY`."""
    order = st.builds(
        Order,
        restaurant=st.sampled_from([3, 5, 8, 12, 20, UNKNOWN_RESTAURANT]),
        at=st.integers(first_day * SECONDS_PER_DAY, (last_day + 1) * SECONDS_PER_DAY - 1),
        label=st.integers(0, 10_800),
        pence=st.integers(0, 20_000),
        items=st.integers(1, 40),
        city=st.integers(UNKNOWN_CODE, 2),
        food=st.integers(UNKNOWN_CODE, 2),
    )
    return st.lists(order, min_size=min_size, max_size=max_size)
