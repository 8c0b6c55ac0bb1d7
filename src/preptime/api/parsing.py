"""Parsing of single values in orders: numbers, whole numbers, and timestamps, as JSON values or as text.

The rules are those of the data dictionary and of `preptime.domain.timestamps`. The results match those of
`preptime.validation` for the same cell in a file, which the tests verify for every form and time zone. This version
parses one value at a time and caches days and offsets, because an endpoint does it for every row.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from preptime.domain.cells import (
    MAX_EXACT_FLOAT,
    MAX_MISSING_LENGTH,
    MISSING_TOKENS,
    PLAIN_NUMBERS,
    NumberFormat,
    plain_text_reader,
)
from preptime.domain.time_zones import load_time_zone
from preptime.domain.timestamps import (
    EARLIEST_SECONDS,
    LATEST_SECONDS,
    MICROSECONDS,
    SECONDS_PER_DAY,
    TIMESTAMP_PATTERN,
    WHITESPACE,
    TimestampFormat,
    compile_pattern,
    format_utc_offset,
    parse_epoch,
    parse_epoch_text,
    parse_utc_offset,
    time_parts,
)
from preptime.domain.validation_reasons import ValidationReason

_NUMBER_PATTERN = re.compile(
    r"[+-]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|[iI][nN][fF](?:[iI][nN][iI][tT][yY])?)"
)
_INTEGER_PATTERN = re.compile(r"[+-]?[0-9]{1,19}")
_INT64_MAX, _INT64_MIN = 2**63 - 1, -(2**63)

_Value = TypeVar("_Value", int, float)

Bounds = tuple[float, float]
_MAX_SHOWN_CHARS = 60


def format_value(value: object) -> str:
    """Return a value for a message: at most 60 printable characters, without the contents of lists and objects."""
    if isinstance(value, str):
        return repr(value) if len(value) <= _MAX_SHOWN_CHARS else f"{value[:_MAX_SHOWN_CHARS]!r}…"
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    text = str(value)
    return text if len(text) <= _MAX_SHOWN_CHARS else f"{text[:_MAX_SHOWN_CHARS]}…"


def is_missing(cell: object) -> bool:
    """Return whether a cell means a missing value."""
    if cell is None:
        return True
    if type(cell) is str:
        return len(cell) <= MAX_MISSING_LENGTH and cell.strip(WHITESPACE).lower() in MISSING_TOKENS
    return False


def number_parser(
    bounds: Bounds, number_format: NumberFormat = PLAIN_NUMBERS
) -> Callable[[object], float | ValidationReason]:
    """Return the parser of one column of numbers.

    It returns the number in a cell, in the unit of the data dictionary, or the reason why it's invalid. The format is
    read here, so that it costs nothing for each cell.
    """
    low, high = bounds
    # Empty bounds for a number that must be converted first.
    lowest, highest = (math.inf, -math.inf) if number_format.is_scaled else bounds
    to_float = _with_format(_to_float, number_format)

    def parse(cell: object) -> float | ValidationReason:
        if (type(cell) is float or type(cell) is int) and lowest <= cell <= highest:
            return float(cell)
        if is_missing(cell):
            return ValidationReason.MISSING_VALUE
        value = to_float(cell)
        return ValidationReason.UNPARSABLE_NUMBER if value is None else _check_bounds(value, low, high)

    return parse


def integer_parser(
    bounds: Bounds, number_format: NumberFormat = PLAIN_NUMBERS
) -> Callable[[object], int | ValidationReason]:
    """Return the parser of one column of whole numbers. `3.0` is 3, because pandas writes it so."""
    low, high = bounds
    lowest, highest = (math.inf, -math.inf) if number_format.is_scaled else bounds
    to_integer = _with_format(_to_float if number_format.is_scaled else _to_integer, number_format)

    def parse(cell: object) -> int | ValidationReason:
        if type(cell) is int and lowest <= cell <= highest:
            return cell
        if is_missing(cell):
            return ValidationReason.MISSING_VALUE
        value = to_integer(cell)
        if type(value) is float:
            value = _to_integer(value)
        return ValidationReason.UNPARSABLE_NUMBER if value is None else _check_bounds(value, low, high)

    return parse


def _with_format(parse: Callable[[object], _Value | None], number_format: NumberFormat) -> Callable[[object], Any]:
    """Return a parser of plain numbers as one of numbers in a format, in the unit of the data dictionary."""
    with_marks = _with_marks(parse, number_format) if number_format.has_marks else parse
    if not number_format.is_scaled:
        return with_marks
    multiplier, divisor = number_format.multiplier, number_format.divisor

    def parse_scaled(cell: object) -> float | None:
        value = with_marks(cell)
        return None if value is None else float(value) * multiplier / divisor

    return parse_scaled


def _with_marks(
    parse: Callable[[object], _Value | None], number_format: NumberFormat
) -> Callable[[object], _Value | None]:
    read_plain_text = plain_text_reader(number_format)

    def parse_marks(cell: object) -> _Value | None:
        if type(cell) is not str:
            return parse(cell)
        # A plain number is valid in every format with a decimal point.
        value = parse(cell) if number_format.decimal == "." else None
        return parse(read_plain_text(cell.strip(WHITESPACE))) if value is None else value

    return parse_marks


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


def _check_bounds(value: _Value, low: float, high: float) -> _Value | ValidationReason:
    if low <= value <= high:
        return value
    return ValidationReason.NEGATIVE_VALUE if value < 0 <= low else ValidationReason.OUT_OF_RANGE


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


def timestamp_parser(timestamp_format: TimestampFormat) -> Callable[[object, ZoneInfo], LocalTimestamp | None]:
    """Return the parser of one column of timestamps.

    It returns the timestamp in a JSON value, in local time in the restaurant's time zone and in UTC, or None if it's
    invalid.
    """
    pattern, zone_name = timestamp_format.pattern, timestamp_format.time_zone
    match_text = re.compile(compile_pattern(pattern) if pattern else TIMESTAMP_PATTERN).match
    written_zone = load_time_zone(zone_name) if zone_name else None

    def parse(cell: object, zone: ZoneInfo) -> LocalTimestamp | None:
        if type(cell) is not str:
            return _parse_epoch(cell, zone)
        text = cell.strip(WHITESPACE)
        text_match = match_text(text)
        if text_match is None:
            return None if pattern else _from_epoch(parse_epoch_text(text), zone)
        day, clock, seconds, fraction, offset = time_parts(text_match.groupdict()) if pattern else text_match.groups()
        start = _parse_day(day, offset, zone, written_zone)
        if start is None:
            return None
        time_of_day = _CLOCK_TO_MICROSECONDS[clock]
        if seconds:
            time_of_day += _SECOND_TO_MICROSECONDS[seconds]
        if fraction:
            time_of_day += int(fraction) if len(fraction) == 6 else int(fraction[:6].ljust(6, "0"))
        utc, wall, is_constant = start
        if not is_constant:
            return _convert_wall_time(wall + time_of_day, offset, zone, written_zone)
        utc += time_of_day
        return (wall + time_of_day, utc) if _EARLIEST <= utc < _LATEST else None

    return parse


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


def _parse_epoch(cell: object, zone: ZoneInfo) -> LocalTimestamp | None:
    if (type(cell) is int or type(cell) is float) and -_MAX_EPOCH < cell < _MAX_EPOCH:
        return _from_epoch(parse_epoch(cell), zone)
    return None


def _from_epoch(utc: int | None, zone: ZoneInfo) -> LocalTimestamp | None:
    if utc is None:
        return None
    utc_offset = _utc_offset_of_day(utc // _DAY_MICROSECONDS, zone)
    return _from_utc(utc, zone) if utc_offset is None else (utc + utc_offset, utc)


@lru_cache(maxsize=4096)
def _utc_offset_of_day(day: int, zone: ZoneInfo) -> int | None:
    """Return the offset on a day in UTC in microseconds, or None if a clock changes. Days count from 1970-01-01."""
    midnights = (day * _DAY_MICROSECONDS, (day + 1) * _DAY_MICROSECONDS - 1)
    start, end = (_from_utc(midnight, zone) for midnight in midnights)
    return None if start is None or end is None or start[0] - start[1] != end[0] - end[1] else start[0] - start[1]


@lru_cache(maxsize=4096)
def _parse_day(
    day: str, offset: str | None, zone: ZoneInfo, written_zone: ZoneInfo | None
) -> tuple[int, int, bool] | None:
    """Return the first midnight of a day as written: in UTC, and in local time in `zone`.

    The third value is whether all times of this day have the same distance from them. If it's false, a clock changes on
    this day, and the second value is the written midnight. Returns None for a day that doesn't exist or isn't between
    2000 and 2099.
    """
    try:
        midnight = (date.fromisoformat(day).toordinal() - _EPOCH_ORDINAL) * _DAY_MICROSECONDS
    except ValueError:
        return None
    last = midnight + _DAY_MICROSECONDS - 1
    start, end = (_convert_wall_time(wall, offset, zone, written_zone) for wall in (midnight, last))
    if start is None and end is None:
        return None
    if start is None or end is None or not end[0] - start[0] == end[1] - start[1] == last - midnight:
        return midnight, midnight, False
    return start[1], start[0], True


def _convert_wall_time(
    wall: int, offset: str | None, zone: ZoneInfo, written_zone: ZoneInfo | None
) -> LocalTimestamp | None:
    """Return a time with an offset or a time zone of its own. Without them, it's local time in `zone`."""
    if offset is not None:
        return _from_utc(wall - parse_utc_offset(offset) * MICROSECONDS, zone)
    if written_zone is not None:
        return _from_utc(wall - _utc_offset_at_wall_time(wall, written_zone), zone)
    utc = wall - _utc_offset_at_wall_time(wall, zone)
    return (wall, utc) if _EARLIEST <= utc < _LATEST else None


def _from_utc(utc: int, zone: ZoneInfo) -> LocalTimestamp | None:
    if not _EARLIEST <= utc < _LATEST:
        return None
    utc_offset = (_UTC_EPOCH + timedelta(0, 0, utc)).astimezone(zone).utcoffset() or timedelta()
    return utc + utc_offset // _ONE_MICROSECOND, utc


def _utc_offset_at_wall_time(wall: int, zone: ZoneInfo) -> int:
    local_time = (_NAIVE_EPOCH + timedelta(0, 0, wall)).replace(tzinfo=zone, fold=0)
    return (local_time.utcoffset() or timedelta()) // _ONE_MICROSECOND


@lru_cache(maxsize=4096)
def _format_day(days: int) -> str:
    """Return a day, counted from 1970-01-01, as ISO text."""
    return date.fromordinal(_EPOCH_ORDINAL + days).isoformat()


_format_offset = lru_cache(maxsize=4096)(format_utc_offset)
