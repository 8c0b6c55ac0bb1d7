from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from preptime.domain.restaurant_ids import (
    MAX_ID_CHARACTERS,
    UNKNOWN_RESTAURANT_KEY,
    parse_restaurant_id,
    restaurant_id_text,
)
from preptime.domain.validation_reasons import ValidationReason
from preptime.validation.restaurant_ids import parse_restaurant_ids, restaurant_id_texts

SPELLINGS = ["7", "007", "7.0", "7.00", "+7", "-7", "-7.0", "-0.0", "0", "00", "1e3", "NA", " 7 ", "\t", "", "١", "1_0"]
TEXTS = (
    st.sampled_from(SPELLINGS)
    | st.integers(-(2**70), 2**70).map(str)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=MAX_ID_CHARACTERS + 5)
    | st.from_regex(r"\A[ +-]?[0-9]{0,20}(\.0{0,2})?[ e]?[0-9]?\Z")
)
INTEGERS = st.integers(-(2**63), 2**63 - 1) | st.integers(-10, 10)
FLOATS = st.floats() | INTEGERS.map(float) | st.integers(-(2**54), 2**54).map(float)


def _parsed(cells: pl.Series) -> list[int | ValidationReason]:
    """Return the key or the reason of each cell."""
    parsed = parse_restaurant_ids(cells)
    assert parsed.unusable.tolist() == (parsed.keys == UNKNOWN_RESTAURANT_KEY).tolist()
    reasons = (
        (parsed.missing, ValidationReason.MISSING_VALUE),
        (parsed.invalid, ValidationReason.UNPARSABLE_NUMBER),
        (parsed.too_long, ValidationReason.OUT_OF_RANGE),
    )
    return [next((reason for mask, reason in reasons if mask[row]), int(parsed.keys[row])) for row in range(len(cells))]


@given(st.lists(TEXTS | st.none()))
@example(["7", "8"])
@example(["-0.0", "9007199254740992.0", "9007199254740993.0", None])
def test_parse_text_matches_single_values(texts: list[str | None]) -> None:
    cells, expected = pl.Series("id", texts, pl.String), [parse_restaurant_id(text) for text in texts]
    assert _parsed(cells) == expected
    assert _parsed(cells.cast(pl.Categorical)) == expected
    spellings = [restaurant_id_text(text or "") or None for text in texts]
    assert restaurant_id_texts(cells).to_list() == spellings


@given(st.lists(INTEGERS | st.none()), st.sampled_from([pl.Int64, pl.Decimal(38, 0), pl.Decimal(38, 2), pl.String]))
def test_parse_integer_is_equal_in_every_format(values: list[int | None], dtype: pl.DataType) -> None:
    texts = pl.Series("id", [None if value is None else str(value) for value in values], pl.String)
    cells = pl.Series([None if value is None else Decimal(value) for value in values], dtype=pl.Decimal(38, 2))
    typed = texts if dtype == pl.String else cells.cast(dtype) if dtype.is_decimal() else pl.Series(values, dtype=dtype)
    expected = [parse_restaurant_id(value) for value in values]
    assert _parsed(typed) == expected == [parse_restaurant_id(text) for text in texts]


@given(st.lists(FLOATS | st.none()))
def test_parse_float_matches_single_values(values: list[float | None]) -> None:
    cells = pl.Series("id", values, pl.Float64)
    expected = [parse_restaurant_id(value) for value in values]
    assert _parsed(cells) == expected
    whole = cells.set(~(cells.abs() <= 2**53).fill_null(value=False), None).round()
    texts = pl.Series([None if value is None else repr(value) for value in whole], dtype=pl.String)
    assert _parsed(texts) == _parsed(whole), "pandas writes a whole number as 7.0, which is 7"


@given(st.lists(st.integers(0, 2**64 - 1)))
def test_parse_unsigned_matches_single_values(values: list[int]) -> None:
    assert _parsed(pl.Series(values, dtype=pl.UInt64)) == [parse_restaurant_id(value) for value in values]


@pytest.mark.parametrize(
    "make_cells",
    [
        lambda: pl.Series([True, None]),
        lambda: pl.Series([[7], None]),
        lambda: pl.Series([b"7", None]),
        lambda: pl.Series([7, None]).cast(pl.Datetime("us")),
        lambda: pl.Series([Decimal("1.5"), None]),
    ],
)
def test_parse_other_type_is_invalid(make_cells: Callable[[], pl.Series]) -> None:
    assert _parsed(make_cells()) == [ValidationReason.UNPARSABLE_NUMBER, ValidationReason.MISSING_VALUE]


def test_parse_no_cells_returns_no_keys() -> None:
    for dtype in (pl.String, pl.Int64, pl.Float64, pl.Null):
        assert _parsed(pl.Series([], dtype=dtype)) == []
    assert _parsed(pl.Series([None, None])) == [ValidationReason.MISSING_VALUE] * 2
