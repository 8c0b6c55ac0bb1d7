"""Measured values of the shrinkage constants in `preptime.features.shrinkage`.

    python benchmarks/shrinkage.py --orders orders.csv --restaurants restaurants.csv --through 2015-06-16
    python benchmarks/shrinkage.py --orders O --restaurants R --json

Uses a one-way analysis of variance on log preparation times. k is the variance within groups divided by the variance
between groups: the number of a group's own orders that have the same weight as the mean of its parent (Efron and
Morris, 1975). Restaurants are relative to the mean of their city and food, time slots to the means of their restaurant
and of the slot.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json

import numpy as np
from numpy.typing import NDArray

from preptime.features.history_state import CompletedOrders
from preptime.features.restaurant_index import RestaurantIndex
from preptime.features.shrinkage import K_CITY, K_CITY_FOOD, K_FOOD, K_RESTAURANT, K_SLOT
from preptime.features.spec import TIME_SLOT_COUNT, second_of_day, time_slot
from preptime.sources.registry import open_source
from preptime.training.training_data import TrainingData
from preptime.validation.audit import audit_orders
from preptime.validation.restaurants import read_restaurants

Groups = NDArray[np.int64]


def main() -> None:
    """Measure the constants, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--orders", required=True, help="path, folder, or glob")
    parser.add_argument("--restaurants", required=True, help="path")
    parser.add_argument(
        "--through", type=dt.date.fromisoformat, help="last day to use (default: the last day of the data)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON document")
    arguments = parser.parse_args()
    restaurant_index = read_restaurants(open_source(arguments.restaurants).frame())
    training_data = TrainingData.from_orders(
        audit_orders(open_source(arguments.orders).frame(), restaurant_index, need_label=True), restaurant_index
    )
    if arguments.through:
        training_data = training_data.as_of(arguments.through + dt.timedelta(days=1))
    measured = _measure(training_data.completed.take(training_data.is_history), restaurant_index)
    rows = [{"constant": name, "measured": k, "used": used} for name, k, used in measured]
    print(json.dumps(rows) if arguments.json else _markdown(measured))


def _measure(completed: CompletedOrders, restaurant_index: RestaurantIndex) -> list[tuple[str, float | None, float]]:
    """Return (constant, measured value, used value). Groups that don't differ have the measured value None."""
    orders = completed.orders
    label = np.log(np.maximum(completed.prep_time_seconds, 1))
    restaurant = restaurant_index.positions(orders.restaurant_id)
    city, food = (codes.astype(np.int64) for codes in (orders.city, orders.type_of_food))
    city_food = restaurant_index.group_index(orders.city, orders.type_of_food)
    slot = time_slot(second_of_day(orders.acknowledged_at))
    slot_label = _centered(_centered(label, restaurant), slot)
    return [
        ("K_RESTAURANT", _ratio(_centered(label, city_food), restaurant), K_RESTAURANT),
        ("K_CITY", _ratio(label, city), K_CITY),
        ("K_FOOD", _ratio(label, food), K_FOOD),
        ("K_CITY_FOOD", _ratio(label, city_food), K_CITY_FOOD),
        ("K_SLOT", _ratio(slot_label, restaurant * TIME_SLOT_COUNT + slot), K_SLOT),
    ]


def _centered(label: NDArray[np.float64], group: Groups) -> NDArray[np.float64]:
    """Return labels minus the mean of their group."""
    _, group_of_order = np.unique(group, return_inverse=True)
    mean = np.bincount(group_of_order, label) / np.bincount(group_of_order)
    return label - mean[group_of_order]


def _ratio(label: NDArray[np.float64], group: Groups) -> float | None:
    """Return the variance within groups divided by the variance between them, for an unbalanced one-way layout."""
    _, group_of_order = np.unique(group, return_inverse=True)
    n = np.bincount(group_of_order).astype(np.float64)
    mean = np.bincount(group_of_order, label) / n
    groups, total = len(n), n.sum()
    within = ((label - mean[group_of_order]) ** 2).sum() / (total - groups)
    among = (n * (mean - label.mean()) ** 2).sum() / (groups - 1)
    usual_size = (total - (n**2).sum() / total) / (groups - 1)
    between = (among - within) / usual_size
    return float(within / between) if between > 0 else None


def _markdown(measured: list[tuple[str, float | None, float]]) -> str:
    lines = ["| constant | measured | used |", "|---|---:|---:|"]
    lines += [f"| `{name}` | {'none' if k is None else f'{k:.1f}'} | {used:.0f} |" for name, k, used in measured]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
