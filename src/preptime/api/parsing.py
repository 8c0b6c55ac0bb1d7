"""Parsing of single values in orders: numbers, whole numbers, and timestamps, as JSON values or as text.

The rules are those of the data dictionary and of `preptime.domain.timestamps`. The results match those of
`preptime.validation` for the same cell in a file, which the tests verify for every form and time zone. This version
parses one value at a time and caches days and offsets, because an endpoint does it for every row.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import TypeVar
from zoneinfo import ZoneInfo

from preptime.domain.cells import MAX_EXACT_FLOAT, MAX_MISSING_LENGTH, MISSING_TOKENS
from preptime.domain.data_dictionary import order_column
from preptime.domain.timestamps import (
    EARLIEST_SECONDS,
    EPOCH_PATTERN,
    LATEST_SECONDS,
    MICROSECONDS,
    SECONDS_PER_DAY,
    TIMESTAMP_PATTERN,
    WHITESPACE,
    parse_epoch,
    parse_utc_offset,
)
from preptime.domain.validation_reasons import ValidationReason

_NUMBER_PATTERN = re.compile(
    r"[+-]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|[iI][nN][fF](?:[iI][nN][iI][tT][yY])?)"
)
_INTEGER_PATTERN = re.compile(r"[+-]?[0-9]{1,19}")
_INT64_MAX, _INT64_MIN = 2**63 - 1, -(2**63)

_Value = TypeVar("_Value", int, float)

Bounds = tuple[float, float]


def column_bounds(name: str) -> Bounds:
    """Return the declared minimum and maximum of a column of orders."""
    column = order_column(name)
    return (
        -math.inf if column.minimum is None else column.minimum,
        math.inf if column.maximum is None else column.maximum,
    )


def is_missing(cell: object) -> bool:
    """Return whether a cell means a missing value."""
    if cell is None:
        return True
    if type(cell) is str:
        return len(cell) <= MAX_MISSING_LENGTH and cell.strip(WHITESPACE).lower() in MISSING_TOKENS
    return False


def parse_number(cell: object, bounds: Bounds) -> float | ValidationReason:
    """Return the number in a cell, or the reason why it's invalid."""
    if (type(cell) is float or type(cell) is int) and bounds[0] <= cell <= bounds[1]:
        return float(cell)
    if is_missing(cell):
        return ValidationReason.MISSING_VALUE
    value = _to_float(cell)
    return ValidationReason.UNPARSABLE_NUMBER if value is None else _check_bounds(value, bounds)


def parse_integer(cell: object, bounds: Bounds) -> int | ValidationReason:
    """Return the whole number in a cell, or the reason why it's invalid. `3.0` is 3, because pandas writes it so."""
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
    return int(value) if value is not None and abs(value) <= MAX_EXACT_FLOAT and value == math.floor(value) else None


def _check_bounds(value: _Value, bounds: Bounds) -> _Value | ValidationReason:
    if value < 0:
        return ValidationReason.NEGATIVE_VALUE
    return value if bounds[0] <= value <= bounds[1] else ValidationReason.OUT_OF_RANGE


_TIMESTAMP_PATTERN = re.compile(TIMESTAMP_PATTERN)
_EPOCH_PATTERN = re.compile(EPOCH_PATTERN)
_EARLIEST, _LATEST = EARLIEST_SECONDS * MICROSECONDS, LATEST_SECONDS * MICROSECONDS
_MAX_EPOCH = 10**19
"""Larger than every valid epoch, including nanoseconds."""
_MINUTE_MICROSECONDS = 60 * MICROSECONDS
_DAY_MICROSECONDS = SECONDS_PER_DAY * MICROSECONDS
_TWO_DIGITS = tuple(f"{number:02d}" for number in range(60))
_CLOCK_TEXTS = tuple(f"{hour:02d}:{minute}" for hour in range(24) for minute in _TWO_DIGITS)
_CLOCK_TO_MICROSECONDS = {clock: number * _MINUTE_MICROSECONDS for number, clock in enumerate(_CLOCK_TEXTS)}
_SECOND_TO_MICROSECONDS = {text: number * MICROSECONDS for number, text in enumerate(_TWO_DIGITS)}
"""Lookup tables for clock times in both directions. A lookup takes a tenth of the time of the computation."""
_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
_UTC_EPOCH, _NAIVE_EPOCH = datetime(1970, 1, 1, tzinfo=UTC), datetime(1970, 1, 1)
_ONE_MICROSECOND = timedelta(microseconds=1)

