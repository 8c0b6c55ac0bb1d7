"""Orders of a request, row by row: columns to predict from, or what is wrong with the row. No row is dropped (D4).

The verdicts are those of `preptime.tables.audit`, to which the tests hold them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import msgspec

from preptime.api.cells import Cells, as_columns
from preptime.api.moments import Moment, read_moment
from preptime.api.numbers import bounds, is_missing, read_number, read_whole
from preptime.api.order import Order
from preptime.api.serving import Lookup, zone_of_country
from preptime.domain.dictionary import order_column
from preptime.domain.order import UNKNOWN, OrderColumns
from preptime.domain.timestamps import BLANKS, MICROSECONDS
from preptime.domain.verdict import Reason

_VALUE, _RESTAURANT, _ITEMS, _OPEN = (
    bounds(name) for name in ("order_value_gbp", "restaurant_id", "number_of_items", "open_orders")
)
_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Fault:
    """Why an order cannot be predicted: the first reason in declared order, and the field that it stands in."""

    reason: Reason
    field: str
    value: object

    @property
    def message(self) -> str:
        """The field, its value, and what was expected."""
        expected = order_column(self.field).expected
        found = "is missing" if self.reason is Reason.MISSING_VALUE else f"is {shown(self.value)}"
        return f"{self.field} {found}; expected {expected}."


class Rows(msgspec.Struct, frozen=True, gc=False):
    """N orders as read."""

    cells: list[Cells]
    """Those that can be predicted, in order."""
    moments: list[Moment]
    """When each of those was acknowledged, to the microsecond."""
    faults: dict[int, Fault]
    """By the place among all N: why the others cannot."""

    @property
    def columns(self) -> OrderColumns:
        """Those that can be predicted, as columns."""
        return as_columns(self.cells)


def read_orders(orders: Sequence[Order], lookup: Lookup) -> Rows:
    """Read and judge N orders."""
    faults: dict[int, Fault] = {}
    moments: list[Moment] = []
    cells: list[Cells] = []
    for place, order in enumerate(orders):
        read = _read(order, lookup)
        if isinstance(read, Fault):
            faults[place] = read
        else:
            moments.append(read[0])
            cells.append(read[1])
    return Rows(cells, moments, faults)


def shown(value: object) -> str:
    """A value in a message: at most sixty characters of it, nothing unprintable, nothing of what is nested."""
    if isinstance(value, str):
        return repr(value) if len(value) <= _SHOWN else f"{value[:_SHOWN]!r}…"
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    text = str(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


_DECLARED = {reason: position for position, reason in enumerate(Reason)}


def _read(order: Order, lookup: Lookup) -> tuple[Moment, Cells] | Fault:
    restaurant = read_whole(order.restaurant_id, _RESTAURANT)
    position = lookup.position(restaurant) if type(restaurant) is int else UNKNOWN
    zone = lookup.zones[lookup.zone_code.item(position)]
    if position == UNKNOWN and order.country is not None:
        zone = _zone_of_stranger(order.country, lookup) or zone
    moment = read_moment(order.order_acknowledged_at, zone)
    value = read_number(order.order_value_gbp, _VALUE)
    items = read_whole(order.number_of_items, _ITEMS)
    # By type: `isinstance` of an enumeration asks its class, which takes four times as long.
    if (
        moment is None
        or type(restaurant) is not int
        or type(value) is not float
        or type(items) is not int
        or (order.open_orders is not None and _open_orders(order) is not None)
    ):
        return _fault(order, restaurant, moment, value, items)
    countries, cities, foods = lookup.own
    country, city, food = countries.item(position), cities.item(position), foods.item(position)
    if order.country is not None or order.city is not None or order.type_of_food is not None:
        of_country, of_city, of_food = lookup.codes
        country = _code(order.country, of_country, country)
        city = _code(order.city, of_city, city)
        food = _code(order.type_of_food, of_food, food)
    return moment, (moment[0] // MICROSECONDS, restaurant, value, items, country, city, food)


def _zone_of_stranger(country: object, lookup: Lookup) -> ZoneInfo | None:
    """The zone of a restaurant that is not listed, by the country its order names; a code means a listed country."""
    code = _code(country, lookup.codes[0], UNKNOWN)
    if code != UNKNOWN:
        return zone_of_country(lookup.countries[code])
    return zone_of_country(country.strip(BLANKS)) if type(country) is str else None


def _open_orders(order: Order) -> Reason | None:
    """What is against a column that may be empty."""
    read = read_whole(order.open_orders, _OPEN)
    return read if isinstance(read, Reason) and read is not Reason.MISSING_VALUE else None


def _fault(
    order: Order, restaurant: int | Reason, moment: Moment | None, value: float | Reason, items: int | Reason
) -> Fault:
    time = None
    if moment is None:
        time = Reason.MISSING_VALUE if is_missing(order.order_acknowledged_at) else Reason.UNPARSABLE_TIME
    judged = (
        (restaurant, "restaurant_id"),
        (time, "order_acknowledged_at"),
        (value, "order_value_gbp"),
        (items, "number_of_items"),
        (_open_orders(order), "open_orders"),
    )
    against = [(reason, field) for reason, field in judged if isinstance(reason, Reason)]
    reason, field = min(against, key=lambda one: _DECLARED[one[0]])
    return Fault(reason, field, getattr(order, field))


def _code(cell: object, codes: dict[str, int], usual: int) -> int:
    """The order's own category where it is understood, by name or by position; else its restaurant's."""
    if cell is None:
        return usual
    own = codes.get(cell, UNKNOWN) if type(cell) is str else UNKNOWN
    if own == UNKNOWN:
        own = _less_usual_code(cell, codes)
    return usual if own == UNKNOWN else own


def _less_usual_code(cell: object, codes: dict[str, int]) -> int:
    if type(cell) is str:
        name = cell.strip(BLANKS)
        if name in codes:
            return codes[name]
        whole = name.removesuffix(".0")  # pandas writes 3 as 3.0 beside empty cells
        if whole.isascii() and whole.isdigit() and len(whole) < 10 and int(whole) < len(codes):
            return int(whole)
    elif (type(cell) is int or type(cell) is float) and 0 <= cell < len(codes) and cell == int(cell):
        return int(cell)
    return UNKNOWN
