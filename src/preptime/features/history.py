"""What is known each morning, finished: one float32 row a restaurant, and one a place for those without orders.

The one feature function (D1).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from preptime.domain.orders import FALLBACK_LEVELS, UNKNOWN_CODE, OrderColumns
from preptime.errors import UsageError
from preptime.features.history_state import HistoryState
from preptime.features.restaurant_index import RestaurantIndex, Vocabularies
from preptime.features.shrinkage import fit_global_prior, group_levels, group_orders, history_rows
from preptime.features.spec import (
    FEATURES,
    FIRST_DINNER_COLUMN,
    FIRST_LUNCH_COLUMN,
    HISTORY_FEATURES,
    MEDIAN_COLUMN,
    ORDER_FEATURES,
    TIME_SLOT_COUNT,
    second_of_day,
    time_slot,
    weekday,
)


@dataclass(frozen=True)
class History:
    """What is known of restaurants, cities and types of food from orders whose local `order_ready_at` is before `date`.

    Subjects are the R restaurants of the directory, then its places (city, food), for orders whose restaurant is not
    in it. A restaurant without an order has its place's row.
    """

    date: str
    """ISO date D: known is what happened before D's local midnight."""
    restaurants: RestaurantIndex
    rows: NDArray[np.float32]
    """[R + groups, HISTORY_FEATURES]"""
    slots: NDArray[np.float32]
    """[R + groups, TIME_SLOT_COUNT] mean seconds in each time slot."""
    fallback_level: NDArray[np.int8]
    """[R + groups] positions in `FALLBACK_LEVELS`: the finest level with at least one completed order."""
    global_median_seconds: np.float32
    """The median of all orders: the plainer of the two baselines."""

    @property
    def vocabularies(self) -> Vocabularies:
        """The words that codes stand for."""
        return self.restaurants.vocabularies

    def row_index(self, orders: OrderColumns) -> NDArray[np.int64]:
        """[N] the row behind each order: its restaurant's, or its place's."""
        position = self.restaurants.positions(orders.restaurant_id)
        is_unknown = position == UNKNOWN_CODE
        if np.count_nonzero(is_unknown):  # `any` takes ten times as long for one order
            group = self.restaurants.group_index(orders.city[is_unknown], orders.type_of_food[is_unknown])
            position[is_unknown] = len(self.restaurants) + group
        return position

    def fallback_level_for(self, orders: OrderColumns) -> NDArray[np.int8]:
        """[N] positions in `FALLBACK_LEVELS`."""
        return self.fallback_level[self.row_index(orders)]

    def lookup(self, orders: OrderColumns) -> NDArray[np.float32]:
        """[N] seconds: the shrunken restaurant median, the baseline that every model must beat."""
        medians: NDArray[np.float32] = self.rows[self.row_index(orders), MEDIAN_COLUMN]
        return medians

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Everything that is an array, by name."""
        restaurants = self.restaurants
        return {
            "restaurant_id": restaurants.restaurant_id,
            "country": restaurants.country,
            "city": restaurants.city,
            "type_of_food": restaurants.type_of_food,
            "time_zone": restaurants.time_zone,
            "rows": self.rows,
            "slots": self.slots,
            "fallback_level": self.fallback_level,
            "global_median_seconds": np.array([self.global_median_seconds]),
        }

    @classmethod
    def from_arrays(cls, date: str, vocabularies: Vocabularies, arrays: Mapping[str, NDArray[np.generic]]) -> History:
        """The history that `arrays()` came from: no copies, so memory-mapped arrays stay mapped."""
        # A memmap is an ndarray with costs at every access; a plain view of it reads the same pages.
        arrays = {name: np.asarray(array) for name, array in arrays.items()}
        restaurants = RestaurantIndex(
            vocabularies,
            arrays["restaurant_id"].view(np.int64),
            *(arrays[name].view(np.int32) for name in ("country", "city", "type_of_food", "time_zone")),
        )
        return cls(
            date,
            restaurants,
            arrays["rows"].view(np.float32),
            arrays["slots"].view(np.float32),
            arrays["fallback_level"].view(np.int8),
            arrays["global_median_seconds"].view(np.float32)[0],
        )


def build_history(state: HistoryState, restaurants: RestaurantIndex, date: dt.date) -> History:
    """The history of the morning of `date`.

    Raises `UsageError` when the state holds an order that was ready on or after that day: it would know the future.
    """
    today = (date - dt.date(1970, 1, 1)).days
    if state.last_day is not None and state.last_day >= today:
        latest = dt.date(1970, 1, 1) + dt.timedelta(days=state.last_day)
        raise UsageError(f"A history of the morning of {date} was asked of orders that were ready on {latest}.")
    prior = fit_global_prior(state)
    rows, slots = history_rows(state, restaurants, prior, group_levels(state, restaurants, prior), today)
    median = float(rows[len(restaurants) + restaurants.group_count - 1, MEDIAN_COLUMN])
    return History(date.isoformat(), restaurants, rows, slots, _fallback_levels(state, restaurants), np.float32(median))


def _fallback_levels(state: HistoryState, restaurants: RestaurantIndex) -> NDArray[np.int8]:
    """[R + groups] the finest level with an order behind it."""
    orders = group_orders(state, restaurants)
    has_orders = {
        "city_food": orders > 0,
        "food": np.broadcast_to(orders.sum(axis=0) > 0, orders.shape),
        "city": np.broadcast_to((orders.sum(axis=1) > 0)[:, None], orders.shape),
    }
    # The last row and column are the unknown: nothing is known of them as a city or a food.
    known_city, known_food = np.ones(orders.shape, bool), np.ones(orders.shape, bool)
    known_city[-1, :] = False
    known_food[:, -1] = False
    level = np.full(orders.shape, FALLBACK_LEVELS.index("global"), np.int8)
    level[has_orders["city"] & known_city] = FALLBACK_LEVELS.index("city")
    level[has_orders["food"] & known_food] = FALLBACK_LEVELS.index("food")
    level[has_orders["city_food"] & known_city & known_food] = FALLBACK_LEVELS.index("city_food")
    group_level = level.ravel()
    restaurant_level = group_level[restaurants.group_index(restaurants.city, restaurants.type_of_food)]
    restaurant_level[state.orders > 0] = FALLBACK_LEVELS.index("restaurant")
    return np.concatenate([restaurant_level, group_level])


_HISTORY_START = len(ORDER_FEATURES)
_RELATION_START = _HISTORY_START + len(HISTORY_FEATURES)
_FIRST_MEAL_COLUMNS = slice(_HISTORY_START + FIRST_LUNCH_COLUMN, _HISTORY_START + FIRST_DINNER_COLUMN + 1)
"""Two columns side by side; the relation's last two are from acknowledgement to each."""


