"""Timestamps parsed one by one equal those of the reference and of the column parser."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
from hypothesis import example, given, settings
from hypothesis import strategies as st

from preptime.api.parsing import format_ready_at, timestamp_parser
from preptime.domain.timestamps import ISO_TIMESTAMPS
from preptime.errors import DataError
from preptime.scoring.scorer import TimestampFormatter
from preptime.validation.parsing import parse_timestamps
from tests.reference_timestamps import timestamp_to_seconds

ZONES = ("Europe/London", "Europe/Paris", "Asia/Kolkata", "America/St_Johns", "Australia/Lord_Howe", "UTC")
parse_timestamp = timestamp_parser(ISO_TIMESTAMPS)

days = st.one_of(
    st.dates().map(str),
    st.sampled_from(["2000-01-01", "2099-12-31", "2016-02-29", "2015-02-29", "2015-03-29", "2015-10-25", "0001-01-01"]),
)
clocks = st.one_of(
    st.times().map(lambda time: time.isoformat()),
    st.times().map(lambda time: time.strftime("%H:%M")),
    st.sampled_from(["24:00:00", "01:30:00", "02:30:00", "12:00:60", "12:00:00,5", "12:00:00.123456789"]),
)
offsets = st.one_of(
    st.sampled_from(["", "Z", "z", "UTC", " UTC", "+00:00", "-00:00", "+01:00", "-0330", "+05", "+14:00", "+15:00"]),
    st.integers(-14, 14).map(lambda hours: f"{hours:+03d}:30"),
)
texts = st.builds(
    lambda day, gap, clock, offset: f"{day}{gap}{clock}{offset}", days, st.sampled_from("T t"), clocks, offsets
)
epochs = st.one_of(
    st.integers(946_684_799, 4_102_444_801),
    st.integers(946_684_799_000, 4_102_444_801_000),
    st.integers(946_684_799_000_000, 4_102_444_801_000_000),
    st.integers(946_684_799 * 10**9, 4_102_444_801 * 10**9),
    st.floats(9e8, 5e9),
    st.integers(),
    st.floats(-1e15, 1e20),
)


@given(
    cell=st.one_of(texts, epochs, epochs.filter(lambda value: isinstance(value, int)).map(str), st.text()),
    name=st.sampled_from(ZONES),
)
@example(cell="2015-10-25 01:30:00", name="Europe/London")
@example(cell="2015-03-29 01:30:00", name="Europe/London")
@example(cell=" 2015-06-01T12:00:00Z\n", name="Europe/Paris")
def test_parse_timestamp_matches_the_reference(cell: str | float, name: str) -> None:
    zone = ZoneInfo(name)
    try:
        expected = timestamp_to_seconds(cell, zone)
    except DataError:
        assert parse_timestamp(cell, zone) is None
        return
    parsed = parse_timestamp(cell, zone)
    assert parsed is not None
    assert (parsed[0] // 1_000_000, parsed[1] // 1_000_000) == expected


@settings(deadline=None)
@given(cells=st.lists(texts, min_size=1, max_size=20), name=st.sampled_from(ZONES))
def test_parse_timestamp_matches_the_column_parser(cells: list[str], name: str) -> None:
    column = parse_timestamps(pl.Series(cells), np.zeros(len(cells), np.int32), (name,))
    for row, cell in enumerate(cells):
        parsed = parse_timestamp(cell, ZoneInfo(name))
        assert (parsed is None) == bool(column.invalid[row] | column.missing[row]), cell
        if parsed is not None:
            assert parsed == (column.local[row], column.utc[row]), cell


@given(cell=texts, name=st.sampled_from(ZONES), seconds=st.floats(0, 100_000, width=32))
def test_format_ready_at_equals_the_scored_file(cell: str, name: str, seconds: float) -> None:
    timestamp = parse_timestamp(cell, ZoneInfo(name))
    if timestamp is None:
        return
    local, utc = (np.array([microseconds]) for microseconds in timestamp)
    written = TimestampFormatter().format_ready_at(np.array([seconds], np.float32), local, utc)[0]
    assert format_ready_at(timestamp, seconds) == written.replace(" ", "T")


def test_parse_timestamp_invalid_value_returns_none() -> None:
    cells: list[object] = [None, True, [], {}, 1e308, float("inf"), float("nan"), 10**400, -(10**400), "", "2015-06-01"]
    for cell in cells:
        assert parse_timestamp(cell, ZoneInfo("UTC")) is None, cell
