from __future__ import annotations

import math

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from preptime.validation.parsing import parse_floats, parse_integers


def test_parse_floats_text_is_number_missing_or_invalid() -> None:
    cells = pl.Series(["21.40", " 3 ", "1e2", "", "N/A", "nan", None, "£5", "1,5", "two"])
    parsed = parse_floats(cells)
    assert parsed.values.tolist() == [21.4, 3, 100, 0, 0, 0, 0, 0, 0, 0]
    assert parsed.missing.tolist() == [False] * 3 + [True] * 4 + [False] * 3
    assert parsed.invalid.tolist() == [False] * 7 + [True] * 3


def test_parse_floats_infinity_is_a_number() -> None:
    assert math.isinf(parse_floats(pl.Series(["inf"])).values[0])
    assert parse_integers(pl.Series(["inf"])).invalid.tolist() == [True]


@pytest.mark.parametrize("kind", [pl.Int8, pl.UInt64, pl.Float32, pl.Float64, pl.Decimal(10, 2)])
def test_parse_numbers_every_numeric_type(kind: pl.DataType) -> None:
    cells = pl.Series([3, None], dtype=kind)
    assert parse_floats(cells).values.tolist() == [3, 0]
    assert parse_integers(cells).values.tolist() == [3, 0]
    assert parse_integers(cells).missing.tolist() == [False, True]


def test_parse_integers_accepts_only_whole_floats() -> None:
    parsed = parse_integers(pl.Series(["3", "3.0", "3.5", "", "x", "9007199254740993"]))
    assert parsed.values.tolist() == [3, 3, 0, 0, 0, 9007199254740993]
    assert parsed.missing.tolist() == [False, False, False, True, False, False]
    assert parsed.invalid.tolist() == [False, False, True, False, True, False]


def test_parse_integers_beyond_64_bits_is_invalid() -> None:
    assert parse_integers(pl.Series([2**64 - 1, 5], dtype=pl.UInt64)).invalid.tolist() == [True, False]
    assert parse_integers(pl.Series(["18446744073709551615", "5"])).invalid.tolist() == [True, False]


def test_parse_floats_other_type_is_invalid() -> None:
    parsed = parse_floats(pl.Series([True, None]))
    assert (parsed.missing.tolist(), parsed.invalid.tolist()) == ([False, True], [True, False])
    assert parse_floats(pl.Series([None, None])).missing.all()


@given(st.lists(st.integers(-(2**63), 2**63 - 1) | st.none(), min_size=1))
def test_parse_integers_typed_and_text_are_equal(values: list[int | None]) -> None:
    typed = parse_integers(pl.Series(values, dtype=pl.Int64))
    from_text = parse_integers(pl.Series([None if value is None else str(value) for value in values], dtype=pl.String))
    assert typed.values.tolist() == from_text.values.tolist() == [value or 0 for value in values]
    assert typed.missing.tolist() == from_text.missing.tolist() == [value is None for value in values]
    assert not typed.invalid.any()
    assert not from_text.invalid.any()


@given(st.lists(st.text(max_size=6)))
def test_parse_numbers_never_fail_on_text(texts: list[str]) -> None:
    cells = pl.Series(texts, dtype=pl.String)
    for parsed in (parse_floats(cells), parse_integers(cells)):
        assert len(parsed.values) == len(texts)
        assert not (parsed.missing & parsed.invalid).any()
