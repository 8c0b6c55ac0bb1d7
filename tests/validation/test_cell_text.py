"""Cells of every type and value become text, without an error or a panic."""

from __future__ import annotations

import datetime as dt

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.datatypes import DataTypeClass

from preptime.domain.timestamps import EARLIEST_SECONDS, LATEST_SECONDS
from preptime.validation.cell_text import cells_as_text, fits_csv, to_csv_cells
from preptime.validation.parsing import ParsedTimestamps, parse_timestamps

UNITS_PER_SECOND = {"ms": 10**3, "us": 10**6, "ns": 10**9}
ZONES = (None, "UTC", "Europe/London", "Etc/GMT-14", "Pacific/Kiritimati", "America/St_Johns")
INT64 = st.integers(-(2**63), 2**63 - 1)
INT32 = st.integers(-(2**31), 2**31 - 1)

ODD_CELLS = {
    "bytes": pl.Series([b"\xff\x00", None]),
    "list": pl.Series([[1, 2], None]),
    "struct": pl.Series([{"a": 1}, {"a": None}]),
    "list of impossible times": pl.Series([[2**63 - 1]]).cast(pl.List(pl.Datetime("us"))),
    "duration": pl.Series([5, None]).cast(pl.Duration("us")),
    "null": pl.Series([None, None]),
    "time": pl.Series([dt.time(1, 2), None]),
    "decimal": pl.Series(["1.50", None]).cast(pl.Decimal(10, 2)),
    "category": pl.Series(["a", None], dtype=pl.Categorical),
    "boolean": pl.Series([True, None]),
    "unsigned": pl.Series([2**64 - 1, None], dtype=pl.UInt64),
}


def _parse(cells: pl.Series) -> ParsedTimestamps:
    return parse_timestamps(cells, np.zeros(len(cells), np.int32), ("UTC",))


@settings(deadline=None)
@given(INT64, st.sampled_from(list(UNITS_PER_SECOND)), st.sampled_from(ZONES))
def test_every_instant_is_valid_exactly_within_its_range(number: int, unit: str, zone: str | None) -> None:
    cells = pl.Series([number, None]).cast(pl.Datetime(unit, zone))  # type: ignore[arg-type]
    parsed = _parse(cells)
    units = UNITS_PER_SECOND[unit]
    is_valid = EARLIEST_SECONDS * units <= number < LATEST_SECONDS * units
    assert parsed.invalid.tolist() == [not is_valid, False]
    assert parsed.missing.tolist() == [False, True]
    if is_valid:
        assert int(parsed.utc[0]) == number * 10**6 // units
    texts = cells_as_text(cells)
    assert texts[1] is None
    assert texts[0] == f"{number} {unit} since 1970" or texts[0][:4].isdigit()


@settings(deadline=None)
@given(INT32)
def test_every_date_is_invalid_as_a_time(day: int) -> None:
    cells = pl.Series([day, None], dtype=pl.Int32).cast(pl.Date)
    parsed = _parse(cells)
    assert parsed.invalid.tolist() == [True, False]
    assert parsed.missing.tolist() == [False, True]
    assert cells_as_text(cells)[0] == f"{day} days since 1970" or len(cells_as_text(cells)[0]) == 10


@pytest.mark.parametrize(
    ("number", "expected"), [(2**63 - 1, "9223372036854775807 us since 1970"), (0, "1970-01-01 00:00:00")]
)
def test_cells_as_text_shows_times_outside_the_calendar(number: int, expected: str) -> None:
    assert cells_as_text(pl.Series([number]).cast(pl.Datetime("us"))).to_list() == [expected]
    zoned = cells_as_text(pl.Series([number]).cast(pl.Datetime("us", "Asia/Kolkata"))).to_list()
    assert zoned == [expected.replace("00:00:00", "05:30:00+05:30")]


@pytest.mark.parametrize("name", ODD_CELLS)
def test_cells_as_text_accepts_every_type(name: str) -> None:
    cells = ODD_CELLS[name]
    texts = cells_as_text(cells)
    assert texts.dtype == pl.String
    assert texts.is_null().to_list() == cells.is_null().to_list()


@pytest.mark.parametrize("name", ODD_CELLS)
def test_to_csv_cells_makes_every_type_writable(name: str) -> None:
    frame = to_csv_cells(pl.DataFrame({"cell": ODD_CELLS[name]}))
    assert frame.write_csv().count("\n") >= len(frame) + 1


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [(pl.Int8(), True), (pl.Decimal(5, 1), True), (pl.Binary(), False), (pl.Duration("us"), False)],
)
def test_fits_csv_excludes_types_that_polars_refuses(dtype: pl.DataType | DataTypeClass, expected: bool) -> None:
    assert fits_csv(dtype) is expected


@settings(deadline=None)
@given(st.integers(0, 2**64 - 1))
def test_every_unsigned_epoch_is_valid_or_invalid(number: int) -> None:
    parsed = _parse(pl.Series([number], dtype=pl.UInt64))
    in_a_unit = (EARLIEST_SECONDS * 10**power <= number < LATEST_SECONDS * 10**power for power in (0, 3, 6, 9))
    assert parsed.invalid.tolist() == [not any(in_a_unit)]