LocalTimestamp = tuple[int, int]
"""Microseconds since 1970-01-01 00:00 in the restaurant's local time, and in UTC."""


def parse_timestamp(cell: object, zone: ZoneInfo) -> LocalTimestamp | None:
    """Return the timestamp in a JSON value, or None if it's invalid. Text without an offset is local time in `zone`."""
    if type(cell) is str:
        return _parse_text(cell, zone)
    if (type(cell) is int or type(cell) is float) and -_MAX_EPOCH < cell < _MAX_EPOCH:
        return _parse_epoch(cell, zone)
    return None


def format_ready_at(timestamp: LocalTimestamp, seconds: float) -> str:
    """Return `timestamp` plus `seconds` as text, rounded to the second: `2015-06-01T12:28:28+01:00`.

    The offset is that of `timestamp`. If the clocks change in between, the result is still the correct instant.
    """
    wall, utc = timestamp
    ready_seconds = (wall + round(seconds * MICROSECONDS) + MICROSECONDS // 2) // MICROSECONDS
    day, second = divmod(ready_seconds, SECONDS_PER_DAY)
    minute, second = divmod(second, 60)
    utc_offset_minutes = (wall - utc) // _MINUTE_MICROSECONDS
    return f"{_format_day(day)}T{_CLOCK_TEXTS[minute]}:{_TWO_DIGITS[second]}{_format_offset(utc_offset_minutes)}"


def _parse_text(cell: str, zone: ZoneInfo) -> LocalTimestamp | None:
    text = cell.strip(WHITESPACE)
    text_match = _TIMESTAMP_PATTERN.match(text)
    if text_match is None:
        return _parse_epoch(int(text), zone) if _EPOCH_PATTERN.match(text) else None
    day, clock, seconds, fraction, offset = text_match.groups()
    wall = _parse_day(day)
    if wall is None:
        return None
    wall += _CLOCK_TO_MICROSECONDS[clock]
    if seconds:
        wall += _SECOND_TO_MICROSECONDS[seconds]
    if fraction:
        wall += int(fraction) if len(fraction) == 6 else int(fraction[:6].ljust(6, "0"))
    if offset is None:
        utc = wall - _utc_offset_at_wall_time(wall, zone)
        return (wall, utc) if _EARLIEST <= utc < _LATEST else None
    utc_offset = _parse_offset(offset)
    if utc_offset == 0:
        return _from_utc(wall, zone)
    utc = wall - utc_offset
    return (wall, utc) if _EARLIEST <= utc < _LATEST else None


def _parse_epoch(value: float, zone: ZoneInfo) -> LocalTimestamp | None:
    utc = parse_epoch(value)
    return None if utc is None else _from_utc(utc, zone)


def _from_utc(utc: int, zone: ZoneInfo) -> LocalTimestamp | None:
    if not _EARLIEST <= utc < _LATEST:
        return None
    utc_offset = (_UTC_EPOCH + timedelta(0, 0, utc)).astimezone(zone).utcoffset() or timedelta()
    return utc + utc_offset // _ONE_MICROSECOND, utc


def _utc_offset_at_wall_time(wall: int, zone: ZoneInfo) -> int:
    local_time = (_NAIVE_EPOCH + timedelta(0, 0, wall)).replace(tzinfo=zone, fold=0)
    return (local_time.utcoffset() or timedelta()) // _ONE_MICROSECOND


@lru_cache(maxsize=4096)
def _parse_day(text: str) -> int | None:
    """Return the first midnight of a day in microseconds since 1970, or None if the day doesn't exist."""
    try:
        return (date.fromisoformat(text).toordinal() - _EPOCH_ORDINAL) * _DAY_MICROSECONDS
    except ValueError:
        return None


@lru_cache(maxsize=4096)
def _format_day(days: int) -> str:
    """Return a day, counted from 1970-01-01, as ISO text."""
    return date.fromordinal(_EPOCH_ORDINAL + days).isoformat()


@lru_cache(maxsize=4096)
def _parse_offset(text: str) -> int:
    return parse_utc_offset(text) * MICROSECONDS


@lru_cache(maxsize=4096)
def _format_offset(minutes: int) -> str:
    hours, remaining_minutes = divmod(abs(minutes), 60)
    return f"{'-' if minutes < 0 else '+'}{hours:02d}:{remaining_minutes:02d}"
