"""A reference parser for the tests of the fast parsers: one timestamp at a time, with the standard library."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from preptime.domain.timestamps import (
    EARLIEST_SECONDS,
    EPOCH_PATTERN,
    LATEST_SECONDS,
    MICROSECONDS,
    TIMESTAMP_PATTERN,
    WHITESPACE,
    parse_epoch,
    parse_utc_offset,
)
from preptime.errors import DataError

_LOCAL_EPOCH = datetime(1970, 1, 1)
_UTC_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def timestamp_to_seconds(value: str | float | datetime, zone: ZoneInfo) -> tuple[int, int]:
    """Return local time in `zone` and UTC, both in whole seconds since 1970-01-01 00:00.

    Raises `DataError` for a value that isn't a time between 2000 and 2099.
    """
    local_time, instant = _parse_microseconds(value, zone)
    if not EARLIEST_SECONDS * MICROSECONDS <= instant < LATEST_SECONDS * MICROSECONDS:
        raise _invalid_timestamp_error(value)
    return local_time // MICROSECONDS, instant // MICROSECONDS


def _parse_microseconds(value: str | float | datetime, zone: ZoneInfo) -> tuple[int, int]:
    """Return (local time, UTC) in microseconds."""
    if isinstance(value, str):
        return _parse_text(value, zone)
    if isinstance(value, datetime):
        if value.tzinfo is None:
            return _from_local_time(value, zone)
        return _from_instant((value - _UTC_EPOCH) // timedelta(microseconds=1), zone)
    epoch = None if isinstance(value, bool) else parse_epoch(value)
    if epoch is None:
        raise _invalid_timestamp_error(value)
    return _from_instant(epoch, zone)


def _parse_text(text: str, zone: ZoneInfo) -> tuple[int, int]:
    stripped = text.strip(WHITESPACE)
    match = re.match(TIMESTAMP_PATTERN, stripped)
    if match is None:
        if re.match(EPOCH_PATTERN, stripped) is None:
            raise _invalid_timestamp_error(text)
        return _parse_microseconds(int(stripped) if stripped.isdigit() else float(stripped), zone)
    date, time_of_day, seconds, fraction, offset = match.groups()
    try:
        local_time = datetime.fromisoformat(f"{date}T{time_of_day}:{seconds or '00'}.{(fraction or '')[:6]:0<6}")
    except ValueError as error:
        raise _invalid_timestamp_error(text) from error
    if offset is None:
        return _from_local_time(local_time, zone)
    written = (local_time - _LOCAL_EPOCH) // timedelta(microseconds=1)
    return _from_instant(written - parse_utc_offset(offset) * MICROSECONDS, zone)


def _from_local_time(local_time: datetime, zone: ZoneInfo) -> tuple[int, int]:
    local = (local_time.replace(fold=0) - _LOCAL_EPOCH) // timedelta(microseconds=1)
    return local, local - _utc_offset_microseconds(local_time.replace(tzinfo=zone, fold=0))


def _from_instant(instant: int, zone: ZoneInfo) -> tuple[int, int]:
    if not EARLIEST_SECONDS * MICROSECONDS <= instant < LATEST_SECONDS * MICROSECONDS:
        raise _invalid_timestamp_error(instant)
    return instant + _utc_offset_microseconds((_UTC_EPOCH + timedelta(microseconds=instant)).astimezone(zone)), instant


def _utc_offset_microseconds(moment: datetime) -> int:
    return (moment.utcoffset() or timedelta()) // timedelta(microseconds=1)


def _invalid_timestamp_error(value: object) -> DataError:
    return DataError(f"{str(value)[:60]!r} is not a time between 2000 and 2099.")
