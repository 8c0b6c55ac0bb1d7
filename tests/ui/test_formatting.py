"""Tests of the dashboard's text formats."""

from __future__ import annotations

import datetime as dt

import pytest

from preptime.formatting import format_count
from preptime.ui import formatting


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (None, "–"),
        (0, "0 s"),
        (59.6, "1 min 00 s"),
        (437, "7 min 17 s"),
        (600, "10 min"),
        (3569, "59 min"),
        (3900, "1 h 05 min"),
    ],
)
def test_format_duration_uses_natural_units(seconds: float | None, expected: str) -> None:
    assert formatting.format_duration(seconds) == expected


def test_format_interval_count_and_size_are_readable() -> None:
    assert formatting.format_interval(130, 785) == "2 to 13 min"
    assert format_count(1, "order") == "1 order"
    assert format_count(1204, "order") == "1,204 orders"
    assert (formatting.format_size(0), formatting.format_size(1), formatting.format_size(312)) == (
        "0 bytes",
        "1 byte",
        "312 bytes",
    )
    assert (formatting.format_size(830_000), formatting.format_size(12_340_000)) == ("830 kB", "12.3 MB")


@pytest.mark.parametrize(
    ("timestamp", "nearest", "rounded_up"),
    [
        ("2015-07-01 19:07:00+01:00", "19:07", "19:07"),
        ("2015-07-01 19:07:17+01:00", "19:07", "19:08"),
        ("2015-07-01 19:07:17.500000", "19:07", "19:08"),
        ("2015-07-01 19:07:30", "19:08", "19:08"),
        ("2015-07-01 23:59:57", "00:00", "00:00"),
    ],
)
def test_format_clock_time_rounds_to_nearest_or_up(timestamp: str, nearest: str, rounded_up: str) -> None:
    parsed = dt.datetime.fromisoformat(timestamp)
    assert (formatting.format_clock_time(parsed), formatting.format_clock_time_rounded_up(parsed)) == (
        nearest,
        rounded_up,
    )
