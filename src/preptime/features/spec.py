"""The declaration of the features: names, order, units, and meanings; and the parts of a local day that they use.

Base features are declared here. Custom features are declared in a schema. `preptime.features.feature_set` has both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from preptime.domain.timestamps import SECONDS_PER_DAY

EPOCH_WEEKDAY = 3
"""Weekday of 1970-01-01, a Thursday. Monday is 0."""

TIME_SLOT_STARTS = np.array([0, 12.5, 14.5, 17, 19, 21, 22.5]) * 3600
"""Start of each time slot, seconds of the day: before opening, lunch, afternoon, three evening slots, and late."""
TIME_SLOT_COUNT = len(TIME_SLOT_STARTS)

DINNER_START_SECOND = 16 * 3600 + 2700
"""16:45, the quietest quarter of an hour between lunch and dinner. Orders ready from it on are dinner."""
NIGHT_END_SECOND = 5 * 3600
"""05:00. Orders ready before it belong to the dinner of the previous day, those from it to 16:45 are lunch."""


@dataclass(frozen=True, slots=True)
class Feature:
    """One column of the feature matrix."""

    name: str
    unit: str
    title: str
    """Name for people, in charts and tables of the dashboard."""
    meaning: str


_LEVELS = (10, 25, 50, 75, 90)
CURRENCY_UNIT = "currency"
"""The unit of money in the declarations. A feature set has the currency of its schema instead."""

ORDER_FEATURES = (
    Feature("acknowledged_second", "s", "time of day", "Local time of day at which the order was acknowledged"),
    Feature("weekday", "0-6", "weekday", "Local weekday, 0 for Monday"),
    Feature("order_value", CURRENCY_UNIT, "order value", "Value of the order"),
    Feature("number_of_items", "items", "number of items", "Items ordered"),
    Feature("city", "code", "city", "Position of the city in the sorted vocabulary, -1 when unknown"),
    Feature(
        "type_of_food", "code", "type of food", "Position of the type of food in the sorted vocabulary, -1 when unknown"
    ),
)

HISTORY_FEATURES = (
    Feature("restaurant_orders", "log(1+n)", "restaurant's orders", "Completed orders of the restaurant"),
    Feature(
        "restaurant_orders_per_day",
        "1/day",
        "restaurant's orders per day",
        "Completed orders per day over the latest 28 days",
    ),
    Feature(
        "restaurant_mean_seconds", "s", "restaurant's mean time", "Mean preparation time on the log scale, shrunken"
    ),
    *(
        Feature(
            f"restaurant_p{level}_seconds",
            "s",
            f"restaurant's p{level} time",
            f"{level}% quantile of preparation time, shrunken",
        )
        for level in _LEVELS
    ),
    Feature("restaurant_spread", "log", "restaurant's spread", "Standard deviation of log preparation time, shrunken"),
    Feature(
        "restaurant_recent_mean_seconds",
        "s",
        "restaurant's recent mean time",
        "Mean on the log scale, with a half-life of 5 days, shrunken",
    ),
    Feature(
        "restaurant_last_orders_mean_seconds",
        "s",
        "restaurant's mean time, last 5 orders",
        "Mean of the latest 5 orders on the log scale, shrunken",
    ),
    Feature(
        "restaurant_mean_items",
        "items",
        "restaurant's mean number of items",
        "Mean number of items per order, shrunken",
    ),
    Feature(
        "restaurant_mean_order_value",
        CURRENCY_UNIT,
        "restaurant's mean order value",
        "Mean value of an order, shrunken",
    ),
    Feature(
        "restaurant_lunch_share",
        "0-1",
        "restaurant's lunch share",
        "Share of orders ready from 05:00 to 16:45, shrunken",
    ),
    Feature(
        "restaurant_first_lunch_second",
        "s",
        "restaurant's first lunch order",
        "Earliest time of day from 05:00 to 16:45 at which an order was ready, shrunken",
    ),
    Feature(
        "restaurant_first_dinner_second",
        "s",
        "restaurant's first dinner order",
        "Earliest time of day from 16:45 to midnight at which an order was ready, shrunken",
    ),
)

RELATION_FEATURES = (
    Feature(
        "slot_mean_seconds",
        "s",
        "restaurant's mean time in the time slot",
        "Mean preparation time of the restaurant in this time slot of the day, shrunken",
    ),
    Feature(
        "seconds_to_lunch",
        "s",
        "time to first lunch order",
        "From acknowledgement to the restaurant's first lunch order, negative after it",
    ),
    Feature(
        "seconds_to_dinner",
        "s",
        "time to first dinner order",
        "From acknowledgement to the restaurant's first dinner order, negative after it",
    ),
)

BASE_FEATURES: tuple[Feature, ...] = (*ORDER_FEATURES, *HISTORY_FEATURES, *RELATION_FEATURES)

MEDIAN_COLUMN = [feature.name for feature in HISTORY_FEATURES].index("restaurant_p50_seconds")
"""Column of `History.rows` with the shrunken median: the lookup baseline that every model must beat."""
QUANTILE_COLUMNS = slice(MEDIAN_COLUMN - _LEVELS.index(50), MEDIAN_COLUMN - _LEVELS.index(50) + len(_LEVELS))
"""Columns of `History.rows` with the shrunken quantiles: the levels of `shrinkage.QUANTILE_LEVELS`, in that order."""
FIRST_LUNCH_COLUMN = [feature.name for feature in HISTORY_FEATURES].index("restaurant_first_lunch_second")
FIRST_DINNER_COLUMN = FIRST_LUNCH_COLUMN + 1

_DOC_SECTIONS = (
    ("Order features", "Known when the order is acknowledged.", ORDER_FEATURES),
    (
        "Restaurant features",
        "From the [history](history.md). A restaurant without orders has the values of its (city, food) group.",
        HISTORY_FEATURES,
    ),
    ("Order and restaurant features", "Computed from the order and the history.", RELATION_FEATURES),
)

_LIVE_SECTION = (
    "Live features",
    "For the [live model](models.md#the-live-model), after all other columns. From the orders of the same restaurant.",
)


def local_day(local_seconds: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the local days since 1970-01-01, [N], of local seconds since 1970-01-01 00:00."""
    return local_seconds // SECONDS_PER_DAY


