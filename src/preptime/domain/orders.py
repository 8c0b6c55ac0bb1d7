"""Orders as columns: the one shape that features are computed from.

What a prediction says: quantiles beside point predictions, and its basis.

The notebook's outlier fence, the one definition of it.
"""

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


QUANTILE_LEVELS = (0.1, 0.5, 0.8, 0.9)
"""The quantiles every prediction carries."""

DEFAULT_MODEL = "quantile"
"""The default answer is always this model's p50 (D6)."""

FALLBACK_LEVELS = ("restaurant", "city_food", "food", "city", "global")
"""The level of history behind a prediction, finest first."""


@dataclass(frozen=True, slots=True)
class Predictions:
    """Predictions for N orders, in the orders' own places."""

    points: dict[str, NDArray[np.float32]]
    """Seconds, [N] per point model (`rf`, `gbr`, ...)."""
    quantiles: NDArray[np.float32]
    """Seconds, [N, 4] in the order of `QUANTILE_LEVELS`; never crossing, never negative."""
    fallback_level: NDArray[np.int8]
    """[N] positions in `FALLBACK_LEVELS`."""

    @property
    def default(self) -> NDArray[np.float32]:
        """The default answer, seconds [N]: the p50."""
        return self.quantiles[:, QUANTILE_LEVELS.index(0.5)]


OUTLIER_LIMIT_IQRS = 1.5
"""The notebook's: third quartile + 1.5 times the interquartile range. Its lower fence is negative on every such
column, so the upper one is the fence."""


def upper_outlier_limit(values: NDArray[np.float64]) -> float:
    """The upper outlier fence of at least one value, in their unit."""
    first_quartile, third_quartile = np.percentile(values, [25, 75])
    return float(third_quartile + OUTLIER_LIMIT_IQRS * (third_quartile - first_quartile))
