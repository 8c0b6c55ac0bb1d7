from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
from hypothesis import example, given, settings
from hypothesis import strategies as st

from preptime.domain.timestamps import MICROSECONDS
from preptime.errors import DataError
from preptime.validation.parsing import ParsedTimestamps, parse_timestamps
from tests.reference_timestamps import timestamp_to_seconds

ZONES = (
    "Africa/Casablanca",
    "America/New_York",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Europe/Dublin",
    "Europe/London",
    "Europe/Paris",
    "Pacific/Apia",
    "UTC",
)

_local_times = st.one_of(
    st.datetimes(datetime(2000, 1, 2), datetime(2037, 12, 31)),
    # Around the changes of clocks, when 01:30 occurs twice or 02:30 is skipped.
    *(
        st.datetimes(day, day + timedelta(days=1))
        for day in (datetime(2015, 3, 29), datetime(2015, 10, 25), datetime(2024, 3, 10), datetime(2011, 12, 30))
    ),
)
_offsets = st.sampled_from(["", "Z", " UTC", "+00:00", "-00:00", "+01:00", "-0530", "+13", "+14:00", "+15:00"])
_fractions = st.sampled_from(["", ".5", ",25", ".952789", ".123456789", ":00"])


@st.composite
def _texts(draw: st.DrawFn) -> str:
    local = draw(_local_times)
    separator = draw(st.sampled_from("T "))
    clock = draw(st.sampled_from(["%H:%M:%S", "%H:%M"]))
    return f"{local:%Y-%m-%d}{separator}{local:{clock}}{draw(_fractions)}{draw(_offsets)}"


_epochs = st.integers(0, 2**63 - 1) | st.builds(
    lambda second, scale: second * scale,
    st.integers(946_684_799, 4_102_444_801),
    st.sampled_from([1, 1000, 10**6, 10**9]),
)
_cells = st.one_of(
    _texts(), st.text(max_size=8), _epochs.map(str), st.sampled_from(["1999-12-31 23:59:59Z", "2099-12-31 23:59:59Z"])
)


def _reference(cell: str | float | datetime, zone: str) -> tuple[int, int] | None:
    try:
        return timestamp_to_seconds(cell, ZoneInfo(zone))
    except DataError:
        return None


def _to_pairs(times: ParsedTimestamps) -> list[tuple[int, int] | None]:
    is_unusable = times.missing | times.invalid
    return [
        None if unusable else (int(local) // MICROSECONDS, int(utc) // MICROSECONDS)
        for local, utc, unusable in zip(times.local, times.utc, is_unusable, strict=True)
    ]


def _zone_codes(names: list[str]) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    return np.array([ZONES.index(name) for name in names], np.int32)


_rows = st.lists(st.tuples(_cells, st.sampled_from(ZONES)), min_size=1, max_size=12)


@settings(deadline=None)
@given(_rows)
@example([("2015-10-25 01:30", "Europe/London"), ("2015-03-29 02:30", "Europe/Paris"), ("1", "UTC")])
@example([("2011-12-30 12:00", "Pacific/Apia"), ("2011-12-31T11:00Z", "Pacific/Apia")])
def test_parse_timestamps_text_equals_reference(rows: list[tuple[str, str]]) -> None:
    cells, names = zip(*rows, strict=True)
    times = parse_timestamps(pl.Series(list(cells), dtype=pl.String), _zone_codes(list(names)), ZONES)
    assert _to_pairs(times) == [_reference(cell, name) for cell, name in rows]


@settings(deadline=None)
@given(st.lists(st.tuples(_epochs, st.sampled_from(ZONES)), min_size=1, max_size=12))
def test_parse_timestamps_epochs_equal_reference(rows: list[tuple[int, str]]) -> None:
    cells, names = zip(*rows, strict=True)
    times = parse_timestamps(pl.Series(list(cells), dtype=pl.Int64), _zone_codes(list(names)), ZONES)
    assert _to_pairs(times) == [_reference(cell, name) for cell, name in rows]


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0, 5e18) | st.just(float("nan")), st.sampled_from(ZONES)), min_size=1, max_size=9))
def test_parse_timestamps_float_epochs_equal_reference(rows: list[tuple[float, str]]) -> None:
    cells, names = zip(*rows, strict=True)
    times = parse_timestamps(pl.Series(list(cells), dtype=pl.Float64), _zone_codes(list(names)), ZONES)
    assert _to_pairs(times) == [_reference(cell, name) for cell, name in rows]


@settings(deadline=None)
@given(rows=st.lists(st.tuples(_local_times, st.sampled_from(ZONES)), min_size=1, max_size=12), aware=st.booleans())
def test_parse_timestamps_datetimes_equal_reference(rows: list[tuple[datetime, str]], *, aware: bool) -> None:
    cells = [cell.replace(tzinfo=UTC) if aware else cell for cell, _ in rows]
    kind = pl.Datetime("us", "UTC" if aware else None)
    times = parse_timestamps(pl.Series(cells, dtype=kind), _zone_codes([name for _, name in rows]), ZONES)
    assert _to_pairs(times) == [_reference(cell, name) for cell, (_, name) in zip(cells, rows, strict=True)]


def test_parse_timestamps_aware_datetimes_are_instants() -> None:
    instants = pl.Series([datetime(2015, 6, 1, 12)]).dt.replace_time_zone("UTC").dt.convert_time_zone("Asia/Tokyo")
    times = parse_timestamps(instants, _zone_codes(["Europe/London"]), ZONES)
    assert _to_pairs(times) == [timestamp_to_seconds("2015-06-01T12:00Z", ZoneInfo("Europe/London"))]


def test_parse_timestamps_dates_nanoseconds_categories() -> None:
    zone_codes = _zone_codes(["Europe/London"])
    expected = [timestamp_to_seconds("2015-06-01 00:00", ZoneInfo("Europe/London"))]
    midnight = datetime(2015, 6, 1)
    assert _to_pairs(parse_timestamps(pl.Series([midnight.date()]), zone_codes, ZONES)) == [None]
    assert _to_pairs(parse_timestamps(pl.Series([midnight], dtype=pl.Datetime("ns")), zone_codes, ZONES)) == expected
    assert (
        _to_pairs(parse_timestamps(pl.Series(["2015-06-01 00:00"], dtype=pl.Categorical), zone_codes, ZONES))
        == expected
    )


def test_parse_timestamps_missing_and_invalid_cells() -> None:
    cells = pl.Series([None, "", " NaT ", "null", "soon", "2015-06-31 12:00"])
    times = parse_timestamps(cells, _zone_codes(["UTC"] * 6), ZONES)
    assert times.missing.tolist() == [True, True, True, True, False, False]
    assert times.invalid.tolist() == [False, False, False, False, True, True]
    booleans = parse_timestamps(pl.Series([True, None]), _zone_codes(["UTC"] * 2), ZONES)
    assert (booleans.missing.tolist(), booleans.invalid.tolist()) == ([False, True], [True, False])
