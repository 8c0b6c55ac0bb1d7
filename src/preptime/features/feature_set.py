"""The feature set of a schema: the columns of the feature matrix, base features first, then custom features."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from preptime.features.spec import BASE_FEATURES, CURRENCY_UNIT, Feature
from preptime.schema.schema import MAX_RANGE, TAKE_HOME_SCHEMA, CustomFeature, Ratio, Schema

_FEATURES_BY_COLUMN = {
    "order_value": ("order_value", "restaurant_mean_order_value"),
    "number_of_items": ("number_of_items", "restaurant_mean_items"),
}
"""The base features that need an optional canonical column. A schema without the column doesn't have them."""

_RATIO_ENDS = ("dividend", "divisor")
DEFAULT_MINIMUM, DEFAULT_MAXIMUM = -MAX_RANGE, MAX_RANGE
"""The range of a custom number without a range of its own."""
MISSING_NUMBER = -1.0
"""The fill value of a missing custom number whose smallest valid value isn't declared or isn't negative.

A number below every valid one lets a tree separate missing values with one split, as CatBoost does. The indicator makes
the fill value unambiguous. Models therefore need no support for missing values.
"""


def valid_range(feature: CustomFeature) -> tuple[float, float, str]:
    """Return the smallest and the largest valid value of a number, and what is expected, in words."""
    minimum, maximum = feature.range or (DEFAULT_MINIMUM, DEFAULT_MAXIMUM)
    return minimum, maximum, f"a number from {minimum:,.10g} to {maximum:,.10g}".replace("e+", "e")


