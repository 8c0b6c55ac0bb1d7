"""Reading the state of a kitchen that a request sends with an order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from zoneinfo import ZoneInfo

from preptime.api.parsing import LocalTimestamp, format_value, integer_parser, number_parser
from preptime.domain.timestamps import MICROSECONDS, SECONDS_PER_DAY
from preptime.domain.validation_reasons import ValidationReason
from preptime.features.kitchen import OPEN_SECONDS, count_kitchen

MAX_KITCHEN_ORDERS = 500
"""Orders in each list of a kitchen. A kitchen with more has a wrong list, for example that of a whole city."""
_UNCOUNTED_SECONDS = OPEN_SECONDS + 1
"""A preparation time that isn't counted. It replaces all longer ones, however long they are."""
_DAY_MICROSECONDS = SECONDS_PER_DAY * MICROSECONDS

_OPEN, _COMPLETED = "kitchen.open_orders", "kitchen.completed_orders"

KitchenRow = tuple[int, int, int]
"""One row of `KitchenStates`."""
ParseTime = Callable[[object, ZoneInfo], LocalTimestamp | None]
_Place = tuple[str, int]
"""The name of a list and an index in it. Only errors need them as text."""

_parse_count = integer_parser((0, MAX_KITCHEN_ORDERS))
_parse_prep = number_parser((0.0, float(_UNCOUNTED_SECONDS)))


class KitchenError(Exception):
    """The state of a kitchen that can't be used. Its text names the field, the value, and the expected value."""


def read_kitchen(cell: object, acknowledged: LocalTimestamp, zone: ZoneInfo, parse_time: ParseTime) -> KitchenRow:
    """Return the state of a kitchen in a request.

    Args:
        cell: The value of the field `kitchen`.
        acknowledged: The order's acknowledgement.
        zone: The restaurant's time zone.
        parse_time: The parser of the acknowledgements of orders.

    Raises:
        KitchenError: The value isn't a state of a kitchen.
    """
    if not isinstance(cell, dict):
        raise _error("kitchen", cell, "an object with open_orders and completed_orders")
    opened, completed = cell.get("open_orders"), cell.get("completed_orders")
    open_count, open_times = 0, []
    if isinstance(opened, list):
        open_times = [
            _read_time(order, "acknowledged_at", (_OPEN, index), zone, parse_time)[1] // MICROSECONDS
            for index, order in _iterate_orders(_OPEN, opened)
        ]
    elif opened is not None:
        open_count = _read_count(opened)
    completed_orders = []
    for index, order in _iterate_orders(_COMPLETED, completed):
        local, utc = _read_time(order, "ready_at", (_COMPLETED, index), zone, parse_time)
        prep = _read_prep(order, (_COMPLETED, index))
        completed_orders.append((utc // MICROSECONDS, local // _DAY_MICROSECONDS, prep))
    local, utc = acknowledged
    counted, recent, log_sum = count_kitchen(
        utc // MICROSECONDS, local // _DAY_MICROSECONDS, open_times, completed_orders
    )
    return open_count + counted, recent, log_sum


def _read_count(cell: object) -> int:
    count = _parse_count(cell)
    if isinstance(count, ValidationReason):
        raise _error(_OPEN, cell, f"a whole number from 0 to {MAX_KITCHEN_ORDERS}, or a list of orders")
    return count


def _iterate_orders(name: str, cell: object) -> Iterator[tuple[int, dict[str, object]]]:
    """Yield the index and the value of each order in a list. A missing list has none."""
    if cell is None:
        return
    if not isinstance(cell, list):
        raise _error(name, cell, "a list of orders")
    if len(cell) > MAX_KITCHEN_ORDERS:
        raise KitchenError(f"{name} has {len(cell):,} orders; expected at most {MAX_KITCHEN_ORDERS}.")
    for index, order in enumerate(cell):
        if not isinstance(order, dict):
            raise _error(f"{name}[{index}]", order, "an object")
        yield index, order


def _read_time(
    order: dict[str, object], field: str, place: _Place, zone: ZoneInfo, parse_time: ParseTime
) -> LocalTimestamp:
    cell = order.get(field)
    timestamp = parse_time(cell, zone)
    if timestamp is None:
        raise _error(f"{place[0]}[{place[1]}].{field}", cell, "a time in the format of the order's acknowledgement")
    return timestamp


def _read_prep(order: dict[str, object], place: _Place) -> int:
    cell = order.get("prep_time_seconds")
    seconds = _parse_prep(cell)
    if seconds is ValidationReason.OUT_OF_RANGE:
        return _UNCOUNTED_SECONDS
    if isinstance(seconds, ValidationReason):
        raise _error(f"{place[0]}[{place[1]}].prep_time_seconds", cell, "a number of seconds from 0")
    return int(seconds)


def _error(field: str, cell: object, expected: str) -> KitchenError:
    problem = "is missing" if cell is None else f"is {format_value(cell)}"
    return KitchenError(f"{field} {problem}; expected {expected}.")
