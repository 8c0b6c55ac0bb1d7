"""Validation of the orders in a request (D4).

Every order is checked separately: an invalid order never affects the other orders, and no order is dropped. The results
match those of `preptime.validation.audit` for the same rows in a file, which the tests verify.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import msgspec

from preptime.api.active_model import OrderLookup, OrderRow, rows_to_columns, time_zone_of_country
from preptime.api.kitchen import KitchenError, KitchenRow, read_kitchen
from preptime.api.parsing import LocalTimestamp, format_value, is_missing
from preptime.api.schema import Order
from preptime.domain.cells import parse_category_number, parse_category_text
from preptime.domain.orders import UNKNOWN_CODE, OrderColumns
from preptime.domain.restaurant_ids import parse_restaurant_id
from preptime.domain.timestamps import MICROSECONDS, WHITESPACE
from preptime.domain.validation_reasons import ValidationReason

_REASON_ORDER = {reason: position for position, reason in enumerate(ValidationReason)}
_MAX_CATEGORY_NUMBER = 10**9
"""A larger number is neither a name nor a code of a category, as in `preptime.domain.cells.parse_category_text`."""


@dataclass(frozen=True, slots=True)
class InvalidOrder:
    """An order that can't be predicted: the first validation reason in declared order, and its field and value."""

    reason: ValidationReason
    field: str
    """The company's field."""
    value: object
    expected: str
    """The expected content of the field."""

    @property
    def message(self) -> str:
        """The field, its value, and the expected value."""
        problem = "is missing" if self.reason is ValidationReason.MISSING_VALUE else f"is {format_value(self.value)}"
        return f"{self.field} {problem}; expected {self.expected}."


class OrderNotes(msgspec.Struct, frozen=True, gc=False):
    """What a caller should know about the prediction of an order."""

    restaurant_differs: bool
    """Whether the order's own country or city isn't that of the restaurant in the bundle."""
    missing_features: list[str] | None
    """Fields of custom features without a valid value."""
    kitchen_error: str | None = None
    """Why the state of the kitchen can't be used."""


class ParsedOrders(msgspec.Struct, frozen=True, gc=False):
    """The result of validating N orders."""

    rows: list[OrderRow]
    """The valid orders, in order."""
    timestamps: list[LocalTimestamp]
    """Acknowledgement time of each valid order, in microseconds."""
    invalid_orders: dict[int, InvalidOrder]
    """The invalid orders by index among all N."""
    notes: dict[int, OrderNotes]
    """The notes on valid orders by index among all N. Most orders have none."""
    kitchens: dict[int, KitchenRow] = {}
    """The states of kitchens, by index among the valid orders."""

    @property
    def columns(self) -> OrderColumns:
        """The valid orders as columns."""
        return rows_to_columns(self.rows)


def read_orders(orders: Sequence[Order], lookup: OrderLookup) -> ParsedOrders:
    """Parse and validate N orders."""
    invalid_orders: dict[int, InvalidOrder] = {}
    notes: dict[int, OrderNotes] = {}
    timestamps: list[LocalTimestamp] = []
    rows: list[OrderRow] = []
    kitchens: dict[int, KitchenRow] = {}
    for index, order in enumerate(orders):
        parsed = _read_order(order, lookup)
        if isinstance(parsed, InvalidOrder):
            invalid_orders[index] = parsed
        else:
            timestamp, row, order_notes = parsed
            if order.kitchen is not None:
                kitchen = _read_kitchen(order, timestamp, lookup)
                if isinstance(kitchen, str):
                    order_notes = _add_kitchen_error(order_notes, kitchen)
                else:
                    kitchens[len(rows)] = kitchen
            timestamps.append(timestamp)
            rows.append(row)
            if order_notes is not None:
                notes[index] = order_notes
    return ParsedOrders(rows, timestamps, invalid_orders, notes, kitchens)