@dataclass(frozen=True)
class FeatureSet:
    """The columns of a feature matrix: the base features of a schema, followed by its custom features.

    The custom part has, each in the order of the schema: numbers of orders, ratios, indicators of missing numbers,
    numbers of restaurants and their indicators, codes of categories, mean preparation times of categories, and their
    orders.
    """

    base_columns: tuple[int, ...]
    """Positions in `BASE_FEATURES`, ascending."""
    custom: tuple[CustomFeature, ...]
    ratios: tuple[Ratio, ...]
    currency: str

    @classmethod
    def from_schema(cls, schema: Schema) -> FeatureSet:
        """Return the features of a schema."""
        absent = {name for column, names in _FEATURES_BY_COLUMN.items() if not schema.has(column) for name in names}
        columns = tuple(index for index, feature in enumerate(BASE_FEATURES) if feature.name not in absent)
        return cls(columns, schema.features, schema.ratios, schema.currency)

    @cached_property
    def features(self) -> tuple[Feature, ...]:
        """Every column of the matrix, in order."""
        base = (BASE_FEATURES[column] for column in self.base_columns)
        currency = self.currency or CURRENCY_UNIT
        return (
            *(replace(feature, unit=currency) if feature.unit == CURRENCY_UNIT else feature for feature in base),
            *map(_number_feature, self.order_numbers),
            *map(_ratio_feature, self.ratios),
            *map(_indicator_feature, self.optional_order_numbers),
            *map(_number_feature, self.restaurant_numbers),
            *map(_indicator_feature, self.restaurant_numbers),
            *map(_code_feature, self.categories),
            *map(_category_mean_feature, self.categories),
            *map(_category_orders_feature, self.categories),
        )

    def __len__(self) -> int:
        return len(self.features)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of the columns."""
        return tuple(feature.name for feature in self.features)

    @cached_property
    def titles(self) -> dict[str, str]:
        """The names for people, by name."""
        return {feature.name: feature.title for feature in self.features}

    @cached_property
    def order_numbers(self) -> tuple[CustomFeature, ...]:
        """The custom numbers of orders: the columns of `OrderColumns.numbers`."""
        return tuple(feature for feature in self.custom if feature.type == "number" and feature.of == "order")

    @cached_property
    def optional_order_numbers(self) -> tuple[CustomFeature, ...]:
        """The custom numbers of orders that can be missing."""
        return tuple(feature for feature in self.order_numbers if not feature.required)

    @cached_property
    def restaurant_numbers(self) -> tuple[CustomFeature, ...]:
        """The custom numbers of restaurants, which are a part of the history's rows."""
        return tuple(feature for feature in self.custom if feature.type == "number" and feature.of == "restaurant")

    @cached_property
    def categories(self) -> tuple[CustomFeature, ...]:
        """The custom categories of orders and restaurants: the columns of `OrderColumns.categories`."""
        return tuple(feature for feature in self.custom if feature.type == "category")

    @cached_property
    def optional_positions(self) -> NDArray[np.intp]:
        """The positions of the optional numbers among the custom numbers of orders."""
        return np.array([index for index, feature in enumerate(self.order_numbers) if not feature.required], np.intp)

    @cached_property
    def ratio_operands(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """The positions of the dividends and of the divisors of the ratios.

        They count the custom numbers of orders, followed by the order value and the number of items.
        """
        names = [*(feature.name for feature in self.order_numbers), "order_value", "number_of_items"]
        dividends, divisors = ([names.index(getattr(ratio, end)) for ratio in self.ratios] for end in _RATIO_ENDS)
        return np.array(dividends, np.intp), np.array(divisors, np.intp)

    @cached_property
    def number_fills(self) -> NDArray[np.float32]:
        """The fill value of each custom number of orders, [K]."""
        return np.array([fill_value(feature) for feature in self.order_numbers], np.float32)

    @cached_property
    def is_take_home(self) -> bool:
        """Whether these are all base features and no others."""
        return not self.custom and not self.ratios and self.has_all_base_features

    @cached_property
    def has_all_base_features(self) -> bool:
        """Whether the schema has every base feature."""
        return len(self.base_columns) == len(BASE_FEATURES)

    @cached_property
    def indicator_names(self) -> tuple[str, ...]:
        """The names of the columns that are 1 where a custom number is missing."""
        return tuple(map(indicator_name, (*self.optional_order_numbers, *self.restaurant_numbers)))

    def category_names(self, names: Iterable[str]) -> tuple[str, ...]:
        """Return which of these columns of the matrix are codes of categories."""
        codes = {"weekday", "city", "type_of_food"} | {feature.name for feature in self.categories}
        return tuple(name for name in names if name in codes)


def fill_value(feature: CustomFeature) -> float:
    """Return the value of a missing number in the matrix: one less than its smallest valid value, at most -1.

    Example:
        >>> fill_value(CustomFeature(name="temperature", column="temp", type="number", range=(-40.0, 60.0)))
        -41.0
    """
    return min(MISSING_NUMBER, feature.range[0] - 1) if feature.range else MISSING_NUMBER


def indicator_name(feature: CustomFeature) -> str:
    """Return the name of the column that is 1 where a custom number is missing."""
    return f"{feature.name}_missing"


def orders_name(feature: CustomFeature) -> str:
    """Return the name of the column with the completed orders of a custom category."""
    return f"{feature.name}_orders"


def _number_feature(feature: CustomFeature) -> Feature:
    owner = "Number of the order" if feature.of == "order" else "Number of the restaurant"
    return Feature(feature.name, feature.unit, feature.display_name, f"{owner}, from the column `{feature.column}`")


def _ratio_feature(ratio: Ratio) -> Feature:
    meaning = f"`{ratio.dividend}` divided by `{ratio.divisor}`, -1 if one is missing or the divisor is 0"
    return Feature(ratio.name, "ratio", ratio.display_name, meaning)


def _indicator_feature(feature: CustomFeature) -> Feature:
    title = f"{feature.display_name} is missing"
    return Feature(indicator_name(feature), "0-1", title, f"1 if `{feature.name}` is missing, otherwise 0")


def _code_feature(feature: CustomFeature) -> Feature:
    meaning = "Position of the value in the vocabulary of the training, -1 for rare, unseen, and missing values"
    return Feature(feature.name, "code", feature.display_name, meaning)


def _category_mean_feature(feature: CustomFeature) -> Feature:
    meaning = f"Mean preparation time of orders with the same `{feature.name}` on the log scale, shrunken"
    return Feature(f"{feature.name}_mean_seconds", "s", f"mean time by {feature.display_name}", meaning)


def _category_orders_feature(feature: CustomFeature) -> Feature:
    meaning = f"Completed orders with the same `{feature.name}`"
    return Feature(orders_name(feature), "log(1+n)", f"orders by {feature.display_name}", meaning)


TAKE_HOME_FEATURES = FeatureSet.from_schema(TAKE_HOME_SCHEMA)
"""The features of the default schema: all base features and no custom ones."""
