"""The values of an order's fields in a bundle: defaults of the dashboard's form, and limits of its what-if charts.

A bundle has a sample of its training orders (the golden orders), and the numbers of orders by category.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from preptime.bundle.bundle import Bundle
from preptime.domain.restaurant_ids import UNKNOWN_RESTAURANT_KEY
from preptime.features.history import History


@dataclass(frozen=True, slots=True)
class FieldValues:
    """The values of one field in other orders. A field without any has the defaults."""

    default: float | str | None = None
    """The median of a number, or the most frequent category."""
    minimum: float | None = None
    """The smallest number of the sample."""
    maximum: float | None = None
    values: tuple[str, ...] = ()
    """The values of a category in the bundle's vocabulary, most frequent first."""


def field_values(bundle: Bundle) -> dict[str, FieldValues]:
    """Return the values of the value, the number of items, and each custom feature of orders, by name."""
    orders = bundle.golden_orders()
    is_sample = orders.restaurant_id != UNKNOWN_RESTAURANT_KEY
    columns = {
        "order_value": np.asarray(orders.order_value, np.float64),
        "number_of_items": np.asarray(orders.number_of_items, np.float64),
    }
    features = bundle.history.feature_set
    if orders.numbers is not None:
        columns |= {feature.name: orders.numbers[:, column] for column, feature in enumerate(features.order_numbers)}
    numbers = {name: _number_values(column[is_sample]) for name, column in columns.items()}
    categories = {
        feature.name: _category_values(bundle.history, position)
        for position, feature in enumerate(features.categories)
        if feature.of == "order"
    }
    return numbers | categories


def _number_values(numbers: NDArray[np.float64]) -> FieldValues:
    known = numbers[~np.isnan(numbers)]
    if not len(known):
        return FieldValues()
    # The lower median is a value that occurs: a whole number stays whole.
    median = float(np.sort(known)[(len(known) - 1) // 2])
    return FieldValues(median, float(known.min()), float(known.max()))


def _category_values(history: History, position: int) -> FieldValues:
    vocabulary = history.vocabularies.custom[position]
    start = int(history.category_starts[position])
    orders = history.category_orders[start : start + len(vocabulary)]
    # An empty text is the value of orders without one.
    ranked = tuple(vocabulary[index] for index in np.argsort(-orders, kind="stable").tolist() if vocabulary[index])
    return FieldValues(ranked[0] if ranked else None, values=ranked)
