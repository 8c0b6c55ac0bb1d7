"""Orders of a request, row by row: columns to predict from, or what is wrong with the row. No row is dropped (D4).

The verdicts are those of `preptime.tables.audit`, to which the tests hold them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import msgspec

from preptime.api.cells import OrderRow, rows_to_columns
from preptime.api.moments import LocalTimestamp, parse_timestamp
from preptime.api.numbers import column_bounds, is_missing, parse_integer, parse_number
from preptime.api.order import Order
from preptime.api.serving import OrderLookup, time_zone_of_country
from preptime.domain.dictionary import order_column
from preptime.domain.order import UNKNOWN_CODE, OrderColumns
from preptime.domain.timestamps import MICROSECONDS, WHITESPACE
from preptime.domain.verdict import ValidationReason

_VALUE_BOUNDS, _RESTAURANT_BOUNDS, _ITEMS_BOUNDS, _OPEN_ORDERS_BOUNDS = (
    column_bounds(name) for name in ("order_value_gbp", "restaurant_id", "number_of_items", "open_orders")
)
_MAX_SHOWN_CHARS = 60


@dataclass(frozen=True, slots=True)
class InvalidOrder:
    """Why an order cannot be predicted: the first reason in declared order, and the field that it stands in."""

    reason: ValidationReason
    field: str
    value: object

    @property
    def message(self) -> str:
        """The field, its value, and what was expected."""
        expected = order_column(self.field).expected_text
        problem = "is missing" if self.reason is ValidationReason.MISSING_VALUE else f"is {format_value(self.value)}"
        return f"{self.field} {problem}; expected {expected}."


class ParsedOrders(msgspec.Struct, frozen=True, gc=False):
    """N orders as read."""

    rows: list[OrderRow]
    """Those that can be predicted, in order."""
    timestamps: list[LocalTimestamp]
    """When each of those was acknowledged, to the microsecond."""
    invalid_orders: dict[int, InvalidOrder]
    """By the place among all N: why the others cannot."""

    @property
    def columns(self) -> OrderColumns:
        """Those that can be predicted, as columns."""
        return rows_to_columns(self.rows)


def read_orders(orders: Sequence[Order], lookup: OrderLookup) -> ParsedOrders:
    """Read and judge N orders."""
    invalid_orders: dict[int, InvalidOrder] = {}
    timestamps: list[LocalTimestamp] = []
    rows: list[OrderRow] = []
    for index, order in enumerate(orders):
        parsed = _read_order(order, lookup)
        if isinstance(parsed, InvalidOrder):
            invalid_orders[index] = parsed
        else:
            timestamps.append(parsed[0])
            rows.append(parsed[1])
    return ParsedOrders(rows, timestamps, invalid_orders)


def format_value(value: object) -> str:
    """A value in a message: at most sixty characters of it, nothing unprintable, nothing of what is nested."""
    if isinstance(value, str):
        return repr(value) if len(value) <= _MAX_SHOWN_CHARS else f"{value[:_MAX_SHOWN_CHARS]!r}…"
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    text = str(value)
    return text if len(text) <= _MAX_SHOWN_CHARS else f"{text[:_MAX_SHOWN_CHARS]}…"


_REASON_ORDER = {reason: position for position, reason in enumerate(ValidationReason)}


def _read_order(order: Order, lookup: OrderLookup) -> tuple[LocalTimestamp, OrderRow] | InvalidOrder:
    restaurant = parse_integer(order.restaurant_id, _RESTAURANT_BOUNDS)
    restaurant_index = lookup.restaurant_index(restaurant) if type(restaurant) is int else UNKNOWN_CODE
    zone = lookup.zones[lookup.zone_index.item(restaurant_index)]
    if restaurant_index == UNKNOWN_CODE and order.country is not None:
        zone = _zone_of_unknown_restaurant(order.country, lookup) or zone
    timestamp = parse_timestamp(order.order_acknowledged_at, zone)
    order_value = parse_number(order.order_value_gbp, _VALUE_BOUNDS)
    items = parse_integer(order.number_of_items, _ITEMS_BOUNDS)
    # By type: `isinstance` of an enumeration asks its class, which takes four times as long.
    if (
        timestamp is None
        or type(restaurant) is not int
        or type(order_value) is not float
        or type(items) is not int
        or (order.open_orders is not None and _check_open_orders(order) is not None)
    ):
        return _invalid_order(order, restaurant, timestamp, order_value, items)
    countries, cities, foods = lookup.restaurant_categories
    country, city, food = countries.item(restaurant_index), cities.item(restaurant_index), foods.item(restaurant_index)
    if order.country is not None or order.city is not None or order.type_of_food is not None:
        country_codes, city_codes, food_codes = lookup.category_codes
        country = _category_code(order.country, country_codes, country)
        city = _category_code(order.city, city_codes, city)
        food = _category_code(order.type_of_food, food_codes, food)
    return timestamp, (timestamp[0] // MICROSECONDS, restaurant, order_value, items, country, city, food)


def _zone_of_unknown_restaurant(country: object, lookup: OrderLookup) -> ZoneInfo | None:
    """The zone of a restaurant that is not listed, by the country its order names; a code means a listed country."""
    code = _category_code(country, lookup.category_codes[0], UNKNOWN_CODE)
    if code != UNKNOWN_CODE:
        return time_zone_of_country(lookup.country_names[code])
    return time_zone_of_country(country.strip(WHITESPACE)) if type(country) is str else None


def _check_open_orders(order: Order) -> ValidationReason | None:
    """What is against a column that may be empty."""
    parsed = parse_integer(order.open_orders, _OPEN_ORDERS_BOUNDS)
    return parsed if isinstance(parsed, ValidationReason) and parsed is not ValidationReason.MISSING_VALUE else None


def _invalid_order(
    order: Order,
    restaurant: int | ValidationReason,
    timestamp: LocalTimestamp | None,
    order_value: float | ValidationReason,
    items: int | ValidationReason,
) -> InvalidOrder:
    time_reason = None
    if timestamp is None:
        time_reason = (
            ValidationReason.MISSING_VALUE
            if is_missing(order.order_acknowledged_at)
            else ValidationReason.UNPARSABLE_TIME
        )
    checks = (
        (restaurant, "restaurant_id"),
        (time_reason, "order_acknowledged_at"),
        (order_value, "order_value_gbp"),
        (items, "number_of_items"),
        (_check_open_orders(order), "open_orders"),
    )
    failures = [(reason, field) for reason, field in checks if isinstance(reason, ValidationReason)]
    reason, field = min(failures, key=lambda one: _REASON_ORDER[one[0]])
    return InvalidOrder(reason, field, getattr(order, field))


def _category_code(cell: object, codes: dict[str, int], default: int) -> int:
    """The order's own category where it is understood, by name or by position; else its restaurant's."""
    if cell is None:
        return default
    code = codes.get(cell, UNKNOWN_CODE) if type(cell) is str else UNKNOWN_CODE
    if code == UNKNOWN_CODE:
        code = _parse_category_code(cell, codes)
    return default if code == UNKNOWN_CODE else code


def _parse_category_code(cell: object, codes: dict[str, int]) -> int:
    if type(cell) is str:
        name = cell.strip(WHITESPACE)
        if name in codes:
            return codes[name]
        digits = name.removesuffix(".0")  # pandas writes 3 as 3.0 beside empty cells
        if digits.isascii() and digits.isdigit() and len(digits) < 10 and int(digits) < len(codes):
            return int(digits)
    elif (type(cell) is int or type(cell) is float) and 0 <= cell < len(codes) and cell == int(cell):
        return int(cell)
    return UNKNOWN_CODE
