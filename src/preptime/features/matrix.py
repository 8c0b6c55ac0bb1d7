"""The one feature function (D1)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from preptime.domain.order import OrderColumns
from preptime.features.clock import TIME_SLOT_COUNT, second_of_day, time_slot, weekday
from preptime.features.history import History
from preptime.features.spec import FEATURES, FIRST_DINNER_COLUMN, FIRST_LUNCH_COLUMN, HISTORY_FEATURES, ORDER_FEATURES

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
