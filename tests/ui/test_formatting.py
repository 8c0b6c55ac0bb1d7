"""How the pages speak."""

from __future__ import annotations

import datetime as dt

import pytest

from preptime.domain.orders import FALLBACK_LEVELS
from preptime.ui import formatting


@pytest.mark.parametrize(
    ("seconds", "said"),
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
def test_durations_are_said_as_people_say_them(seconds: float | None, said: str) -> None:
    assert formatting.format_duration(seconds) == said


def test_moments_sizes_and_numbers_are_said_as_people_say_them() -> None:
    assert formatting.format_interval(130, 785) == "2 to 13 min"
    assert formatting.format_count(1, "order") == "1 order"
    assert formatting.format_count(1204, "order") == "1,204 orders"
    assert (formatting.format_size(0), formatting.format_size(1), formatting.format_size(312)) == (
        "0 bytes",
        "1 byte",
        "312 bytes",
    )
    assert (formatting.format_size(830_000), formatting.format_size(12_340_000)) == ("830 kB", "12.3 MB")


@pytest.mark.parametrize(
    ("moment", "nearest", "by"),
    [
        ("2015-07-01 19:07:00+01:00", "19:07", "19:07"),
        ("2015-07-01 19:07:17+01:00", "19:07", "19:08"),
        ("2015-07-01 19:07:17.500000", "19:07", "19:08"),
        ("2015-07-01 19:07:30", "19:08", "19:08"),
        ("2015-07-01 23:59:57", "00:00", "00:00"),
    ],
)
def test_a_clock_says_the_nearest_minute_and_a_promise_the_first_that_holds(moment: str, nearest: str, by: str) -> None:
    at = dt.datetime.fromisoformat(moment)
    assert (formatting.format_clock_time(at), formatting.format_clock_time_rounded_up(at)) == (nearest, by)


def test_every_basis_has_words() -> None:
    assert set(formatting.FALLBACK_LEVEL_DESCRIPTIONS) == set(FALLBACK_LEVELS)
