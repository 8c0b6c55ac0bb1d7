"""The keys of `schema.toml`: sections, options, meanings, and lines. The page docs/schema.md is generated from here."""

from __future__ import annotations

import math
import re

from preptime.domain.data_dictionary import ORDERS_DICTIONARY, RESTAURANTS_DICTIONARY, TARGET, ColumnType
from preptime.domain.orders import QUANTILE_LEVELS

SECTIONS: dict[str, dict[str, str]] = {
    "source": {
        "delimiter": "Character between the cells of CSV files. By default, it's detected",
        "decimal": "Decimal mark of numbers: `.` (the default) or `,`",
        "thousands": "Mark between groups of three digits. By default, there is none",
    },
    "target": {
        "name": "Name of the target, such as `delivery`. Bundles with different targets are never compared",
        "title": "Noun for charts and tables, such as `delivery time`",
        "event": 'What happens at the end, after "the order is", such as `delivered`',
        "unit": "Unit in which pages, reports, and commands show times: `s`, `min` (the default), or `h`. "
        "Documents and the API are always in seconds",
    },
    "orders": {},
    "restaurants": {},
    "features": {},
    "ratios": {},
    "models": {},
}
"""The sections, and the options of those that have fixed ones."""

COLUMN_OPTION_MEANINGS = {
    "column": "The company's column",
    "format": "`strptime` directives of the text, such as `%d/%m/%Y %I:%M %p`. By default, ISO 8601 and epochs",
    "time_zone": "IANA time zone of times without an offset. By default, they are local time at the restaurant",
    "unit": "Unit of the company's values",
    "currency": "ISO 4217 code of the currency, such as `USD`",
    "range": "Smallest and largest valid value, in the unit of the data dictionary",
}
_OPTIONS_BY_TYPE: dict[ColumnType, tuple[str, ...]] = {
    "timestamp": ("column", "format", "time_zone"),
    "number": ("column", "unit", "currency", "range"),
    "integer": ("column", "range"),
    "text": ("column",),
    "category": ("column",),
}
COLUMN_OPTIONS: dict[str, tuple[str, ...]] = {
    column.name: _OPTIONS_BY_TYPE[column.data_type] for column in ORDERS_DICTIONARY
} | {"restaurant_id": ("column",), "prep_time": ("column", "unit", "range")}
"""The options of each key in `[orders]`."""

FEATURE_OPTIONS = {
    "column": "The company's column. By default, the name of the feature",
    "type": "`number` or `category`",
    "unit": "Unit of a number, for people. Values aren't converted",
    "range": "Smallest and largest valid number. A number outside is counted, and the order is predicted without it",
    "of": "`order` (the default) or `restaurant`: the file that has the column",
    "required": "`true`: an order without a valid value isn't predicted. The default is `false`",
    "title": "Name for people. By default, the name with spaces",
}

_BASE_FEATURE_NAMES = (
    *("acknowledged_second", "weekday", "slot_mean_seconds", "seconds_to_lunch", "seconds_to_dinner"),
    *("restaurant_orders", "restaurant_orders_per_day", "restaurant_mean_seconds", "restaurant_spread"),
    *(f"restaurant_p{level}_seconds" for level in (10, 25, 50, 75, 90)),
    *("restaurant_recent_mean_seconds", "restaurant_last_orders_mean_seconds", "restaurant_mean_items"),
    *("restaurant_mean_order_value", "restaurant_lunch_share", "restaurant_first_lunch_second"),
    "restaurant_first_dinner_second",
)
"""The base features that aren't canonical columns. A test compares them with `preptime.features.spec`."""
RESERVED_FEATURE_NAMES = frozenset(
    {column.name for column in (*ORDERS_DICTIONARY, *RESTAURANTS_DICTIONARY)}
    | {"prep_time", TARGET, "models", "orders", "kitchen", "reasons", "reason", "bundle", "live"}
    | {*_BASE_FEATURE_NAMES}
)
"""Names that a custom feature can't have: canonical columns, base features, and fields of requests and results."""

