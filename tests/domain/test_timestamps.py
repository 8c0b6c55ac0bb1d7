from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest

from preptime.domain.timestamps import MICROSECONDS, TimestampFormat, check_pattern
from preptime.errors import DataError
from preptime.validation.parsing import parse_timestamps
from tests.reference_timestamps import timestamp_to_seconds

LONDON = ZoneInfo("Europe/London")
PARIS = ZoneInfo("Europe/Paris")


def _parse(value: str | float | datetime, zone: ZoneInfo = LONDON) -> tuple[str, str]:
    """Return (local time, UTC). The parser of columns and the reference parser must agree."""
    column = parse_timestamps(_as_column(value), np.zeros(1, np.int32), [zone.key])
    seconds = tuple(int(times[0]) // MICROSECONDS for times in (column.local, column.utc))
    assert seconds == timestamp_to_seconds(value, zone)
    local, utc = (datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%d %H:%M:%S") for second in seconds)
    return local, utc


def _as_column(value: str | float | datetime) -> pl.Series:
    if isinstance(value, datetime) and value.tzinfo is not None:
        value = value.astimezone(UTC)
    return pl.Series([value])


@pytest.mark.parametrize(
    ("written", "local", "utc"),
    [
        ("2015-06-01 12:28:28.952789+01:00", "2015-06-01 12:28:28", "2015-06-01 11:28:28"),
        ("2015-06-01 12:28:28+02:00", "2015-06-01 11:28:28", "2015-06-01 10:28:28"),
        ("2015-06-01 12:28:28", "2015-06-01 12:28:28", "2015-06-01 11:28:28"),
        ("2015-06-01 12:28", "2015-06-01 12:28:00", "2015-06-01 11:28:00"),
        ("2015-06-01T12:28:28Z", "2015-06-01 13:28:28", "2015-06-01 12:28:28"),
        ("2015-06-01T12:28:28+00:00", "2015-06-01 13:28:28", "2015-06-01 12:28:28"),
        ("2015-06-01 12:28:28 UTC", "2015-06-01 13:28:28", "2015-06-01 12:28:28"),
        ("2015-06-01 12:28:28-0530", "2015-06-01 18:58:28", "2015-06-01 17:58:28"),
        ("2015-06-01 12:28:28+05", "2015-06-01 08:28:28", "2015-06-01 07:28:28"),
        ("2015-01-15 12:28:28+00:00", "2015-01-15 12:28:28", "2015-01-15 12:28:28"),
        (" 1433161708\n", "2015-06-01 13:28:28", "2015-06-01 12:28:28"),
        ("1433161708.0", "2015-06-01 13:28:28", "2015-06-01 12:28:28"),
        ("1.433161708e9", "2015-06-01 13:28:28", "2015-06-01 12:28:28"),
        (1433161708, "2015-06-01 13:28:28", "2015-06-01 12:28:28"),
        (1433161708.75, "2015-06-01 13:28:28", "2015-06-01 12:28:28"),
        (1433161708952, "2015-06-01 13:28:28", "2015-06-01 12:28:28"),
        (1433161708952789, "2015-06-01 13:28:28", "2015-06-01 12:28:28"),
        (1433161708952789123, "2015-06-01 13:28:28", "2015-06-01 12:28:28"),
        (datetime(2015, 6, 1, 12, 28, 28), "2015-06-01 12:28:28", "2015-06-01 11:28:28"),
        (datetime(2015, 6, 1, 12, 28, 28, tzinfo=UTC), "2015-06-01 13:28:28", "2015-06-01 12:28:28"),
        (
            datetime(2015, 6, 1, 12, 28, 28, tzinfo=timezone(timedelta(hours=9))),
            "2015-06-01 04:28:28",
            "2015-06-01 03:28:28",
        ),
    ],
)
def test_parse_timestamps_every_format_has_one_meaning(written: str | float | datetime, local: str, utc: str) -> None:
    assert _parse(written) == (local, utc)


def test_parse_timestamps_repeated_hour_means_the_first() -> None:
    assert _parse("2015-10-25 01:30") == ("2015-10-25 01:30:00", "2015-10-25 00:30:00")
    assert _parse("2015-10-25T00:30Z") == _parse("2015-10-25 01:30")
    assert _parse("2015-10-25T01:30Z") == ("2015-10-25 01:30:00", "2015-10-25 01:30:00")


def test_parse_timestamps_skipped_hour_stays_as_written() -> None:
    assert _parse("2015-03-29 02:30", PARIS) == ("2015-03-29 02:30:00", "2015-03-29 01:30:00")


@pytest.mark.parametrize(
    "written",
    [
        "", "yesterday", "2015-06-31 12:00", "2015-06-01", "01/06/2015 12:00", "2015-06-01 24:00", "2015-06-01 12:60",
        "2015-06-01 12:00:60", "1999-12-31 12:00", "2100-01-02 00:00", "2015-06-01 12:00+15:00", "12345", 12345, -1,
        True, float("nan"), float("inf"), "2015-06-01 12:00:00.+01:00", "２015-06-01 12:00",
    ],
)  # fmt: skip
def test_parse_timestamps_invalid_time_is_rejected(written: str | float) -> None:
    column = parse_timestamps(_as_column(written), np.zeros(1, np.int32), [LONDON.key])
    assert (column.invalid | column.missing).all()
    with pytest.raises(DataError, match="is not a time"):
        timestamp_to_seconds(written, LONDON)


@pytest.mark.parametrize(
    ("timestamp_format", "written", "local", "utc"),
    [
        (TimestampFormat("%d/%m/%Y %H:%M"), "02/06/2015 12:28", "2015-06-02 12:28:00", "2015-06-02 11:28:00"),
        (TimestampFormat("%m/%d/%Y %I:%M %p"), "6/2/2015 12:28 am", "2015-06-02 00:28:00", "2015-06-01 23:28:00"),
        (
            TimestampFormat("%m/%d/%Y %I:%M %p"),
            "6/2/2015 2:28\u202fp.m.",
            "2015-06-02 14:28:00",
            "2015-06-02 13:28:00",
        ),
        (TimestampFormat("%d %b %Y %H:%M"), "2 SEPTEMBER 2015 12:28", "2015-09-02 12:28:00", "2015-09-02 11:28:00"),
        (TimestampFormat("%d.%m.%y %H:%M:%S.%f"), "02.06.15 12:28:09", "2015-06-02 12:28:09", "2015-06-02 11:28:09"),
        (TimestampFormat("%Y-%m-%d %H:%M %z"), "2015-06-02 12:28 +0530", "2015-06-02 07:58:00", "2015-06-02 06:58:00"),
        (TimestampFormat("%d/%m/%Y %H:%M", "UTC"), "02/06/2015 12:28", "2015-06-02 13:28:00", "2015-06-02 12:28:00"),
        (TimestampFormat("", "UTC"), "2015-06-02 12:28", "2015-06-02 13:28:00", "2015-06-02 12:28:00"),
        (TimestampFormat("", "UTC"), "2015-06-02 12:28+05:00", "2015-06-02 08:28:00", "2015-06-02 07:28:00"),
        (TimestampFormat("", "UTC"), datetime(2015, 6, 2, 12, 28), "2015-06-02 13:28:00", "2015-06-02 12:28:00"),
        (TimestampFormat("", "Europe/Paris"), "2015-03-29 02:30", "2015-03-29 02:30:00", "2015-03-29 01:30:00"),
    ],
)
def test_timestamp_format_decides_the_meaning(
    timestamp_format: TimestampFormat, written: str | datetime, local: str, utc: str
) -> None:
    column = parse_timestamps(pl.Series([written]), np.zeros(1, np.int32), [LONDON.key], timestamp_format)
    times = (datetime.fromtimestamp(int(values[0]) // MICROSECONDS, UTC) for values in (column.local, column.utc))
    assert [str(time.replace(tzinfo=None)) for time in times] == [local, utc]


@pytest.mark.parametrize("timestamp_format", [TimestampFormat("", "UTC"), TimestampFormat("%d/%m/%Y %H:%M")])
def test_date_without_clock_time_is_invalid(timestamp_format: TimestampFormat) -> None:
    cells = pl.Series([date(2015, 6, 2), None])
    column = parse_timestamps(cells, np.zeros(2, np.int32), [LONDON.key], timestamp_format)
    assert column.invalid.tolist() == [True, False]
    assert column.missing.tolist() == [False, True]


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        ("%d/%m/%Y %I:%M %p", None),
        ("%F %T.%f%z", None),
        ("%Y-%m-%dT%H:%M:%S%z UTC", None),
        ("%-d/%-m/%y %-H:%M", None),
        ("%d/%m/%Y", "no hour"),
        ("%H:%M:%S", "no year"),
        ("%d/%m %H:%M", "no year"),
        ("%Y-%m %H:%M", "no day"),
        ("%d/%d/%m/%Y %H", "two directives for the day"),
        ("%d/%m/%b/%Y %H", "two directives for the month"),
        ("%d/%m/%Y %I:%M", "%I without %p"),
        ("%d/%m/%Y %H:%M %p", "%p without %I"),
        ("%s", "%s, which isn't supported"),
        ("%Y-%m-%dT%H:%M:%S%", "isn't supported"),
        ("%Y-%m-%dT%H:%M:%SZ", "write %z instead"),
        ("%a, %d %b %Y %H:%M:%S GMT", "write %z instead"),
    ],
)
def test_check_pattern_states_the_problem(pattern: str, problem: str | None) -> None:
    checked = check_pattern(pattern)
    assert checked is None if problem is None else problem in (checked or "")
