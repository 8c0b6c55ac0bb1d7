"""Tests of the units in which people see times."""

from __future__ import annotations

import pytest

from preptime.domain.time_units import MINUTES, TIME_UNITS, convert_minutes, convert_times


@pytest.mark.parametrize(
    ("unit", "number", "text", "tick"),
    [("s", "433", "433 s", "120"), ("min", "7.2", "7.2 min", "2"), ("h", "0.120", "0.120 h", "0.03333")],
)
def test_time_unit_formats_seconds(unit: str, number: str, text: str, tick: str) -> None:
    time_unit = TIME_UNITS[unit]
    assert (time_unit.number(432.6), time_unit.text(432.6), time_unit.tick(2)) == (number, text, tick)
    assert not time_unit.number(-0.001).startswith("-")


@pytest.mark.parametrize(
    ("text", "in_seconds", "in_minutes", "in_hours"),
    [
        ("387.8 s or less", "387.8 s or less", "6.46 min or less", "0.1077 h or less"),
        ("412 to 455 s.", "412 to 455 s.", "6.87 to 7.58 min.", "0.1144 to 0.1264 h."),
        ("Over 10,800 s", "Over 10,800 s", "Over 180 min", "Over 3 h"),
        ("7.2 minutes (backtest: 7.1).", "432 seconds (backtest: 426).", "=", "0.120 hours (backtest: 0.118)."),
        ("MAE 7.20 min", "MAE 432.0 s", "=", "MAE 0.1200 h"),
        ("within five minutes", "within 300 seconds", "=", "within 0.083 hours"),
        ("5 orders since 2015-06-20", "=", "=", "="),
    ],
)  # fmt: skip
def test_convert_times_in_sentences(text: str, in_seconds: str, in_minutes: str, in_hours: str) -> None:
    for unit, expected in (("s", in_seconds), ("min", in_minutes), ("h", in_hours)):
        assert convert_times(text, TIME_UNITS[unit]) == (text if expected == "=" else expected), unit
    assert convert_minutes(text, MINUTES) == text
