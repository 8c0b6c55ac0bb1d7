"""What the orders that are still open at midnight do to the morning's history: the bias of the latest evening.

    python benchmarks/open_orders.py --orders orders.csv --restaurants restaurants.csv
    python benchmarks/open_orders.py --orders O --restaurants R --json

First, by local hour of acknowledgement: how many orders of a day were not ready by its midnight and so are not in the
next morning's history, and the mean label of the known ones beside that of all. Then, morning by morning, what the
missing ones would have done to `restaurant_recent_mean_seconds`: the history beside one that counts the open orders as
if they had been ready in the last second before midnight. The last day of the data is left out; nobody knows which of
its orders are missing.
"""

from __future__ import annotations

import argparse
import json

import msgspec
import numpy as np
from numpy.typing import NDArray

from preptime.domain.timestamps import SECONDS_PER_DAY
from preptime.features.history import build_history
from preptime.features.history_state import CompletedOrders, HistoryState
from preptime.features.restaurant_index import RestaurantIndex
from preptime.features.spec import HISTORY_FEATURES, local_day, second_of_day
from preptime.sources.registry import open_source
from preptime.training.training_data import TrainingData, date_from_day_number
from preptime.validation.audit import audit_orders
from preptime.validation.restaurants import read_restaurants

EVENING = range(19, 24)
RECENT = [feature.name for feature in HISTORY_FEATURES].index("restaurant_recent_mean_seconds")


class Hours(msgspec.Struct, frozen=True):
    """Orders acknowledged in some local hours."""

    hours: str
    orders: int
    open_at_midnight: int
    mean_known_seconds: float | None
    mean_all_seconds: float


class Effect(msgspec.Struct, frozen=True):
    """What open orders would have done to the histories of all mornings."""

    mornings: int
    restaurants_a_morning: float
    """With an order in the history, on average."""
    touched: int
    """Pairs of a morning and a restaurant that had an order open at its midnight."""
    mean_change_seconds: float
    """Of `restaurant_recent_mean_seconds` of those, with the open orders minus without."""
    largest_change_seconds: float
    mean_change_of_all_seconds: float
    """The same over every pair."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--orders", required=True, help="a path, folder or glob")
    parser.add_argument("--restaurants", required=True, help="a path")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    arguments = parser.parse_args()
    directory = read_restaurants(open_source(arguments.restaurants).frame())
    corpus = TrainingData.from_orders(
        audit_orders(open_source(arguments.orders).frame(), directory, need_label=True), directory
    )
    completed = corpus.completed.take(corpus.is_history)
    hours, effect = _hours(completed), _effect(completed, directory)
    document = {"hours": msgspec.to_builtins(hours), "recent_mean": msgspec.to_builtins(effect)}
    print(json.dumps(document) if arguments.json else _markdown(hours, effect))


def _hours(completed: CompletedOrders) -> list[Hours]:
    asked = local_day(completed.orders.acknowledged_at)
    whole = completed.take(asked < asked.max())
    hour = second_of_day(whole.orders.acknowledged_at) // 3600
    runs = [("0 to 18", hour < EVENING[0]), *((str(one), hour == one) for one in EVENING)]
    return [_of_hours(name, whole.take(rows)) for name, rows in (*runs, ("all", hour >= 0)) if rows.any()]


def _of_hours(name: str, orders: CompletedOrders) -> Hours:
    late = _open(orders)
    label = orders.prep_time_seconds
    return Hours(
        hours=name,
        orders=len(orders),
        open_at_midnight=int(late.sum()),
        mean_known_seconds=None if late.all() else float(label[~late].mean()),
        mean_all_seconds=float(label.mean()),
    )


def _open(orders: CompletedOrders) -> NDArray[np.bool_]:
    """[N] which orders were not ready by the midnight after their acknowledgement."""
    return local_day(orders.ready_at) > local_day(orders.orders.acknowledged_at)


def _effect(completed: CompletedOrders, directory: RestaurantIndex) -> Effect:
    asked, ready = local_day(completed.orders.acknowledged_at), local_day(completed.ready_at)
    changes, all_changes, restaurants = [], [], 0
    mornings = range(int(asked.min()) + 1, int(asked.max()) + 1)
    for today in mornings:
        state = HistoryState.from_orders(directory, completed.take(ready < today))
        still_open = completed.take((asked < today) & (ready >= today))
        in_time = np.full(len(still_open), today * SECONDS_PER_DAY - 1)
        more = state.with_orders(directory, CompletedOrders(still_open.orders, in_time, still_open.prep_time_seconds))
        known, full = (
            build_history(one, directory, date_from_day_number(today)).rows[:, RECENT] for one in (state, more)
        )
        change = (full - known)[: len(directory)].astype(np.float64)
        touched = directory.positions(np.unique(still_open.orders.restaurant_id))
        changes.append(change[touched[touched >= 0]])
        all_changes.append(change[state.orders > 0])
        restaurants += int((state.orders > 0).sum())
    together = np.concatenate(changes)
    return Effect(
        mornings=len(mornings),
        restaurants_a_morning=restaurants / len(mornings),
        touched=len(together),
        mean_change_seconds=float(together.mean()) if len(together) else 0.0,
        largest_change_seconds=float(np.abs(together).max(initial=0.0)),
        mean_change_of_all_seconds=float(np.concatenate(all_changes).mean()),
    )


def _markdown(hours: list[Hours], effect: Effect) -> str:
    lines = [
        "| acknowledged at (local hour) | orders | open at midnight | share | mean label, known | mean label, all |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for one in hours:
        known = "" if one.mean_known_seconds is None else f"{one.mean_known_seconds:,.0f} s"
        share = one.open_at_midnight / one.orders
        lines.append(
            f"| {one.hours} | {one.orders:,} | {one.open_at_midnight:,} | {share:.2%} | {known} "
            f"| {one.mean_all_seconds:,.0f} s |"
        )
    return "\n".join([*lines, "", _sentences(effect)])


def _sentences(effect: Effect) -> str:
    return (
        f"{effect.mornings} mornings, on average with {effect.restaurants_a_morning:,.0f} restaurants in the history; "
        f"{effect.touched:,} times one of them had an order open at midnight. Counting it changes that restaurant's "
        f"recent mean by {effect.mean_change_seconds:+.1f} s on average and {effect.largest_change_seconds:.0f} s at "
        f"most; over all restaurants and mornings it is {effect.mean_change_of_all_seconds:+.3f} s."
    )


if __name__ == "__main__":
    main()