def _read_order(order: Order, lookup: OrderLookup) -> tuple[LocalTimestamp, OrderRow, OrderNotes | None] | InvalidOrder:
    restaurant = parse_restaurant_id(order.restaurant_id)
    restaurant_index = lookup.restaurant_index(restaurant) if type(restaurant) is int else UNKNOWN_CODE
    zone = _time_zone(order, restaurant_index, lookup)
    parsers = lookup.parsers
    timestamp = parsers.acknowledged_at(order.order_acknowledged_at, zone)
    order_value = parsers.order_value(order.order_value)
    items = parsers.number_of_items(order.number_of_items)
    # Not `isinstance`, which takes four times as long for an enumeration.
    if (
        timestamp is None
        or type(restaurant) is not int
        or type(order_value) is not float
        or type(items) is not int
        or (order.open_orders is not None and _check_open_orders(order, lookup) is not None)
    ):
        return _invalid_order(order, lookup, timestamp, (restaurant, order_value, items))
    countries, cities, foods = lookup.restaurant_categories
    country, city, food = countries.item(restaurant_index), cities.item(restaurant_index), foods.item(restaurant_index)
    differs = False
    if order.country is not None or order.city is not None or order.type_of_food is not None:
        country_codes, city_codes, food_codes = lookup.category_codes
        own_country, own_city = _category_code(order.country, country_codes), _category_code(order.city, city_codes)
        differs = _differs(order.country, own_country, country) or _differs(order.city, own_city, city)
        own_food = _category_code(order.type_of_food, food_codes)
        country = country if own_country == UNKNOWN_CODE else own_country
        city = city if own_city == UNKNOWN_CODE else own_city
        food = food if own_food == UNKNOWN_CODE else own_food
    row = (timestamp[0] // MICROSECONDS, restaurant, order_value, items, country, city, food)
    if lookup.custom is None:
        return timestamp, row, OrderNotes(True, None) if differs else None
    numbers, codes, missing = lookup.custom.read(order, restaurant_index)
    if missing and lookup.custom.find_errors(order):
        return _invalid_order(order, lookup, timestamp, (restaurant, order_value, items))
    return timestamp, (*row, numbers, codes), OrderNotes(differs, missing) if differs or missing else None


def _read_kitchen(order: Order, acknowledged: LocalTimestamp, lookup: OrderLookup) -> KitchenRow | str:
    """Return the state of the kitchen of an order, or why it can't be used."""
    try:
        return read_kitchen(
            order.kitchen, acknowledged, time_zone_of_order(order, lookup), lookup.parsers.acknowledged_at
        )
    except KitchenError as error:
        return str(error)


def _add_kitchen_error(notes: OrderNotes | None, error: str) -> OrderNotes:
    return OrderNotes(False, None, error) if notes is None else msgspec.structs.replace(notes, kitchen_error=error)


def time_zone_of_order(order: Order, lookup: OrderLookup) -> ZoneInfo:
    """Return the time zone of an order's restaurant, as far as it's known."""
    restaurant = parse_restaurant_id(order.restaurant_id)
    return _time_zone(order, lookup.restaurant_index(restaurant) if type(restaurant) is int else UNKNOWN_CODE, lookup)


def _time_zone(order: Order, restaurant_index: int, lookup: OrderLookup) -> ZoneInfo:
    zone = lookup.zones[lookup.zone_index.item(restaurant_index)]
    if restaurant_index == UNKNOWN_CODE and order.country is not None:
        return _zone_of_unknown_restaurant(order.country, lookup) or zone
    return zone


def _differs(cell: object, own_code: int, restaurant_code: int) -> bool:
    """Return whether an order names another country or city than that of its restaurant."""
    if cell is None or restaurant_code in {own_code, UNKNOWN_CODE}:
        return False
    return type(cell) is not str or bool(cell.strip(WHITESPACE))


def _zone_of_unknown_restaurant(country: object, lookup: OrderLookup) -> ZoneInfo | None:
    """Return the time zone of an unknown restaurant from its order's country, which is a name or a code."""
    code = _category_code(country, lookup.category_codes[0])
    if code != UNKNOWN_CODE:
        return time_zone_of_country(lookup.country_names[code])
    return time_zone_of_country(country.strip(WHITESPACE)) if type(country) is str else None


def _check_open_orders(order: Order, lookup: OrderLookup) -> ValidationReason | None:
    """Return why the optional value is invalid, or None."""
    parsed = lookup.parsers.open_orders(order.open_orders)
    return parsed if isinstance(parsed, ValidationReason) and parsed is not ValidationReason.MISSING_VALUE else None


def _invalid_order(
    order: Order,
    lookup: OrderLookup,
    timestamp: LocalTimestamp | None,
    numbers: tuple[int | ValidationReason, float | ValidationReason, int | ValidationReason],
) -> InvalidOrder:
    """Return the error of an order. `numbers` are the parsed restaurant, value, and items."""
    restaurant, order_value, items = numbers
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
        (order_value, "order_value"),
        (items, "number_of_items"),
        (_check_open_orders(order, lookup), "open_orders"),
    )
    failures = [
        (reason, *lookup.parsers.described(name), getattr(order, name))
        for reason, name in checks
        if isinstance(reason, ValidationReason)
    ]
    if lookup.custom is not None:
        failures += lookup.custom.find_errors(order)
    reason, field, expected, value = min(failures, key=lambda failure: _REASON_ORDER[failure[0]])
    return InvalidOrder(reason, field, value, expected)


def _category_code(cell: object, codes: dict[str, int]) -> int:
    """Return the code of the order's category, given as name or code, or `UNKNOWN_CODE`."""
    if cell is None:
        return UNKNOWN_CODE
    code = codes.get(cell, UNKNOWN_CODE) if type(cell) is str else UNKNOWN_CODE
    return _parse_category_code(cell, codes) if code == UNKNOWN_CODE else code


def _parse_category_code(cell: object, codes: dict[str, int]) -> int:
    if type(cell) is str:
        return parse_category_text(cell, codes)
    if type(cell) is int and 0 <= cell < _MAX_CATEGORY_NUMBER:
        return parse_category_number(cell, codes)
    return parse_category_text(repr(cell), codes) if type(cell) is float else UNKNOWN_CODE
