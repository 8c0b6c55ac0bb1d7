"""The features, their order and their units: one declaration.

Parts of a local day.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Feature:
    """One column of the matrix."""

    name: str
    unit: str
    meaning: str


_LEVELS = (10, 25, 50, 75, 90)

ORDER_FEATURES = (
    Feature("acknowledged_second", "s", "Local time of day at which the order was acknowledged"),
    Feature("weekday", "0-6", "Local weekday, 0 for Monday"),
    Feature("order_value_gbp", "GBP", "Value of the order"),
    Feature("number_of_items", "items", "Items ordered"),
    Feature("city", "code", "Position of the city in the sorted vocabulary, -1 when unknown"),
    Feature("type_of_food", "code", "Position of the type of food in the sorted vocabulary, -1 when unknown"),
)

HISTORY_FEATURES = (
    Feature("restaurant_orders", "log(1+n)", "Completed orders of the restaurant"),
    Feature("restaurant_orders_per_day", "1/day", "Completed orders a day over the latest 28 days"),
    Feature("restaurant_mean_seconds", "s", "Mean preparation time on the log scale, shrunken"),
    *(
        Feature(f"restaurant_p{level}_seconds", "s", f"{level} % quantile of preparation time, shrunken")
        for level in _LEVELS
    ),
    Feature("restaurant_spread", "log", "Standard deviation of log preparation time, shrunken"),
    Feature("restaurant_recent_mean_seconds", "s", "Mean on the log scale, halving every 5 days, shrunken"),
    Feature("restaurant_last_orders_mean_seconds", "s", "Mean of the latest 5 orders on the log scale, shrunken"),
    Feature("restaurant_mean_items", "items", "Mean items an order, shrunken"),
    Feature("restaurant_mean_value_gbp", "GBP", "Mean value of an order, shrunken"),
    Feature("restaurant_lunch_share", "0-1", "Share of orders ready before 16:45, shrunken"),
    Feature("restaurant_first_lunch_second", "s", "Earliest time of day an order was ready at lunch, shrunken"),
    Feature("restaurant_first_dinner_second", "s", "Earliest time of day an order was ready at dinner, shrunken"),
)

RELATION_FEATURES = (
    Feature("slot_mean_seconds", "s", "Mean of the restaurant in this time slot of the day, shrunken"),
    Feature("seconds_to_lunch", "s", "From acknowledgement to the restaurant's first lunch, negative after it"),
    Feature("seconds_to_dinner", "s", "From acknowledgement to the restaurant's first dinner, negative after it"),
)

FEATURES: tuple[Feature, ...] = (*ORDER_FEATURES, *HISTORY_FEATURES, *RELATION_FEATURES)
FEATURE_NAMES: tuple[str, ...] = tuple(feature.name for feature in FEATURES)

MEDIAN_COLUMN = [feature.name for feature in HISTORY_FEATURES].index("restaurant_p50_seconds")
"""Column of a history's rows that holds the shrunken median: the lookup that every model must beat."""
FIRST_LUNCH_COLUMN = [feature.name for feature in HISTORY_FEATURES].index("restaurant_first_lunch_second")
FIRST_DINNER_COLUMN = FIRST_LUNCH_COLUMN + 1

_DOC_SECTIONS = (
    ("Order features", "Known at acknowledgement.", ORDER_FEATURES),
    (
        "Restaurant features",
        "From the [history](history.md) as of the date. A restaurant without orders has the values of its (city, food) group.",
        HISTORY_FEATURES,
    ),
    ("Order and restaurant features", "From both.", RELATION_FEATURES),
)


def render_markdown() -> str:
    """The declaration as the page `docs/features.md`."""
    lines = [
        "# Features",
        "",
        "<!-- Generated from src/preptime/features/spec.py. Edit that file instead. -->",
        "",
        f"What a model is given of an order: {len(FEATURES)} float32 columns, in this order, every value finite.",
        "One function makes them for training, backtest, batch and online: `feature_matrix(orders, history)`.",
    ]
    position = 0
    for title, source, features in _DOC_SECTIONS:
        lines += ["", f"## {title}", "", source, "", "| column | feature | unit | meaning |", "|---|---|---|---|"]
        for feature in features:
            lines.append(f"| {position} | `{feature.name}` | {feature.unit} | {feature.meaning} |")
            position += 1
    return "\n".join(lines) + "\n"


SECONDS_PER_DAY = 86_400
EPOCH_WEEKDAY = 3
"""1970-01-01 was a Thursday; Monday is 0."""

TIME_SLOT_STARTS = np.array([0, 12.5, 14.5, 17, 19, 21, 22.5]) * 3600
"""Seconds of the day at which the time slots begin: before opening, lunch, afternoon, three of the evening, late."""
TIME_SLOT_COUNT = len(TIME_SLOT_STARTS)

DINNER_START_SECOND = 16 * 3600 + 2700
"""16:45. Food ready before it belongs to lunch, after it to dinner: the quietest quarter of an hour between both."""
NIGHT_END_SECOND = 5 * 3600
"""What is ready before 05:00 belongs to the dinner of the evening before."""


def local_day(local_seconds: NDArray[np.int64]) -> NDArray[np.int64]:
    """[N] local days since 1970-01-01."""
    return local_seconds // SECONDS_PER_DAY


def second_of_day(local_seconds: NDArray[np.int64]) -> NDArray[np.int64]:
    """[N] seconds since local midnight."""
    return local_seconds % SECONDS_PER_DAY


def weekday(local_seconds: NDArray[np.int64]) -> NDArray[np.int64]:
    """[N] 0 for Monday to 6 for Sunday."""
    return (local_day(local_seconds) + EPOCH_WEEKDAY) % 7


def time_slot(seconds_of_day: NDArray[np.int64]) -> NDArray[np.int64]:
    """[N] time slot of seconds of the day."""
    return TIME_SLOT_STARTS.searchsorted(seconds_of_day, side="right") - 1


def meal_period(seconds_of_day: NDArray[np.int64]) -> NDArray[np.int64]:
    """[N] 0 for lunch, 1 for dinner (the small hours included)."""
    return ((seconds_of_day >= DINNER_START_SECOND) | (seconds_of_day < NIGHT_END_SECOND)).astype(np.int64)
