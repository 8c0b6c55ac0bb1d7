from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from preptime.domain import restaurant_ids
from preptime.domain.restaurant_ids import (
    LARGEST_KEY,
    MAX_ID_CHARACTERS,
    UNKNOWN_RESTAURANT_KEY,
    parse_restaurant_id,
    restaurant_id_text,
    restaurant_key,
)
from preptime.domain.validation_reasons import ValidationReason


@pytest.mark.parametrize("identifier", ["1326", 1326, " 1326\n", "1326.0"])
def test_key_of_a_plain_integer_is_itself(identifier: str | int) -> None:
    assert restaurant_key(identifier) == 1326


def test_key_distinguishes_every_spelling() -> None:
    spellings = ["7", "007", "+7", "-7", "7.00", "7,0", "1e3", "1E3", "1000", "a", "A", "NA", "null", "٧", "7 7"]
    spellings += ["10124420001034504343", str(LARGEST_KEY + 1), "9007199254740993.0", "3f2504e0", "é", "e\u0301"]
    keys = [restaurant_key(spelling) for spelling in spellings]
    assert len(set(keys)) == len(spellings)
    assert {spelling for spelling, key in zip(spellings, keys, strict=True) if key >= 0} == {"7", "1000"}


def test_key_of_text_never_changes() -> None:
    """Bundles contain keys, so that another hash would be another format."""
    assert restaurant_key("007") == -5272167197256221118
    assert restaurant_key("10124420001034504343") == restaurant_key(10124420001034504343) == -1550960838627928440


@given(st.text(min_size=1, max_size=MAX_ID_CHARACTERS) | st.integers())
def test_key_is_64_bits_and_never_that_of_unknown(identifier: str | int) -> None:
    key = restaurant_key(identifier)
    assert -(2**63) <= key <= LARGEST_KEY
    assert key != UNKNOWN_RESTAURANT_KEY
    assert key == restaurant_key(restaurant_id_text(str(identifier)))
    assert (key >= 0) == (restaurant_id_text(str(identifier)) == str(key))


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("7", 7),
        ("7.0", 7),
        ("-0.0", 0),
        ('"7"', 7),
        (str(LARGEST_KEY), LARGEST_KEY),
        ("10124420001034504343", restaurant_key("10124420001034504343")),
        ("-7", restaurant_key("-7")),
        ("-7.0", restaurant_key("-7")),
        ('"NA"', restaurant_key("NA")),
        (f'"{"x" * 200} "', restaurant_key("x" * 200)),
        ("null", ValidationReason.MISSING_VALUE),
        ('""', ValidationReason.MISSING_VALUE),
        ('" \\t"', ValidationReason.MISSING_VALUE),
        (f'"{"x" * 201}"', ValidationReason.OUT_OF_RANGE),
        ("9" * 201, ValidationReason.OUT_OF_RANGE),
        ("9" * 4000, ValidationReason.OUT_OF_RANGE),
        ("1.5", ValidationReason.UNPARSABLE_NUMBER),
        ("1e300", ValidationReason.UNPARSABLE_NUMBER),
        ("true", ValidationReason.UNPARSABLE_NUMBER),
        ("[7]", ValidationReason.UNPARSABLE_NUMBER),
        ('{"id": 7}', ValidationReason.UNPARSABLE_NUMBER),
    ],
)
def test_parse_json_value(text: str, parsed: int | ValidationReason) -> None:
    assert parse_restaurant_id(msgspec.json.decode(text)) == parsed


def test_parse_not_a_number_is_missing() -> None:
    assert parse_restaurant_id(float("nan")) is ValidationReason.MISSING_VALUE
    assert parse_restaurant_id(float("inf")) is ValidationReason.UNPARSABLE_NUMBER


def test_kept_keys_of_texts_are_limited_in_number_and_size() -> None:
    """An identifier that is too long isn't kept, so that a request can't fill the memory of a worker."""
    restaurant_ids.forget_cached_texts()
    for number in range(restaurant_ids.CACHED_TEXTS + 10):
        restaurant_ids.parse_restaurant_id(f"store-{number}")
    assert restaurant_ids._parse_text.cache_info().currsize == restaurant_ids.CACHED_TEXTS
    restaurant_ids.forget_cached_texts()
    assert restaurant_ids.parse_restaurant_id("x" * 201) is ValidationReason.OUT_OF_RANGE
    assert restaurant_ids.parse_restaurant_id(" " * 200 + "7") == 7
    assert restaurant_ids._parse_text.cache_info().currsize == 0
