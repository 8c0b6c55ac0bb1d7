"""Numbers in orders, as JSON numbers or as text: the rules of the data dictionary for one cell.

The same verdicts as reading a file gives (`preptime.tables`), to which the tests hold it.
"""

from __future__ import annotations

import math
import re
from typing import TypeVar

from preptime.domain.dictionary import order_column
from preptime.domain.timestamps import WHITESPACE
from preptime.domain.verdict import ValidationReason

MISSING_TOKENS = frozenset({"", "na", "n/a", "nan", "null", "none", "<na>", "nat"})
"""Texts that say that there is nothing, in lower case."""

_NUMBER_PATTERN = re.compile(
    r"[+-]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|[iI][nN][fF](?:[iI][nN][iI][tT][yY])?)"
)
_INTEGER_PATTERN = re.compile(r"[+-]?[0-9]{1,19}")
_MAX_EXACT_FLOAT = 2.0**53  # beyond it a float no longer tells whole numbers apart
_INT64_MAX, _INT64_MIN = 2**63 - 1, -(2**63)

_Value = TypeVar("_Value", int, float)

Bounds = tuple[float, float]


def column_bounds(name: str) -> Bounds:
    """The declared range of a column of orders."""
    column = order_column(name)
    return (
        -math.inf if column.minimum is None else column.minimum,
        math.inf if column.maximum is None else column.maximum,
    )


def is_missing(cell: object) -> bool:
    """Whether a cell says that there is nothing."""
    if cell is None:
        return True
    if type(cell) is str:
        return len(cell) <= 8 and cell.strip(WHITESPACE).lower() in MISSING_TOKENS
    return False


def parse_number(cell: object, bounds: Bounds) -> float | ValidationReason:
    """The number in a cell, or what is to be said against it."""
    if (type(cell) is float or type(cell) is int) and bounds[0] <= cell <= bounds[1]:
        return float(cell)
    if is_missing(cell):
        return ValidationReason.MISSING_VALUE
    value = _to_float(cell)
    return ValidationReason.UNPARSABLE_NUMBER if value is None else _check_bounds(value, bounds)


def parse_integer(cell: object, bounds: Bounds) -> int | ValidationReason:
    """The whole number in a cell (`3.0` is 3, as pandas writes it), or what is to be said against it."""
    if type(cell) is int and bounds[0] <= cell <= bounds[1]:
        return cell
    if is_missing(cell):
        return ValidationReason.MISSING_VALUE
    value = _to_integer(cell)
    return ValidationReason.UNPARSABLE_NUMBER if value is None else _check_bounds(value, bounds)


def _to_float(cell: object) -> float | None:
    if type(cell) is int or type(cell) is float:
        try:
            return float(cell)
        except OverflowError:  # an integer of 309 digits or more
            return math.inf if cell > 0 else -math.inf
    if type(cell) is str:
        text = cell.strip(WHITESPACE)
        return float(text) if _NUMBER_PATTERN.fullmatch(text) else None
    return None


def _to_integer(cell: object) -> int | None:
    if type(cell) is int:
        return cell if _INT64_MIN <= cell <= _INT64_MAX else None
    if type(cell) is str and _INTEGER_PATTERN.fullmatch(cell.strip(WHITESPACE)):
        return _to_integer(int(cell))
    value = _to_float(cell)
    return int(value) if value is not None and abs(value) <= _MAX_EXACT_FLOAT and value == math.floor(value) else None


def _check_bounds(value: _Value, bounds: Bounds) -> _Value | ValidationReason:
    if value < 0:
        return ValidationReason.NEGATIVE_VALUE
    return value if bounds[0] <= value <= bounds[1] else ValidationReason.OUT_OF_RANGE
