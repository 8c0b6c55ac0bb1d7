"""The one feature function (D1)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from preptime.domain.order import OrderColumns
from preptime.features.clock import SLOTS, second_of_day, slot, weekday
from preptime.features.history import History
from preptime.features.spec import FEATURES, FIRST_DINNER_COLUMN, FIRST_LUNCH_COLUMN, HISTORY_FEATURES, ORDER_FEATURES

_HISTORY = len(ORDER_FEATURES)
_RELATION = _HISTORY + len(HISTORY_FEATURES)
_FIRST_MEALS = slice(_HISTORY + FIRST_LUNCH_COLUMN, _HISTORY + FIRST_DINNER_COLUMN + 1)
"""Two columns side by side; the relation's last two are from acknowledgement to each."""


def feature_matrix(
    orders: OrderColumns, history: History, subject: NDArray[np.int64] | None = None
) -> NDArray[np.float32]:
    """float32 [N, FEATURES]: what a model is given of each order, on the morning of the history's date.

    Every value is finite. Row i depends on order i and the history alone. `subject` is `history.subject(orders)`, for
    who has it already.
    """
    if subject is None:
        subject = history.subject(orders)
    second = second_of_day(orders.acknowledged_at)
    matrix = np.empty((len(orders), len(FEATURES)), np.float32)
    of_order: tuple[NDArray[np.generic], ...] = (
        second,
        weekday(orders.acknowledged_at),
        orders.order_value_gbp,
        orders.number_of_items,
        orders.city,
        orders.type_of_food,
    )
    for column, values in enumerate(of_order):
        matrix[:, column] = values
    # `take` and slices where an index of arrays would say the same: for one order that is half of the time.
    matrix[:, _HISTORY:_RELATION] = history.rows.take(subject, axis=0)
    matrix[:, _RELATION] = history.slots.reshape(-1).take(subject * SLOTS + slot(second))
    matrix[:, _RELATION + 1 :] = matrix[:, _FIRST_MEALS] - second[:, np.newaxis]
    return matrix
