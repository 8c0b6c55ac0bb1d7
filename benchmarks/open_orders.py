"""Effect of orders that are still open at midnight on the history as of the next day.

    python benchmarks/open_orders.py --orders orders.csv --restaurants restaurants.csv
    python benchmarks/open_orders.py --orders O --restaurants R --json

The first table is by local hour of acknowledgement. It has the number of orders that weren't ready by midnight, which
are missing in the history as of the next day, and the mean label of the known orders and of all orders. The second
result is the effect of the missing orders on `restaurant_recent_mean_seconds`: the history of each as-of date compared
with a history that counts the open orders as ready in the last second before midnight. The last day of the data is
excluded, because its missing orders are unknown.
"""

from __future__ import annotations

import argparse
import json

import msgspec
import numpy as np
from numpy.typing import NDArray

from preptime.domain.timestamps import SECONDS_PER_DAY
from preptime.features.history_state import CompletedOrders, HistoryState
from preptime.features.restaurant_index import RestaurantIndex
from preptime.features.shrinkage import build_history
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
    """The effect of open orders on the histories of all as-of dates."""

    dates: int
    restaurants_per_date: float
    """Mean number of restaurants with an order in the history."""
    affected: int
    """Number of pairs of an as-of date and a restaurant that had an open order at its midnight."""
    mean_change_seconds: float
    """Change of `restaurant_recent_mean_seconds` of these pairs: with open orders minus without."""
    largest_change_seconds: float
    mean_change_of_all_seconds: float
    """The same for all pairs."""


def main() -> None:
    """Measure the effect, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--orders", required=True, help="path, folder, or glob")
    parser.add_argument("--restaurants", required=True, help="path")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    arguments = parser.parse_args()
    restaurant_index = read_restaurants(open_source(arguments.restaurants).frame())
    training_data = TrainingData.from_orders(
        audit_orders(open_source(arguments.orders).frame(), restaurant_index, need_label=True), restaurant_index
    )
    completed = training_data.completed.take(training_data.is_history)
    hours, effect = _hours(completed), _effect(completed, restaurant_index)
    document = {"hours": msgspec.to_builtins(hours), "recent_mean": msgspec.to_builtins(effect)}
    print(json.dumps(document) if arguments.json else _markdown(hours, effect))


def _hours(completed: CompletedOrders) -> list[Hours]:
    acknowledged_day = local_day(completed.orders.acknowledged_at)
    complete_days = completed.take(acknowledged_day < acknowledged_day.max())
    hour = second_of_day(complete_days.orders.acknowledged_at) // 3600
    groups = [("0 to 18", hour < EVENING[0]), *((str(value), hour == value) for value in EVENING)]
    return [
        _summarize_hours(name, complete_days.take(rows)) for name, rows in (*groups, ("all", hour >= 0)) if rows.any()
    ]


def _summarize_hours(name: str, orders: CompletedOrders) -> Hours:
    is_open = _is_open_at_midnight(orders)
    label = orders.prep_time_seconds
    return Hours(
        hours=name,
        orders=len(orders),
        open_at_midnight=int(is_open.sum()),
        mean_known_seconds=None if is_open.all() else float(label[~is_open].mean()),
        mean_all_seconds=float(label.mean()),
    )


def _is_open_at_midnight(orders: CompletedOrders) -> NDArray[np.bool_]:
    """Return [N]: whether each order wasn't ready by the midnight after its acknowledgement."""
    return local_day(orders.ready_at) > local_day(orders.orders.acknowledged_at)


def _effect(completed: CompletedOrders, restaurant_index: RestaurantIndex) -> Effect:
    acknowledged_day, ready_day = local_day(completed.orders.acknowledged_at), local_day(completed.ready_at)
    changes, all_changes, restaurants = [], [], 0
    dates = range(int(acknowledged_day.min()) + 1, int(acknowledged_day.max()) + 1)
    for as_of_day in dates:
        state = HistoryState.from_orders(restaurant_index, completed.take(ready_day < as_of_day))
        still_open = completed.take((acknowledged_day < as_of_day) & (ready_day >= as_of_day))
        in_time = np.full(len(still_open), as_of_day * SECONDS_PER_DAY - 1)
        state_with_open = state.with_orders(
            restaurant_index, CompletedOrders(still_open.orders, in_time, still_open.prep_time_seconds)
        )
        known, full = (
            build_history(history_state, restaurant_index, date_from_day_number(as_of_day)).rows[:, RECENT]
            for history_state in (state, state_with_open)
        )
        change = (full - known)[: len(restaurant_index)].astype(np.float64)
        positions = restaurant_index.positions(np.unique(still_open.orders.restaurant_id))
        changes.append(change[positions[positions >= 0]])
        all_changes.append(change[state.orders > 0])
        restaurants += int((state.orders > 0).sum())
    all_affected = np.concatenate(changes)
    return Effect(
        dates=len(dates),
        restaurants_per_date=restaurants / len(dates),
        affected=len(all_affected),
        mean_change_seconds=float(all_affected.mean()) if len(all_affected) else 0.0,
        largest_change_seconds=float(np.abs(all_affected).max(initial=0.0)),
        mean_change_of_all_seconds=float(np.concatenate(all_changes).mean()),
    )


def _markdown(hours: list[Hours], effect: Effect) -> str:
    lines = [
        "| acknowledged at (local hour) | orders | open at midnight | share | mean label, known | mean label, all |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for row in hours:
        known = "" if row.mean_known_seconds is None else f"{row.mean_known_seconds:,.0f} s"
        share = row.open_at_midnight / row.orders
        lines.append(
            f"| {row.hours} | {row.orders:,} | {row.open_at_midnight:,} | {share:.2%} | {known} "
            f"| {row.mean_all_seconds:,.0f} s |"
        )
    return "\n".join([*lines, "", _effect_text(effect)])


def _effect_text(effect: Effect) -> str:
    return (
        f"{effect.dates} as-of dates, with {effect.restaurants_per_date:,.0f} restaurants in the history on average. "
        f"In {effect.affected:,} cases, a restaurant had an open order at midnight. Counting it changes its recent "
        f"mean by {effect.mean_change_seconds:+.1f} s on average and by at most "
        f"{effect.largest_change_seconds:.0f} s. Over all restaurants and dates, the mean change is "
        f"{effect.mean_change_of_all_seconds:+.3f} s."
    )


if __name__ == "__main__":
    main()
