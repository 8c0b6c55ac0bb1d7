"""Categories in orders: names, or the positions of names in the sorted vocabulary, as numbers or as text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from preptime.domain.order import UNKNOWN
from preptime.domain.timestamps import BLANKS


def read_codes(cells: pl.Series, vocabulary: Sequence[str]) -> NDArray[np.int32]:
    """[N] positions in `vocabulary`; `UNKNOWN` for an empty cell and for what is neither a name nor a position."""
    if cells.dtype.is_numeric():
        number = cells.cast(pl.Float64).fill_null(UNKNOWN).fill_nan(UNKNOWN).to_numpy()
        known = (number >= 0) & (number < len(vocabulary)) & (np.floor(number) == number)
        return np.where(known, number, UNKNOWN).astype(np.int32)
    texts = cells.cast(pl.String)
    # A column has few distinct names, so each is understood once.
    distinct = texts.drop_nulls().unique().to_list()
    position = {name: code for code, name in enumerate(vocabulary)}
    codes = [_code(name, position) for name in distinct]
    mapped = texts.replace_strict(distinct, codes, default=UNKNOWN, return_dtype=pl.Int32)
    return cast(NDArray[np.int32], mapped.fill_null(UNKNOWN).to_numpy())


def _code(text: str, position: dict[str, int]) -> int:
    name = text.strip(BLANKS)
    if name in position:
        return position[name]
    whole = name.removesuffix(".0")  # pandas writes 3 as 3.0 beside empty cells
    if whole.isascii() and whole.isdigit() and len(whole) < 10 and int(whole) < len(position):
        return int(whole)
    return UNKNOWN
