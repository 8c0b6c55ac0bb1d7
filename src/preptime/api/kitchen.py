"""Reading the state of a kitchen that a request sends with an order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from zoneinfo import ZoneInfo

from preptime.api.parsing import LocalTimestamp, format_value, number_parser
from preptime.domain.timestamps import MICROSECONDS
from preptime.domain.validation_reasons import ValidationReason
from preptime.features.kitchen import OPEN_SECONDS, count_kitchen

MAX_KITCHEN_ORDERS = 500
"""Orders in each list of a kitchen. A kitchen with more has a wrong list, for example that of a whole city."""
_MAX_PREP_SECONDS = 1_000_000.0

KitchenRow = tuple[int, int, int]
"""One row of `KitchenStates`."""
ParseTime = Callable[[object, ZoneInfo], LocalTimestamp | None]

_parse_prep = number_parser((0.0, _MAX_PREP_SECONDS))


class KitchenError(Exception):
    """The state of a kitchen that can't be used. Its text names the field, the value, and the expected value."""


def read_kitchen(cell: object, acknowledged_at: int, zone: ZoneInfo, parse_time: ParseTime) -> KitchenRow:
    """Return the state of a kitchen in a request.

    Args:
        cell: The value of the field `kitchen`.
        acknowledged_at: The order's acknowledgement, in local seconds since 1970-01-01 00:00.
        zone: The restaurant's time zone.
        parse_time: The parser of the acknowledgements of orders.

    Raises:
        KitchenError: The value isn't a state of a kitchen.
    """
    if not isinstance(cell, dict):
        raise _error("kitchen", cell, "an object with open_orders and completed_orders")
    opened, completed = cell.get("open_orders"), cell.get("completed_orders")
    open_count = 0
    if type(opened) is int:
        if not 0 <= opened <= MAX_KITCHEN_ORDERS:
            raise _error("kitchen.open_orders", opened, f"a number from 0 to {MAX_KITCHEN_ORDERS}")
        open_count, opened = opened, None
    open_times = [
        _read_time(order, "acknowledged_at", name, zone, parse_time)
        for name, order in _iterate_orders("kitchen.open_orders", opened, "a number of orders, or a list of them")
    ]
    completed_orders = [
        (_read_time(order, "ready_at", name, zone, parse_time), _read_prep(order, name))
        for name, order in _iterate_orders("kitchen.completed_orders", completed, "a list of orders")
    ]
    counted, recent, log_sum = count_kitchen(acknowledged_at, open_times, completed_orders)
    return open_count + counted, recent, log_sum


def _iterate_orders(name: str, cell: object, expected: str) -> Iterator[tuple[str, dict[str, object]]]:
    """Yield the name and the value of each order in a list. A missing list has none."""
    if cell is None:
        return
    if not isinstance(cell, list):
        raise _error(name, cell, expected)
    if len(cell) > MAX_KITCHEN_ORDERS:
        raise KitchenError(f"{name} has {len(cell):,} orders; expected at most {MAX_KITCHEN_ORDERS}.")
    for index, order in enumerate(cell):
        if not isinstance(order, dict):
            raise _error(f"{name}[{index}]", order, "an object")
        yield f"{name}[{index}]", order


def _read_time(order: dict[str, object], field: str, name: str, zone: ZoneInfo, parse_time: ParseTime) -> int:
    cell = order.get(field)
    timestamp = parse_time(cell, zone)
    if timestamp is None:
        raise _error(f"{name}.{field}", cell, "a time in the format of the order's acknowledgement")
    return timestamp[0] // MICROSECONDS


def _read_prep(order: dict[str, object], name: str) -> int:
    cell = order.get("prep_time_seconds")
    seconds = _parse_prep(cell)
    if isinstance(seconds, ValidationReason):
        raise _error(f"{name}.prep_time_seconds", cell, "a number of seconds from 0")
    return int(min(seconds, OPEN_SECONDS + 1))


def _error(field: str, cell: object, expected: str) -> KitchenError:
    problem = "is missing" if cell is None else f"is {format_value(cell)}"
    return KitchenError(f"{field} {problem}; expected {expected}.")
