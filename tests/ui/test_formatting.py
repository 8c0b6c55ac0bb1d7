"""Tests of the dashboard's text formats."""

from __future__ import annotations

import datetime as dt

import pytest

from preptime.domain.time_units import MINUTES
from preptime.formatting import format_count, format_signed, with_minus_signs
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
        (-0.4, "0 s"),
        (-90, "−1 min 30 s"),
        (-3900, "−1 h 05 min"),
    ],
)
def test_format_duration_uses_natural_units(seconds: float | None, expected: str) -> None:
    assert formatting.format_duration(seconds) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("-12.5 s", "−12.5 s"),
        ("changed by -3% (-0.4 to -.1)", "changed by −3% (−0.4 to −.1)"),
        ("2015-06-14 to 2015-06-16, p10-p90, A-10017, pre-2015, - 5", None),
        ("the cell '-1' of --gate max_days=-1", None),
    ],
)
def test_minus_signs_replace_hyphens_of_numbers_only(text: str, expected: str | None) -> None:
    assert with_minus_signs(text) == (expected or text)


def test_format_signed_has_a_sign_unless_zero() -> None:
    values = [0.254, -0.254, 0.004, -0.004, -12.0]
    assert [format_signed(value, 2) for value in values] == ["+0.25", "−0.25", "0.00", "0.00", "−12.00"]


def test_document_text_has_units_and_minus_signs() -> None:
    text = "The MAE is lower (-12.0 s, standard error 3.0 s)."
    assert formatting.document_text(text, MINUTES) == "The MAE is lower (−0.20 min, standard error 0.05 min)."


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