HYPERPARAMETERS: dict[str, dict[str, int | float | str]] = {
    "rf": {"tree_count": 100, "min_samples_split": 6, "max_features": "log2", "max_leaf_nodes": 100},
    "gbr": {"tree_count": 100, "learning_rate": 0.1, "depth": 3, "max_distinct_values": 128},
    "cat": {"tree_count": 100, "learning_rate": 0.1, "depth": 6, "column_fraction": 1.0, "border_count": 254},
    "xgb": {"tree_count": 100, "learning_rate": 0.1, "depth": 4},
    "stacking": {"alpha": 0.3, "folds": 3},
    "quantile": {"tree_count": 300, "learning_rate": 0.05, "depth": 4, "column_fraction": 0.5, "border_count": 512},
}
"""The hyperparameters of each model with their defaults. A test compares them with `preptime.models.catalogue`."""
CLASS_OPTION = "class"
"""In a table of `[models]`: the file and class of a custom model."""
RESERVED_MODEL_NAMES = RESERVED_FEATURE_NAMES | {
    *("lookup", "restaurant_lookup", "global_median", "features", "seconds", "default"),
    *(f"p{level * 100:.0f}" for level in QUANTILE_LEVELS),
    *("courier_wait", "food_wait"),
}
"""Names that a custom model can't have. A test compares them with the result columns and the baselines."""

_MODEL_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")


def is_model_name(name: str) -> bool:
    """Return whether a custom model can have this name."""
    return _MODEL_NAME.fullmatch(name) is not None and name not in RESERVED_MODEL_NAMES


def matrix_names(name: str, feature_type: str) -> set[str]:
    """Return the names of the columns that a custom feature has in the feature matrix (`features.feature_set`)."""
    suffixes = ("", "_missing") if feature_type == "number" else ("", "_mean_seconds", "_orders")
    return {f"{name}{suffix}" for suffix in suffixes}


def expected_number(default: object, value: object) -> str | None:
    """Return the expected type of a hyperparameter in words, or None if `value` has the type of its default.

    Example:
        >>> expected_number(4, "deep")
        'a whole number such as 4'
    """
    if isinstance(value, float) and not math.isfinite(value):
        return "a finite number"
    kinds: dict[type, tuple[set[type], str]] = {
        bool: ({bool}, "true or false"),
        int: ({int}, f"a whole number such as {default}"),
        float: ({int, float}, f"a number such as {default}"),
        str: ({str}, f"text such as {default!r}"),
    }
    accepted, expected = kinds.get(type(default), ({int, float, str, bool}, "text, a number, true, or false"))
    return None if type(value) in accepted else expected


def expected_value(option: str, value: object) -> tuple[str, bool]:
    """Return the expected type of an option's value in words, and whether `value` has it."""
    if option == "required":
        return "true or false", isinstance(value, bool)
    if option == "range":
        return "two numbers such as [0, 100]", isinstance(value, list)
    return "text in quotation marks", isinstance(value, str)


EXAMPLE = """\
[source]
delimiter = ";"
decimal = ","

[target]
name = "delivery"
title = "delivery time"
event = "delivered"

[orders]
order_acknowledged_at = { column = "created_at", format = "%d/%m/%Y %I:%M %p", time_zone = "UTC" }
order_ready_at = { column = "actual_delivery_time", format = "%d/%m/%Y %I:%M %p", time_zone = "UTC" }
restaurant_id = "store_id"
order_value = { column = "subtotal", unit = "cents", currency = "USD" }
number_of_items = "total_items"
order_id = "id"
city = "market_id"
type_of_food = "store_primary_category"

[restaurants]
time_zone = "America/Los_Angeles"

[features]
total_outstanding_orders = "number"
driving = { column = "estimated_driving_duration", type = "number", unit = "s", range = [0, 7200] }
order_protocol = "category"
"""
"""A complete schema, for the documentation."""


def find_line(text: str, path: tuple[str, ...]) -> int:
    """Return the line of a key in a TOML document, counted from 1: its own, else that of its closest parent, else 1."""
    table: tuple[str, ...] = ()
    best_line, best_depth = 1, 0
    for number, line in enumerate(text.splitlines(), 1):
        header = re.match(r"\s*\[([^\[\]]+)\]", line)
        if header:
            table = tuple(part.strip().strip("\"'") for part in header[1].split("."))
            key_path = table
        else:
            key = re.match(r"""\s*("[^"]*"|'[^']*'|[^=#\s]+)\s*=""", line)
            if key is None:
                continue
            key_path = (
                *table,
                *(part.strip("\"'") for part in ([key[1]] if key[1][0] in "\"'" else key[1].split("."))),
            )
        depth = len(key_path)
        if key_path == path[:depth] and depth > best_depth:
            best_line, best_depth = number, depth
    return best_line


def split_toml_error(message: str) -> tuple[str, int]:
    """Return the problem and the line of an error of `tomllib`. Python has attributes for them only since 3.14."""
    place = re.search(r" \(at line (\d+), column \d+\)$", message)
    return (message[: place.start()], int(place[1])) if place else (message, 1)
