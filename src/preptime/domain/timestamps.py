"""Timestamps: one grammar, one meaning, for a single order and (in `preptime.validation.parsing`) for columns.

Rules (D5): a time with an offset other than UTC is the wall clock it was written on, as it stands; `Z`, `UTC`,
`+00:00`, an epoch and an aware `datetime` (what a database gives) are instants and are shown on the restaurant's wall
clock; a time without offset is the restaurant's wall clock. A London file therefore reads the same in winter, when
`+00:00` is both, while a June `12:00+00:00` in London becomes 13:00. Epochs are seconds, milliseconds, microseconds or
nanoseconds by magnitude, which is unambiguous between 2000 and 2099. Where a wall clock shows 01:30 twice the first
is meant; a wall-clock time that was skipped (02:30 in spring) stays as written and counts as if the clock had not
been moved yet.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from preptime.errors import DataError

EARLIEST_SECONDS = 946_684_800
"""2000-01-01 00:00 UTC: an earlier time is not an order's."""
LATEST_SECONDS = 4_102_444_800
"""2100-01-01 00:00 UTC, exclusive."""

MICROSECONDS = 1_000_000
EPOCH_SCALES = (MICROSECONDS, 1_000, 1)
"""Microseconds in an epoch's unit: seconds, milliseconds, microseconds. Nanoseconds come fourth, by division."""

# Character classes are spelt out because \\d and \\s mean more characters in Rust's regular expressions than here.
TIMESTAMP_PATTERN = (
    r"^([0-9]{4}-[0-9]{2}-[0-9]{2})[T ]((?:[01][0-9]|2[0-3]):[0-5][0-9])(?::([0-5][0-9])(?:[.,]([0-9]{1,9}))?)?"
    r" ?(Z|z|UTC|[+-](?:0[0-9]|1[0-4])(?::?[0-5][0-9])?)?$"
)
"""Groups: date, hours and minutes, seconds, fraction, offset."""
EPOCH_PATTERN = r"^[0-9]{9,19}$"
WHITESPACE = " \t\r\n"
"""What is stripped around a cell."""

_TIMESTAMP_REGEX = re.compile(TIMESTAMP_PATTERN)
_EPOCH_REGEX = re.compile(EPOCH_PATTERN)
_LOCAL_EPOCH = datetime(1970, 1, 1)
_UTC_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def timestamp_to_seconds(value: str | float | datetime, zone: ZoneInfo) -> tuple[int, int]:
    """The moment `value` on a wall clock in `zone` and in UTC, both in whole seconds since 1970-01-01 00:00.

    Raises `DataError` for what is no time between 2000 and 2099.
    """
    wall, instant = _parse_microseconds(value, zone)
    if not EARLIEST_SECONDS * MICROSECONDS <= instant < LATEST_SECONDS * MICROSECONDS:
        raise _invalid_timestamp_error(value)
    return wall // MICROSECONDS, instant // MICROSECONDS


def parse_utc_offset(text: str) -> int:
    """The offset in the grammar's last group, in seconds; 0 for `Z` and `UTC`."""
    if text in {"Z", "z", "UTC"}:
        return 0
    digits = text[1:].replace(":", "").ljust(4, "0")
    seconds = int(digits[:2]) * 3600 + int(digits[2:]) * 60
    return -seconds if text[0] == "-" else seconds


def parse_epoch(value: float) -> int | None:
    """An epoch of any declared magnitude in microseconds, or None when it is none."""
    if not math.isfinite(value):
        return None
    for scale in EPOCH_SCALES:
        microseconds = math.floor(value * scale)
        if EARLIEST_SECONDS * MICROSECONDS <= microseconds < LATEST_SECONDS * MICROSECONDS:
            return microseconds
    microseconds = math.floor(value // 1_000)
    return microseconds if EARLIEST_SECONDS * MICROSECONDS <= microseconds < LATEST_SECONDS * MICROSECONDS else None


def _parse_microseconds(value: str | float | datetime, zone: ZoneInfo) -> tuple[int, int]:
    """(wall clock, instant), microseconds."""
    if isinstance(value, str):
        return _parse_text(value, zone)
    if isinstance(value, datetime):
        if value.tzinfo is None:
            return _from_wall_clock(value, zone)
        return _from_instant((value - _UTC_EPOCH) // timedelta(microseconds=1), zone)
    epoch = None if isinstance(value, bool) else parse_epoch(value)
    if epoch is None:
        raise _invalid_timestamp_error(value)
    return _from_instant(epoch, zone)


def _parse_text(text: str, zone: ZoneInfo) -> tuple[int, int]:
    stripped = text.strip(WHITESPACE)
    match = _TIMESTAMP_REGEX.match(stripped)
    if match is None:
        if _EPOCH_REGEX.match(stripped) is None:
            raise _invalid_timestamp_error(text)
        return _parse_microseconds(int(stripped), zone)
    date, time_of_day, seconds, fraction, offset = match.groups()
    try:
        wall = datetime.fromisoformat(f"{date}T{time_of_day}:{seconds or '00'}.{(fraction or '')[:6]:0<6}")
    except ValueError as error:
        raise _invalid_timestamp_error(text) from error
    if offset is None:
        return _from_wall_clock(wall, zone)
    local = (wall - _LOCAL_EPOCH) // timedelta(microseconds=1)
    utc_offset = parse_utc_offset(offset)
    return _from_instant(local, zone) if utc_offset == 0 else (local, local - utc_offset * MICROSECONDS)


def _from_wall_clock(wall: datetime, zone: ZoneInfo) -> tuple[int, int]:
    local = (wall.replace(fold=0) - _LOCAL_EPOCH) // timedelta(microseconds=1)
    return local, local - _utc_offset_microseconds(wall.replace(tzinfo=zone, fold=0))


def _from_instant(instant: int, zone: ZoneInfo) -> tuple[int, int]:
    if not EARLIEST_SECONDS * MICROSECONDS <= instant < LATEST_SECONDS * MICROSECONDS:
        raise _invalid_timestamp_error(instant)
    return instant + _utc_offset_microseconds((_UTC_EPOCH + timedelta(microseconds=instant)).astimezone(zone)), instant


def _utc_offset_microseconds(moment: datetime) -> int:
    """The offset from UTC at an aware moment, microseconds."""
    return (moment.utcoffset() or timedelta()) // timedelta(microseconds=1)


def _invalid_timestamp_error(value: object) -> DataError:
    return DataError(
        f"{str(value)[:60]!r} is not a time between 2000 and 2099.",
        "Write it as 2015-06-01 12:28:28+01:00, as local time without offset, or as an epoch.",
    )
