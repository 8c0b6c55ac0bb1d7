"""Columns of numbers, typed or as text: a bad cell is marked and never fails the column."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from preptime.domain.timestamps import WHITESPACE

_MISSING_TEXTS = ["", "na", "n/a", "nan", "null", "none", "<na>", "nat"]
_MAX_EXACT_INTEGER = 2.0**53  # beyond it a float no longer tells whole numbers apart


@dataclass(frozen=True, slots=True)
class ParsedFloats:
    """N numbers; where `missing` or `bad` the value is 0 and means nothing."""

    values: NDArray[np.float64]
    missing: NDArray[np.bool_]
    invalid: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class ParsedIntegers:
    """N whole numbers; where `missing` or `bad` the value is 0 and means nothing."""

    values: NDArray[np.int64]
    missing: NDArray[np.bool_]
    invalid: NDArray[np.bool_]


def is_missing_text(cells: pl.Series) -> NDArray[np.bool_]:
    """Which texts say that there is nothing: blank, `NA`, `null`, `NaN` and the like."""
    # No such word is longer than four letters; the rest needs no lower case.
    is_short = cells.str.len_bytes().fill_null(0) <= 8
    if not is_short.any():
        return np.zeros(len(cells), np.bool_)
    return (
        (is_short & cells.str.strip_chars(WHITESPACE).str.to_lowercase().is_in(_MISSING_TEXTS))
        .fill_null(value=True)
        .to_numpy()
    )


def decode_text(cells: pl.Series) -> pl.Series:
    """Dictionary-encoded text as plain text; anything else as it is."""
    return cells.cast(pl.String) if isinstance(cells.dtype, pl.Categorical | pl.Enum) else cells


def parse_floats(cells: pl.Series) -> ParsedFloats:
    """Read numbers. NaN counts as missing (it is how pandas writes it); infinity is a number, out of any range."""
    cells = decode_text(cells)
    if cells.dtype == pl.String:
        parsed = cells.str.strip_chars(WHITESPACE).cast(pl.Float64, strict=False)
    elif cells.dtype.is_numeric():
        parsed = cells.cast(pl.Float64)
    else:
        return _all_invalid(cells)
    is_null = parsed.is_null() | parsed.is_nan()
    is_unparsed = is_null.fill_null(value=True).to_numpy()
    if not is_unparsed.any():
        return ParsedFloats(parsed.to_numpy(), is_unparsed, is_unparsed)
    values = np.where(is_unparsed, 0.0, parsed.fill_null(0.0).to_numpy())
    is_missing = (
        is_unparsed if cells.dtype != pl.String else is_unparsed & (cells.is_null().to_numpy() | is_missing_text(cells))
    )
    return ParsedFloats(values, is_missing, is_unparsed & ~is_missing)


def parse_integers(cells: pl.Series) -> ParsedIntegers:
    """Read whole numbers; `3.0` is 3 (it is how pandas writes integers beside missing ones), `3.5` is bad."""
    cells = decode_text(cells)
    if cells.dtype.is_integer():
        parsed = cells.cast(pl.Int64, strict=False)
        is_missing = cells.is_null().to_numpy()
        is_unparsed = parsed.is_null().to_numpy()
        return ParsedIntegers(parsed.fill_null(0).to_numpy(), is_missing, is_unparsed & ~is_missing)
    parsed_text = None
    if cells.dtype == pl.String:
        parsed_text = cells.str.strip_chars(WHITESPACE).cast(pl.Int64, strict=False)
        if not parsed_text.has_nulls():
            return ParsedIntegers(parsed_text.to_numpy(), (all_false := np.zeros(len(cells), np.bool_)), all_false)
    floats = parse_floats(cells)
    is_integral = (np.abs(floats.values) <= _MAX_EXACT_INTEGER) & (np.floor(floats.values) == floats.values)
    values = np.where(is_integral, floats.values, 0.0).astype(np.int64)
    is_invalid = floats.invalid | (~is_integral & ~floats.missing)
    if parsed_text is not None:
        is_parsed = parsed_text.is_not_null().to_numpy()
        values = np.where(is_parsed, parsed_text.fill_null(0).to_numpy(), values)
        is_invalid &= ~is_parsed
    return ParsedIntegers(values, floats.missing, is_invalid)


def _all_invalid(cells: pl.Series) -> ParsedFloats:
    missing = cells.is_null().to_numpy()
    return ParsedFloats(np.zeros(len(cells)), missing, ~missing)
