"""Columns of numbers, typed or as text: a bad cell is marked and never fails the column."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from preptime.domain.timestamps import BLANKS

_MISSING = ["", "na", "n/a", "nan", "null", "none", "<na>", "nat"]
_EXACT = 2.0**53  # beyond it a float no longer tells whole numbers apart


@dataclass(frozen=True, slots=True)
class Floats:
    """N numbers; where `missing` or `bad` the value is 0 and means nothing."""

    value: NDArray[np.float64]
    missing: NDArray[np.bool_]
    bad: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Integers:
    """N whole numbers; where `missing` or `bad` the value is 0 and means nothing."""

    value: NDArray[np.int64]
    missing: NDArray[np.bool_]
    bad: NDArray[np.bool_]


def is_missing_text(cells: pl.Series) -> NDArray[np.bool_]:
    """Which texts say that there is nothing: blank, `NA`, `null`, `NaN` and the like."""
    # No such word is longer than four letters; the rest needs no lower case.
    short = cells.str.len_bytes().fill_null(0) <= 8
    if not short.any():
        return np.zeros(len(cells), np.bool_)
    return (short & cells.str.strip_chars(BLANKS).str.to_lowercase().is_in(_MISSING)).fill_null(value=True).to_numpy()


def as_text(cells: pl.Series) -> pl.Series:
    """Dictionary-encoded text as plain text; anything else as it is."""
    return cells.cast(pl.String) if isinstance(cells.dtype, pl.Categorical | pl.Enum) else cells


def read_floats(cells: pl.Series) -> Floats:
    """Read numbers. NaN counts as missing (it is how pandas writes it); infinity is a number, out of any range."""
    cells = as_text(cells)
    if cells.dtype == pl.String:
        read = cells.str.strip_chars(BLANKS).cast(pl.Float64, strict=False)
    elif cells.dtype.is_numeric():
        read = cells.cast(pl.Float64)
    else:
        return _unreadable(cells)
    missing = read.is_null() | read.is_nan()
    unread = missing.fill_null(value=True).to_numpy()
    if not unread.any():
        return Floats(read.to_numpy(), unread, unread)
    value = np.where(unread, 0.0, read.fill_null(0.0).to_numpy())
    absent = unread if cells.dtype != pl.String else unread & (cells.is_null().to_numpy() | is_missing_text(cells))
    return Floats(value, absent, unread & ~absent)


def read_integers(cells: pl.Series) -> Integers:
    """Read whole numbers; `3.0` is 3 (it is how pandas writes integers beside missing ones), `3.5` is bad."""
    cells = as_text(cells)
    if cells.dtype.is_integer():
        read = cells.cast(pl.Int64, strict=False)
        absent = cells.is_null().to_numpy()
        unread = read.is_null().to_numpy()
        return Integers(read.fill_null(0).to_numpy(), absent, unread & ~absent)
    whole = None
    if cells.dtype == pl.String:
        whole = cells.str.strip_chars(BLANKS).cast(pl.Int64, strict=False)
        if not whole.has_nulls():
            return Integers(whole.to_numpy(), (none := np.zeros(len(cells), np.bool_)), none)
    floats = read_floats(cells)
    integral = (np.abs(floats.value) <= _EXACT) & (np.floor(floats.value) == floats.value)
    value = np.where(integral, floats.value, 0.0).astype(np.int64)
    bad = floats.bad | (~integral & ~floats.missing)
    if whole is not None:
        known = whole.is_not_null().to_numpy()
        value = np.where(known, whole.fill_null(0).to_numpy(), value)
        bad &= ~known
    return Integers(value, floats.missing, bad)


def _unreadable(cells: pl.Series) -> Floats:
    missing = cells.is_null().to_numpy()
    return Floats(np.zeros(len(cells)), missing, ~missing)
