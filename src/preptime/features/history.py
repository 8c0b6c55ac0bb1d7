"""The history as of a date, and the feature function that reads it (decision 1).

A history holds one float32 row per restaurant, and one per (city, food) group for restaurants without orders.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from preptime.domain.orders import UNKNOWN_CODE, OrderColumns
from preptime.features.feature_set import DEFAULT_MAXIMUM, MISSING_NUMBER, TAKE_HOME_FEATURES, FeatureSet
from preptime.features.restaurant_index import RestaurantIndex, Vocabularies
from preptime.features.restaurant_names import RestaurantNames
from preptime.features.spec import (
    BASE_FEATURES,
    FIRST_DINNER_COLUMN,
    FIRST_LUNCH_COLUMN,
    HISTORY_FEATURES,
    MEDIAN_COLUMN,
    ORDER_FEATURES,
    QUANTILE_COLUMNS,
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
    """[R + groups, HISTORY_FEATURES + 2 K] float32, in the units that `HISTORY_FEATURES` declares.

    The K custom numbers of restaurants follow, filled where they are missing, and then their K indicators.
    """
    slots: NDArray[np.float32]
    """[R + groups, TIME_SLOT_COUNT] mean preparation time in each time slot, seconds."""
    fallback_level: NDArray[np.int8]
    """[R + groups] positions in `FALLBACK_LEVELS`: the finest level with at least one completed order."""
    global_median_seconds: np.float32
    """The median of all orders: the simpler of the two baselines."""
    category_means: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))
    """[T] seconds: the shrunken mean of each cell of the custom categories (`Vocabularies.category_starts`)."""
    category_orders: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))
    """[T] log(1 + completed orders) of each cell."""

    @property
    def vocabularies(self) -> Vocabularies:
        """The vocabularies of the category codes."""
        return self.restaurants.vocabularies

    @cached_property
    def feature_set(self) -> FeatureSet:
        """The columns of the feature matrix."""
        return self.restaurants.feature_set

    @cached_property
    def category_starts(self) -> NDArray[np.int64]:
        """The cell of code 0 of each custom category, [C]."""
        return self.vocabularies.category_starts

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

    def lookup_quantiles(self, orders: OrderColumns) -> NDArray[np.float32]:
        """Return the shrunken quantiles of each order's restaurant, [N, 5] seconds.

        The levels are `preptime.features.shrinkage.QUANTILE_LEVELS`. The column of 0.5 is `lookup(orders)`.
        """
        quantiles: NDArray[np.float32] = self.rows[self.row_index(orders), QUANTILE_COLUMNS]
        return quantiles

    @property
    def global_quantiles(self) -> NDArray[np.float32]:
        """The quantiles of all orders, [5] seconds, at the levels of `lookup_quantiles`.

        The last row is that of the group whose city and type of food are unknown.
        """
        return self.rows[-1, QUANTILE_COLUMNS]

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return every array of the history by name, as `from_arrays` reads them.

        Arrays of custom features are present only if the schema has some, and arrays of names only for text IDs.
        """
        restaurants = self.restaurants
        arrays: dict[str, NDArray[np.generic]] = {
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
        if restaurants.categories is not None:
            arrays["restaurant_categories"] = restaurants.categories
        arrays |= restaurants.names.arrays()
        if self.feature_set.categories:
            arrays |= {"category_means": self.category_means, "category_orders": self.category_orders}
        return arrays

    @classmethod
    def from_arrays(
        cls,
        date: str,
        vocabularies: Vocabularies,
        arrays: Mapping[str, NDArray[np.generic]],
        feature_set: FeatureSet = TAKE_HOME_FEATURES,
    ) -> History:
        """Return the history that `arrays()` came from. Nothing is copied, so memory-mapped arrays stay mapped."""
        # Every access to a memmap object costs time. A plain view reads the same pages without that cost.
        arrays = {name: np.asarray(array) for name, array in arrays.items()}
        categories = arrays.get("restaurant_categories")
        restaurants = RestaurantIndex(
            vocabularies,
            arrays["restaurant_id"].view(np.int64),
            *(arrays[name].view(np.int32) for name in ("country", "city", "type_of_food", "time_zone")),
            feature_set=feature_set,
            categories=None if categories is None else categories.view(np.int32),
            names=RestaurantNames.from_arrays(arrays),
        )
        no_cells = np.empty(0, np.float32)
        return cls(
            date,
            restaurants,
            arrays["rows"].view(np.float32),
            arrays["slots"].view(np.float32),
            arrays["fallback_level"].view(np.int8),
            arrays["global_median_seconds"].view(np.float32)[0],
            arrays.get("category_means", no_cells).view(np.float32),
            arrays.get("category_orders", no_cells).view(np.float32),
        )


_HISTORY_START = len(ORDER_FEATURES)
_RELATION_START = _HISTORY_START + len(HISTORY_FEATURES)
_BASE_END = len(BASE_FEATURES)
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
        float32 [N, F], in the order and the units of `history.feature_set.features`. Every value is finite.
    """
    if row_index is None:
        row_index = history.row_index(orders)
    features = history.feature_set
    rows = history.rows.take(row_index, axis=0)
    if features.is_take_home:
        matrix = np.empty((len(orders), _BASE_END), np.float32)
        _fill_base_features(matrix, orders, history, row_index, rows)
        return matrix
    matrix, base_count = np.empty((len(orders), len(features)), np.float32), len(features.base_columns)
    base = matrix[:, :_BASE_END] if features.has_all_base_features else np.empty((len(orders), _BASE_END), np.float32)
    _fill_base_features(base, orders, history, row_index, rows[:, : len(HISTORY_FEATURES)])
    if not features.has_all_base_features:
        matrix[:, :base_count] = base[:, features.base_columns]
    _fill_custom_features(matrix[:, base_count:], orders, history, rows[:, len(HISTORY_FEATURES) :])
    return matrix


def _fill_base_features(
    matrix: NDArray[np.float32],
    orders: OrderColumns,
    history: History,
    row_index: NDArray[np.int64],
    rows: NDArray[np.float32],
) -> None:
    second = second_of_day(orders.acknowledged_at)
    order_values: tuple[NDArray[np.generic], ...] = (
        second,
        weekday(orders.acknowledged_at),
        orders.order_value,
        orders.number_of_items,
        orders.city,
        orders.type_of_food,
    )
    for column, values in enumerate(order_values):
        matrix[:, column] = values
    # For one order, `take` and slices need half the time of indexing with arrays.
    matrix[:, _HISTORY_START:_RELATION_START] = rows
    matrix[:, _RELATION_START] = history.slots.reshape(-1).take(row_index * TIME_SLOT_COUNT + time_slot(second))
    matrix[:, _RELATION_START + 1 :] = matrix[:, _FIRST_MEAL_COLUMNS] - second[:, np.newaxis]


def _fill_custom_features(
    matrix: NDArray[np.float32], orders: OrderColumns, history: History, restaurant_values: NDArray[np.float32]
) -> None:
    """Fill the custom part of the matrix (`FeatureSet`). Orders without custom values have missing ones."""
    features = history.feature_set
    column = _fill_numbers(matrix, orders, features)
    end = column + restaurant_values.shape[1]
    if end > column:
        matrix[:, column:end] = restaurant_values
    count = len(features.categories)
    if count:
        codes = orders.categories
        if codes is None:
            codes = np.full((len(orders), count), UNKNOWN_CODE, np.int32)
        cells = history.category_starts + codes
        matrix[:, end : end + count] = codes
        matrix[:, end + count : end + 2 * count] = history.category_means.take(cells)
        matrix[:, end + 2 * count :] = history.category_orders.take(cells)


def _fill_numbers(matrix: NDArray[np.float32], orders: OrderColumns, features: FeatureSet) -> int:
    """Fill the numbers of orders, the ratios, and the indicators. Return the number of filled columns."""
    count, ratio_count = len(features.order_numbers), len(features.ratios)
    numbers = np.full((len(orders), count), np.nan) if orders.numbers is None else orders.numbers
    if ratio_count:
        matrix[:, count : count + ratio_count] = _ratios(orders, numbers, features)
    if not count:
        return ratio_count
    is_missing, optional = np.isnan(numbers), features.optional_positions
    matrix[:, :count] = np.where(is_missing, features.number_fills, numbers)
    end = count + ratio_count + len(optional)
    matrix[:, count + ratio_count : end] = is_missing if len(optional) == count else is_missing[:, optional]
    return end


def _ratios(orders: OrderColumns, numbers: NDArray[np.float64], features: FeatureSet) -> NDArray[np.float64]:
    """Return the ratios of a feature set, [N, ratios]. A ratio without a value is `MISSING_NUMBER`."""
    operands = np.column_stack([numbers, orders.order_value, orders.number_of_items])
    dividends, divisors = features.ratio_operands
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        ratios = operands[:, dividends] / operands[:, divisors]
    return np.where(np.abs(ratios) <= DEFAULT_MAXIMUM, ratios, MISSING_NUMBER)
