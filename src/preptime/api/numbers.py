"""Numbers in orders, as JSON numbers or as text: the rules of the data dictionary for one cell.

The same verdicts as reading a file gives (`preptime.tables`), to which the tests hold it.
"""

from __future__ import annotations

import math
import re
from typing import TypeVar

from preptime.domain.dictionary import order_column
from preptime.domain.timestamps import BLANKS
from preptime.domain.verdict import Reason

MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "<na>", "nat"})
"""Texts that say that there is nothing, in lower case."""

_NUMBER = re.compile(r"[+-]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|[iI][nN][fF](?:[iI][nN][iI][tT][yY])?)")
_WHOLE = re.compile(r"[+-]?[0-9]{1,19}")
_EXACT = 2.0**53  # beyond it a float no longer tells whole numbers apart
_LARGEST, _SMALLEST = 2**63 - 1, -(2**63)

_Value = TypeVar("_Value", int, float)

Bounds = tuple[float, float]


def bounds(name: str) -> Bounds:
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
        return len(cell) <= 8 and cell.strip(BLANKS).lower() in MISSING
    return False


def read_number(cell: object, within: Bounds) -> float | Reason:
    """The number in a cell, or what is to be said against it."""
    if (type(cell) is float or type(cell) is int) and within[0] <= cell <= within[1]:
        return float(cell)
    if is_missing(cell):
        return Reason.MISSING_VALUE
    value = _number(cell)
    return Reason.UNPARSABLE_NUMBER if value is None else _judged(value, within)


def read_whole(cell: object, within: Bounds) -> int | Reason:
    """The whole number in a cell (`3.0` is 3, as pandas writes it), or what is to be said against it."""
    if type(cell) is int and within[0] <= cell <= within[1]:
        return cell
    if is_missing(cell):
        return Reason.MISSING_VALUE
    value = _whole(cell)
    return Reason.UNPARSABLE_NUMBER if value is None else _judged(value, within)


def _number(cell: object) -> float | None:
    if type(cell) is int or type(cell) is float:
        try:
            return float(cell)
        except OverflowError:  # an integer of 309 digits or more
            return math.inf if cell > 0 else -math.inf
    if type(cell) is str:
        text = cell.strip(BLANKS)
        return float(text) if _NUMBER.fullmatch(text) else None
    return None


def _whole(cell: object) -> int | None:
    if type(cell) is int:
        return cell if _SMALLEST <= cell <= _LARGEST else None
    if type(cell) is str and _WHOLE.fullmatch(cell.strip(BLANKS)):
        return _whole(int(cell))
    value = _number(cell)
    return int(value) if value is not None and abs(value) <= _EXACT and value == math.floor(value) else None


def _judged(value: _Value, within: Bounds) -> _Value | Reason:
    if value < 0:
        return Reason.NEGATIVE_VALUE
    return value if within[0] <= value <= within[1] else Reason.OUT_OF_RANGE
