"""When an order was acknowledged, one order at a time, at a speed an endpoint can pay for every row.

The grammar and its meaning are `preptime.domain.timestamps`; this reads it to the microsecond, as `score` does, and
remembers days and offsets. The tests hold it to both, for every form and zone.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from preptime.domain.timestamps import (
    BLANKS,
    EARLIEST_SECONDS,
    EPOCH,
    LATEST_SECONDS,
    MICROSECONDS,
    TIMESTAMP,
    epoch_microseconds,
    offset_seconds,
)
from preptime.features.clock import DAY_SECONDS

_TEXT = re.compile(TIMESTAMP)
_EPOCH = re.compile(EPOCH)
_EARLIEST, _LATEST = EARLIEST_SECONDS * MICROSECONDS, LATEST_SECONDS * MICROSECONDS
_LARGEST = 10**19
"""Beyond every epoch, nanoseconds included."""
_MINUTE = 60 * MICROSECONDS
_DAY = DAY_SECONDS * MICROSECONDS
_SIXTY = tuple(f"{number:02d}" for number in range(60))
_CLOCKS = tuple(f"{hour:02d}:{minute}" for hour in range(24) for minute in _SIXTY)
_MINUTES = {clock: number * _MINUTE for number, clock in enumerate(_CLOCKS)}
_SECONDS = {text: number * MICROSECONDS for number, text in enumerate(_SIXTY)}
"""What a clock shows, both ways: looked up in a tenth of the time that it takes to compute."""
_ORIGIN_DAY = date(1970, 1, 1).toordinal()
_ORIGIN, _WALL_ORIGIN = datetime(1970, 1, 1, tzinfo=UTC), datetime(1970, 1, 1)
_MICROSECOND = timedelta(microseconds=1)

Moment = tuple[int, int]
"""Microseconds since 1970-01-01 00:00 on the restaurant's wall clock, and in UTC."""


def read_moment(cell: object, zone: ZoneInfo) -> Moment | None:
    """The moment that a JSON value stands for, on the wall clock of `zone` unless it brings its own; None for none."""
    if type(cell) is str:
        return _of_text(cell, zone)
    if (type(cell) is int or type(cell) is float) and -_LARGEST < cell < _LARGEST:
        return _of_epoch(cell, zone)
    return None


def iso_text(moment: Moment, seconds: float) -> str:
    """`moment` plus `seconds`, to the second: `2015-06-01T12:28:28+01:00`, with the offset of `moment`.

    Where clocks are changed in between this is still the right moment, said with the offset from before the change.
    """
    wall, utc = moment
    ready = (wall + round(seconds * MICROSECONDS) + MICROSECONDS // 2) // MICROSECONDS
    day, second = divmod(ready, DAY_SECONDS)
    minute, second = divmod(second, 60)
    shift = (wall - utc) // _MINUTE
    return f"{_day_text(day)}T{_CLOCKS[minute]}:{_SIXTY[second]}{_offset_text(shift)}"


def _of_text(cell: str, zone: ZoneInfo) -> Moment | None:
    text = cell.strip(BLANKS)
    found = _TEXT.match(text)
    if found is None:
        return _of_epoch(int(text), zone) if _EPOCH.match(text) else None
    day, clock, seconds, fraction, offset = found.groups()
    wall = _day(day)
    if wall is None:
        return None
    wall += _MINUTES[clock]
    if seconds:
        wall += _SECONDS[seconds]
    if fraction:
        wall += int(fraction) if len(fraction) == 6 else int(fraction[:6].ljust(6, "0"))
    if offset is None:
        utc = wall - _shift_on_wall(wall, zone)
        return (wall, utc) if _EARLIEST <= utc < _LATEST else None
    shift = _offset(offset)
    if shift == 0:
        return _of_instant(wall, zone)
    utc = wall - shift
    return (wall, utc) if _EARLIEST <= utc < _LATEST else None


def _of_epoch(value: float, zone: ZoneInfo) -> Moment | None:
    instant = epoch_microseconds(value)
    return None if instant is None else _of_instant(instant, zone)


def _of_instant(instant: int, zone: ZoneInfo) -> Moment | None:
    if not _EARLIEST <= instant < _LATEST:
        return None
    shift = (_ORIGIN + timedelta(0, 0, instant)).astimezone(zone).utcoffset() or timedelta()
    return instant + shift // _MICROSECOND, instant


def _shift_on_wall(wall: int, zone: ZoneInfo) -> int:
    moment = (_WALL_ORIGIN + timedelta(0, 0, wall)).replace(tzinfo=zone, fold=0)
    return (moment.utcoffset() or timedelta()) // _MICROSECOND


@lru_cache(maxsize=4096)
def _day(text: str) -> int | None:
    """The midnight at which a day begins, microseconds; None for a day that no calendar has."""
    try:
        return (date.fromisoformat(text).toordinal() - _ORIGIN_DAY) * _DAY
    except ValueError:
        return None


@lru_cache(maxsize=4096)
def _day_text(days: int) -> str:
    """A day, counted from 1970-01-01, as ISO text."""
    return date.fromordinal(_ORIGIN_DAY + days).isoformat()


@lru_cache(maxsize=4096)
def _offset(text: str) -> int:
    return offset_seconds(text) * MICROSECONDS


@lru_cache(maxsize=4096)
def _offset_text(minutes: int) -> str:
    hours, rest = divmod(abs(minutes), 60)
    return f"{'-' if minutes < 0 else '+'}{hours:02d}:{rest:02d}"
