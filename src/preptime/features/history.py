"""The history as of a date, and the feature function that reads it (decision 1).

A history holds one float32 row per restaurant, and one per (city, food) group for restaurants without orders.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from preptime.domain.orders import UNKNOWN_CODE, OrderColumns
from preptime.features.restaurant_index import RestaurantIndex, Vocabularies
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
    """Aggregates of the completed orders whose local `order_ready_at` is before `date`.

    Rows 0 to R - 1 are the R restaurants of the index. The (city, food) groups follow, for orders of unknown
    restaurants. A restaurant without orders has the values of its group.
    """

    date: str
    """As-of date, ISO format. Only orders that were ready before its local midnight are included."""
    restaurants: RestaurantIndex
    rows: NDArray[np.float32]
    """[R + groups, HISTORY_FEATURES], in the units that `HISTORY_FEATURES` declares."""
    slots: NDArray[np.float32]
    """[R + groups, TIME_SLOT_COUNT] mean preparation time in each time slot, seconds."""
    fallback_level: NDArray[np.int8]
    """[R + groups] positions in `FALLBACK_LEVELS`: the finest level with at least one completed order."""
    global_median_seconds: np.float32
    """The median of all orders: the simpler of the two baselines."""

    @property
    def vocabularies(self) -> Vocabularies:
        """The vocabularies of the category codes."""
        return self.restaurants.vocabularies

    def row_index(self, orders: OrderColumns) -> NDArray[np.int64]:
        """Return the row of each order, [N]: its restaurant's, or its group's for an unknown restaurant."""
        position = self.restaurants.positions(orders.restaurant_id)
        is_unknown = position == UNKNOWN_CODE
        if np.count_nonzero(is_unknown):  # `any` takes ten times as long for one order
            group = self.restaurants.group_index(orders.city[is_unknown], orders.type_of_food[is_unknown])
            position[is_unknown] = len(self.restaurants) + group
        return position

    def fallback_level_for(self, orders: OrderColumns) -> NDArray[np.int8]:
        """Return the fallback level of each order, [N], as positions in `FALLBACK_LEVELS`."""
        return self.fallback_level[self.row_index(orders)]

    def lookup(self, orders: OrderColumns) -> NDArray[np.float32]:
        """Return the shrunken restaurant median of each order, [N] seconds: the baseline that every model must beat."""
        medians: NDArray[np.float32] = self.rows[self.row_index(orders), MEDIAN_COLUMN]
        return medians

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return every array of the history by name, as `from_arrays` reads them."""
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
        """Return the history that `arrays()` came from. Nothing is copied, so memory-mapped arrays stay mapped."""
        # Every access to a memmap object costs time. A plain view reads the same pages without that cost.
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


_HISTORY_START = len(ORDER_FEATURES)
_RELATION_START = _HISTORY_START + len(HISTORY_FEATURES)
_FIRST_MEAL_COLUMNS = slice(_HISTORY_START + FIRST_LUNCH_COLUMN, _HISTORY_START + FIRST_DINNER_COLUMN + 1)
"""First lunch and first dinner. The last two relation features are the seconds from acknowledgement to each."""


def feature_matrix(
    orders: OrderColumns, history: History, row_index: NDArray[np.int64] | None = None
) -> NDArray[np.float32]:
    """Return the features of N orders as of the history's date.

    Row i depends only on order i and the history, so batches and single orders get the same values.

    Args:
        orders: N orders, as known at acknowledgement.
        history: The history to read.
        row_index: `history.row_index(orders)`, [N], to avoid computing it twice.

    Returns:
        float32 [N, FEATURES], in the order and the units of `preptime.features.spec.FEATURES`. Every value is finite.
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
    # For one order, `take` and slices need half the time of indexing with arrays.
    matrix[:, _HISTORY_START:_RELATION_START] = history.rows.take(row_index, axis=0)
    matrix[:, _RELATION_START] = history.slots.reshape(-1).take(row_index * TIME_SLOT_COUNT + time_slot(second))
    matrix[:, _RELATION_START + 1 :] = matrix[:, _FIRST_MEAL_COLUMNS] - second[:, np.newaxis]
    return matrix