def second_of_day(local_seconds: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the seconds since local midnight, [N]."""
    return local_seconds % SECONDS_PER_DAY


def weekday(local_seconds: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the local weekdays, [N]: 0 for Monday to 6 for Sunday."""
    return (local_day(local_seconds) + EPOCH_WEEKDAY) % 7


def time_slot(seconds_of_day: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the time slot, [N], of each second of the day: its position in `TIME_SLOT_STARTS`."""
    return TIME_SLOT_STARTS.searchsorted(seconds_of_day, side="right") - 1


def meal_period(seconds_of_day: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the meal period, [N], of each second of the day: 0 for lunch, 1 for dinner, including after midnight."""
    return ((seconds_of_day >= DINNER_START_SECOND) | (seconds_of_day < NIGHT_END_SECOND)).astype(np.int64)


def render_markdown(live_features: tuple[Feature, ...]) -> str:
    """Return the content of `docs/features.md`. `live_features` are the columns that only the live model reads."""
    lines = [
        "# Features",
        "",
        "<!-- Generated from src/preptime/features/spec.py and kitchen.py. Edit these files instead. -->",
        "",
        f"A model reads {len(BASE_FEATURES)} float32 columns per order, in this order. Every value is finite.",
        "`feature_matrix(orders, history)` computes them for training, backtest, batch, and online predictions.",
    ]
    position = 0
    for title, source, features in (*_DOC_SECTIONS, (*_LIVE_SECTION, live_features)):
        lines += ["", f"## {title}", "", source, "", "| column | feature | unit | meaning |", "|---|---|---|---|"]
        for feature in features:
            lines.append(f"| {position} | `{feature.name}` | {feature.unit} | {feature.meaning} |")
            position += 1
    return "\n".join(lines) + "\n"
