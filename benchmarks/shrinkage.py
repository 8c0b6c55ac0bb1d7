"""How hard a group's mean should be pulled to its parent's: the constants of `preptime.features.shrinkage`, measured.

    python benchmarks/shrinkage.py --orders orders.csv --restaurants restaurants.csv --through 2015-06-16
    python benchmarks/shrinkage.py --orders O --restaurants R --json

One-way analysis of variance on log preparation times: k is the variance within groups over the variance between them,
which is how many orders of its own weigh as much as its parent's mean (Efron and Morris, 1975). Restaurants are taken
around the mean of their city and food, slots around the mean of their restaurant and of the slot.
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
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--orders", required=True, help="a path, folder or glob")
    parser.add_argument("--restaurants", required=True, help="a path")
    parser.add_argument("--through", type=dt.date.fromisoformat, help="the last day to look at; by default all of them")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    arguments = parser.parse_args()
    directory = read_restaurants(open_source(arguments.restaurants).frame())
    corpus = TrainingData.from_orders(
        audit_orders(open_source(arguments.orders).frame(), directory, need_label=True), directory
    )
    if arguments.through:
        corpus = corpus.as_of(arguments.through + dt.timedelta(days=1))
    measured = _measured(corpus.completed.take(corpus.is_history), directory)
    rows = [{"constant": name, "measured": k, "used": used} for name, k, used in measured]
    print(json.dumps(rows) if arguments.json else _markdown(measured))


def _measured(completed: CompletedOrders, directory: RestaurantIndex) -> list[tuple[str, float | None, float]]:
    """(constant, measured or None when groups differ by nothing that can be measured, used)."""
    orders = completed.orders
    label = np.log(np.maximum(completed.prep_time_seconds, 1))
    restaurant = directory.positions(orders.restaurant_id)
    city, food = (codes.astype(np.int64) for codes in (orders.city, orders.type_of_food))
    place = directory.group_index(orders.city, orders.type_of_food)
    in_slot = time_slot(second_of_day(orders.acknowledged_at))
    of_slot = _without(_without(label, restaurant), in_slot)
    return [
        ("K_RESTAURANT", _ratio(_without(label, place), restaurant), K_RESTAURANT),
        ("K_CITY", _ratio(label, city), K_CITY),
        ("K_FOOD", _ratio(label, food), K_FOOD),
        ("K_CITY_FOOD", _ratio(label, place), K_CITY_FOOD),
        ("K_SLOT", _ratio(of_slot, restaurant * TIME_SLOT_COUNT + in_slot), K_SLOT),
    ]


def _without(label: NDArray[np.float64], group: Groups) -> NDArray[np.float64]:
    """Labels less their group's mean."""
    _, at = np.unique(group, return_inverse=True)
    mean = np.bincount(at, label) / np.bincount(at)
    return label - mean[at]


def _ratio(label: NDArray[np.float64], group: Groups) -> float | None:
    """Variance within groups over variance between them, by the moments of an unbalanced one-way layout."""
    _, at = np.unique(group, return_inverse=True)
    n = np.bincount(at).astype(np.float64)
    mean = np.bincount(at, label) / n
    groups, total = len(n), n.sum()
    within = ((label - mean[at]) ** 2).sum() / (total - groups)
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
