from __future__ import annotations

import math

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from preptime.validation.parsing import parse_floats, parse_integers


def test_texts_are_numbers_missing_or_bad() -> None:
    cells = pl.Series(["21.40", " 3 ", "1e2", "", "N/A", "nan", None, "£5", "1,5", "two"])
    read = parse_floats(cells)
    assert read.values.tolist() == [21.4, 3, 100, 0, 0, 0, 0, 0, 0, 0]
    assert read.missing.tolist() == [False] * 3 + [True] * 4 + [False] * 3
    assert read.invalid.tolist() == [False] * 7 + [True] * 3


def test_infinity_is_a_number_beyond_every_range() -> None:
    assert math.isinf(parse_floats(pl.Series(["inf"])).values[0])
    assert parse_integers(pl.Series(["inf"])).invalid.tolist() == [True]


@pytest.mark.parametrize("kind", [pl.Int8, pl.UInt64, pl.Float32, pl.Float64, pl.Decimal(10, 2)])
def test_every_numeric_type_is_read(kind: pl.DataType) -> None:
    cells = pl.Series([3, None], dtype=kind)
    assert parse_floats(cells).values.tolist() == [3, 0]
    assert parse_integers(cells).values.tolist() == [3, 0]
    assert parse_integers(cells).missing.tolist() == [False, True]


def test_whole_numbers_may_come_as_floats_and_halves_are_bad() -> None:
    read = parse_integers(pl.Series(["3", "3.0", "3.5", "", "x", "9007199254740993"]))
    assert read.values.tolist() == [3, 3, 0, 0, 0, 9007199254740993]
    assert read.missing.tolist() == [False, False, False, True, False, False]
    assert read.invalid.tolist() == [False, False, True, False, True, False]


def test_a_number_too_large_for_64_bits_is_bad() -> None:
    assert parse_integers(pl.Series([2**64 - 1, 5], dtype=pl.UInt64)).invalid.tolist() == [True, False]
    assert parse_integers(pl.Series(["18446744073709551615", "5"])).invalid.tolist() == [True, False]


def test_other_types_are_bad_and_their_nulls_missing() -> None:
    read = parse_floats(pl.Series([True, None]))
    assert (read.missing.tolist(), read.invalid.tolist()) == ([False, True], [True, False])
    assert parse_floats(pl.Series([None, None])).missing.all()


@given(st.lists(st.integers(-(2**63), 2**63 - 1) | st.none(), min_size=1))
def test_typed_and_written_integers_read_alike(values: list[int | None]) -> None:
    typed = parse_integers(pl.Series(values, dtype=pl.Int64))
    written = parse_integers(pl.Series([None if value is None else str(value) for value in values], dtype=pl.String))
    assert typed.values.tolist() == written.values.tolist() == [value or 0 for value in values]
    assert typed.missing.tolist() == written.missing.tolist() == [value is None for value in values]
    assert not typed.invalid.any()
    assert not written.invalid.any()


@given(st.lists(st.text(max_size=6)))
def test_no_text_fails_a_column(texts: list[str]) -> None:
    cells = pl.Series(texts, dtype=pl.String)
    for read in (parse_floats(cells), parse_integers(cells)):
        assert len(read.values) == len(texts)
        assert not (read.missing & read.invalid).any()
