"""Parse columns of restaurant identifiers, typed or as text. The rules are in `preptime.domain.restaurant_ids`.

`preptime.domain.restaurant_ids.parse_restaurant_id` applies the same rules to single orders, and tests compare the two.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from preptime.domain.cells import MAX_EXACT_FLOAT, WHOLE_FLOAT_PATTERN
from preptime.domain.restaurant_ids import MAX_ID_CHARACTERS, UNKNOWN_RESTAURANT_KEY, restaurant_key
from preptime.domain.timestamps import WHITESPACE
from preptime.errors import DataError
from preptime.validation.parsing import decode_text

_SIGNS_AND_ZERO = ("+", "-", "0")
"""Polars reads an integer that starts with one of these, but only `0` itself is its own key."""
_FRACTION_OF_ZEROS = r"\.0+$"


@dataclass(frozen=True, slots=True)
class ParsedRestaurantIds:
    """N identifiers. Where `missing`, `invalid`, or `too_long` is true, the key is that of an unknown restaurant."""

    keys: NDArray[np.int64]
    missing: NDArray[np.bool_]
    invalid: NDArray[np.bool_]
    """The cell isn't text or a whole number."""
    too_long: NDArray[np.bool_]

    @property
    def unusable(self) -> NDArray[np.bool_]:
        """[N] which cells have no key."""
        return self.missing | self.invalid | self.too_long


def parse_restaurant_ids(cells: pl.Series) -> ParsedRestaurantIds:
    """Parse identifiers. Text is hashed once per distinct value. Integers are only checked."""
    cells = decode_text(cells)
    cells = cells.str.strip_chars(WHITESPACE) if cells.dtype == pl.String else cells
    own_keys = _own_keys(cells)
    all_false = np.zeros(len(cells), np.bool_)
    if not own_keys.has_nulls():
        return ParsedRestaurantIds(own_keys.to_numpy(), all_false, all_false, all_false)
    rows = own_keys.is_null().arg_true()
    others = cells.gather(rows)
    texts = restaurant_id_texts(others)
    is_missing = _is_missing(others)
    masks = (
        is_missing,
        texts.is_null() & ~is_missing,
        (texts.str.len_chars() > MAX_ID_CHARACTERS).fill_null(value=False),
    )
    missing, invalid, too_long = (all_false.copy() for _ in masks)
    for mask, is_set in zip((missing, invalid, too_long), masks, strict=True):
        mask[rows] = is_set.to_numpy()
    return ParsedRestaurantIds(own_keys.scatter(rows, _text_keys(texts)).to_numpy(), missing, invalid, too_long)


def restaurant_id_texts(cells: pl.Series) -> pl.Series:
    """Return the spelling of each identifier (`preptime.domain.restaurant_ids.restaurant_id_text`), or null.

    An empty cell, and a cell that isn't text or a whole number, has none.
    """
    cells, name = decode_text(cells), cells.name
    if cells.dtype == pl.String:
        texts = cells.str.strip_chars(WHITESPACE)
        texts = texts.set(texts == "", None)
        is_whole = texts.str.contains(WHOLE_FLOAT_PATTERN).fill_null(value=False)
        if is_whole.any():
            numbers = texts.set(~is_whole, None).str.head(-2).cast(pl.Int64)
            texts = numbers.set(numbers.abs() > int(MAX_EXACT_FLOAT), None).cast(pl.String).fill_null(texts)
        return texts.rename(name)
    if cells.dtype.is_float():
        is_whole = (cells.abs() <= MAX_EXACT_FLOAT) & (cells.floor() == cells)
        return cells.set(~is_whole.fill_null(value=False), None).cast(pl.Int64, strict=False).cast(pl.String)
    if cells.dtype.is_decimal():
        texts = cells.cast(pl.String).str.replace(_FRACTION_OF_ZEROS, "")
        return texts.set(texts.str.contains(".", literal=True), None)
    if cells.dtype.is_integer():
        return cells.cast(pl.String)
    return pl.Series(name, [None] * len(cells), pl.String)


def _own_keys(cells: pl.Series) -> pl.Series:
    """Return [N] the integers that are their own keys, and null for all other cells."""
    if cells.dtype == pl.String:
        numbers = cells.cast(pl.Int64, strict=False)
        is_other = numbers.is_null()
        for start in _SIGNS_AND_ZERO:
            is_other |= cells.str.starts_with(start).fill_null(value=False)
    elif cells.dtype.is_integer() or cells.dtype.is_float():
        numbers = cells.cast(pl.Int64, strict=False)
        is_other = (numbers < 0).fill_null(value=True)
        if cells.dtype.is_float():
            is_other |= ((cells > MAX_EXACT_FLOAT) | (cells.floor() != cells)).fill_null(value=True)
    else:
        return pl.Series([None] * len(cells), dtype=pl.Int64)
    return numbers.set(is_other, None) if is_other.any() else numbers


def _is_missing(cells: pl.Series) -> pl.Series:
    if cells.dtype == pl.String:
        return cells.is_null() | (cells == "").fill_null(value=True)
    return cells.is_null() | cells.is_nan().fill_null(value=True) if cells.dtype.is_float() else cells.is_null()


def _text_keys(texts: pl.Series) -> pl.Series:
    """Return [N] the key of each text, or of an unknown restaurant for an empty, null, or too long one."""
    distinct = distinct_values(texts)
    distinct = distinct.filter((distinct.str.len_bytes() > 0) & (distinct.str.len_chars() <= MAX_ID_CHARACTERS))
    keys = pl.Series([restaurant_key(text) for text in distinct], dtype=pl.Int64)
    if keys.n_unique() < len(keys):
        raise _equal_keys_error(distinct.filter(keys.is_duplicated()).to_list())
    return texts.replace_strict(distinct, keys, default=UNKNOWN_RESTAURANT_KEY, return_dtype=pl.Int64)


def _equal_keys_error(texts: list[str]) -> DataError:
    first, second = sorted(texts)[:2]
    return DataError(
        f"The restaurant identifiers {first!r} and {second!r} have the same 64-bit hash, which is a coincidence.",
        "Change one of the two identifiers.",
    )


def distinct_values(cells: pl.Series) -> pl.Series:
    """Return the distinct values in the order of their first rows, several times as fast as `unique` for text."""
    return cells.gather(cells.arg_unique())
