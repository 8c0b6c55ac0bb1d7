from __future__ import annotations

import math
from datetime import timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from preptime.domain.cells import NumberFormat
from preptime.validation.parsing import is_empty_text, is_missing_text, parse_durations, parse_floats, parse_integers


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


def test_parse_durations_are_whole_seconds_rounded_down() -> None:
    minutes = NumberFormat(multiplier=60)
    parsed = parse_durations(pl.Series(["12.5", "8.2", "0.999", "", "soon", "inf"]), minutes)
    assert parsed.values.tolist() == [750, 492, 59, 0, 0, 0]
    assert parsed.missing.tolist() == [False] * 3 + [True, False, False]
    assert parsed.invalid.tolist() == [False] * 4 + [True, True]
    assert parse_durations(pl.Series([899_999]), NumberFormat(divisor=1000)).values.tolist() == [899]
    german = NumberFormat(decimal=",", thousands=".", multiplier=60)
    assert parse_durations(pl.Series(["12,5", "1.000"]), german).values.tolist() == [750, 60_000]


@given(st.integers(0, 525_600), st.sampled_from([60, 3600]))
def test_parse_durations_text_equals_the_exact_value(hundredths: int, multiplier: int) -> None:
    cell = f"{hundredths // 100}.{hundredths % 100:02d}"
    parsed = parse_durations(pl.Series([cell]), NumberFormat(multiplier=multiplier))
    assert parsed.values.tolist() == [hundredths * multiplier // 100]


@pytest.mark.parametrize("kind", [pl.Duration("ms"), pl.Duration("us"), pl.Duration("ns")])
def test_parse_durations_type_has_its_own_unit(kind: pl.Duration) -> None:
    cells = pl.Series([timedelta(seconds=90, milliseconds=999), None], dtype=kind)
    parsed = parse_durations(cells, NumberFormat(multiplier=60))
    assert (parsed.values.tolist(), parsed.missing.tolist()) == ([90, 0], [False, True])
    assert not parsed.invalid.any()


def test_words_for_missing_values_are_names() -> None:
    cells = pl.Series(["", " \t", None, "NA", "None", "null", "nan", "Oslo"])
    assert is_empty_text(cells).tolist() == [True] * 3 + [False] * 5
    assert is_missing_text(cells).tolist() == [True] * 7 + [False]
