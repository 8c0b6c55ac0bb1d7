"""Orders and predictions as columns, and the limit above which a label is an outlier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

UNKNOWN_CODE = -1
"""The code of a category that isn't in the vocabulary."""

QUANTILE_LEVELS = (0.1, 0.5, 0.8, 0.9)
"""The quantiles of every prediction."""
MEDIAN_INDEX = QUANTILE_LEVELS.index(0.5)

DEFAULT_MODEL = "quantile"
"""The default prediction is always the p50 of this model (decision 6)."""

MIN_SCALED_SECONDS = 60.0
"""Calibration shifts a quantile by a share of itself or of this value, if larger: a share of 0 s would have no effect.
"""

FALLBACK_LEVELS = ("restaurant", "city_food", "food", "city", "global")
"""The levels of history that a prediction can be based on, finest first."""

OUTLIER_LIMIT_IQRS = 1.5
"""The outlier limit is the third quartile plus this many interquartile ranges, as in the original notebook. The
notebook's lower limit is negative for every such column, so only the upper one matters."""


@dataclass(frozen=True, slots=True)
class OrderColumns:
    """N orders as columns, as known when each order is acknowledged. A single order has N = 1."""

    acknowledged_at: NDArray[np.int64]
    """Local time at the restaurant, in seconds since 1970-01-01 00:00."""
    restaurant_id: NDArray[np.int64]
    """Keys of the restaurants (`preptime.domain.restaurant_ids`)."""
    order_value: NDArray[np.float64]
    """In units of the schema's currency; 0 if the schema has no order value."""
    number_of_items: NDArray[np.int64]
    """0 if the schema has no number of items."""
    country: NDArray[np.int32]
    """Index in the sorted vocabulary of countries, or `UNKNOWN_CODE`. `city` and `type_of_food` work the same way."""
    city: NDArray[np.int32]
    type_of_food: NDArray[np.int32]
    numbers: NDArray[np.float64] | None = None
    """[N, K] custom numbers of orders, in the order of the schema. NaN means missing. None if the schema has none."""
    categories: NDArray[np.int32] | None = None
    """[N, C] codes of the custom categories of orders and restaurants, in the order of the schema. None without any."""
    acknowledged_utc: NDArray[np.int64] | None = None
    """[N] the acknowledgement in seconds since 1970-01-01 in UTC. Only replaying the states of kitchens needs it."""

    def __len__(self) -> int:
        return len(self.restaurant_id)

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_] | slice) -> OrderColumns:
        """Return the orders selected by row indexes, a mask, or a slice."""
        return OrderColumns(
            self.acknowledged_at[rows],
            self.restaurant_id[rows],
            self.order_value[rows],
            self.number_of_items[rows],
            self.country[rows],
            self.city[rows],
            self.type_of_food[rows],
            None if self.numbers is None else self.numbers[rows],
            None if self.categories is None else self.categories[rows],
            None if self.acknowledged_utc is None else self.acknowledged_utc[rows],
        )


def concatenate_orders(parts: Sequence[OrderColumns]) -> OrderColumns:
    """Return the orders of all parts, at least one, in order. They have the same custom features."""
    names = [field.name for field in fields(OrderColumns) if getattr(parts[0], field.name) is not None]
    return OrderColumns(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


@dataclass(frozen=True, slots=True)
class Predictions:
    """Predictions for N orders, in the order of the input rows."""

    points: dict[str, NDArray[np.float32]]
    """Seconds, [N] for each point model (`rf`, `gbr`, ...)."""
    quantiles: NDArray[np.float32]
    """Seconds, [N, 4] in the order of `QUANTILE_LEVELS`. They never cross and are never negative."""
    fallback_level: NDArray[np.int8]
    """[N] indexes in `FALLBACK_LEVELS`."""
    live: NDArray[np.bool_] | None = None
    """[N] whether the quantiles are those of the live model. None if no state of a kitchen was passed."""

    @property
    def default(self) -> NDArray[np.float32]:
        """The default prediction, the p50, in seconds [N]."""
        return self.quantiles[:, MEDIAN_INDEX]


def upper_outlier_limit(values: NDArray[np.float64]) -> float:
    """Return the limit above which one of at least one value is an outlier, in the unit of the values."""
    first_quartile, third_quartile = np.percentile(values, [25, 75])
    return float(third_quartile + OUTLIER_LIMIT_IQRS * (third_quartile - first_quartile))
