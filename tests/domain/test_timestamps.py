from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

from preptime.errors import DataError
from tests.reference_timestamps import timestamp_to_seconds

LONDON = ZoneInfo("Europe/London")
PARIS = ZoneInfo("Europe/Paris")


def _read(value: str | float | datetime, zone: ZoneInfo = LONDON) -> tuple[str, str]:
    local, utc = (
        datetime.fromtimestamp(one, UTC).strftime("%Y-%m-%d %H:%M:%S") for one in timestamp_to_seconds(value, zone)
    )
    return local, utc


@pytest.mark.parametrize(
    ("written", "local", "utc"),
    [
        ("2015-06-01 12:28:28.952789+01:00", "2015-06-01 12:28:28", "2015-06-01 11:28:28"),
        ("2015-06-01 12:28:28+02:00", "2015-06-01 12:28:28", "2015-06-01 10:28:28"),
        ("2015-06-01 12:28:28", "2015-06-01 12:28:28", "2015-06-01 11:28:28"),
        ("2015-06-01 12:28", "2015-06-01 12:28:00", "2015-06-01 11:28:00"),
        ("2015-06-01T12:28:28Z", "2015-06-01 13:28:28", "2015-06-01 12:28:28"),
        ("2015-06-01T12:28:28+00:00", "2015-06-01 13:28:28", "2015-06-01 12:28:28"),
        ("2015-06-01 12:28:28 UTC", "2015-06-01 13:28:28", "2015-06-01 12:28:28"),
        ("2015-06-01 12:28:28-0530", "2015-06-01 12:28:28", "2015-06-01 17:58:28"),
        ("2015-06-01 12:28:28+05", "2015-06-01 12:28:28", "2015-06-01 07:28:28"),
        ("2015-01-15 12:28:28+00:00", "2015-01-15 12:28:28", "2015-01-15 12:28:28"),
        (" 1433161708\n", "2015-06-01 13:28:28", "2015-06-01 12:28:28"),
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
def test_each_way_of_writing_a_time_has_one_meaning(written: str | float | datetime, local: str, utc: str) -> None:
    assert _read(written) == (local, utc)


def test_the_first_of_two_half_past_ones_is_meant() -> None:
    assert _read("2015-10-25 01:30") == ("2015-10-25 01:30:00", "2015-10-25 00:30:00")
    assert _read("2015-10-25T00:30Z") == _read("2015-10-25 01:30")
    assert _read("2015-10-25T01:30Z") == ("2015-10-25 01:30:00", "2015-10-25 01:30:00")


def test_a_skipped_half_past_two_stays_as_written() -> None:
    assert _read("2015-03-29 02:30", PARIS) == ("2015-03-29 02:30:00", "2015-03-29 01:30:00")


@pytest.mark.parametrize(
    "written",
    [
        "", "yesterday", "2015-06-31 12:00", "2015-06-01", "01/06/2015 12:00", "2015-06-01 24:00", "2015-06-01 12:60",
        "2015-06-01 12:00:60", "1999-12-31 12:00", "2100-01-02 00:00", "2015-06-01 12:00+15:00", "12345", 12345, -1,
        True, float("nan"), float("inf"), "2015-06-01 12:00:00.+01:00", "２015-06-01 12:00",
    ],
)  # fmt: skip
def test_what_is_no_time_is_refused_with_what_was_found(written: str | float) -> None:
    with pytest.raises(DataError, match="is not a time"):
        timestamp_to_seconds(written, LONDON)
