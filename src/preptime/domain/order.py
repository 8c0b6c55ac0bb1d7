"""Orders as columns: the one shape that features are computed from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

UNKNOWN_CODE = -1
"""The code of a category that is not in the vocabulary."""


@dataclass(frozen=True, slots=True)
class OrderColumns:
    """N orders, column by column, as known at the moment of acknowledgement. One order is N = 1."""

    acknowledged_at: NDArray[np.int64]
    """Seconds since 1970-01-01 00:00 on the restaurant's own wall clock (local time, no zone)."""
    restaurant_id: NDArray[np.int64]
    order_value_gbp: NDArray[np.float64]
    number_of_items: NDArray[np.int64]
    country: NDArray[np.int32]
    """Position in the sorted vocabulary of countries, or `UNKNOWN_CODE`. The same for the next two."""
    city: NDArray[np.int32]
    type_of_food: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.restaurant_id)

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_] | slice) -> OrderColumns:
        """The same columns at `rows`: positions, a mask, or a slice."""
        return OrderColumns(
            self.acknowledged_at[rows],
            self.restaurant_id[rows],
            self.order_value_gbp[rows],
            self.number_of_items[rows],
            self.country[rows],
            self.city[rows],
            self.type_of_food[rows],
        )