def feature_matrix(
    orders: OrderColumns, history: History, row_index: NDArray[np.int64] | None = None
) -> NDArray[np.float32]:
    """float32 [N, FEATURES]: what a model is given of each order, on the morning of the history's date.

    Every value is finite. Row i depends on order i and the history alone. `row_index` is `history.row_index(orders)`, for
    who has it already.
    """
    if row_index is None:
        row_index = history.row_index(orders)
    second = second_of_day(orders.acknowledged_at)
    matrix = np.empty((len(orders), len(FEATURES)), np.float32)
    order_values: tuple[NDArray[np.generic], ...] = (
        second,
        weekday(orders.acknowledged_at),
        orders.order_value_gbp,
        orders.number_of_items,
        orders.city,
        orders.type_of_food,
    )
    for column, values in enumerate(order_values):
        matrix[:, column] = values
    # `take` and slices where an index of arrays would say the same: for one order that is half of the time.
    matrix[:, _HISTORY_START:_RELATION_START] = history.rows.take(row_index, axis=0)
    matrix[:, _RELATION_START] = history.slots.reshape(-1).take(row_index * TIME_SLOT_COUNT + time_slot(second))
    matrix[:, _RELATION_START + 1 :] = matrix[:, _FIRST_MEAL_COLUMNS] - second[:, np.newaxis]
    return matrix
