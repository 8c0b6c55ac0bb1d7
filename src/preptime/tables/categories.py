"""Categories in orders: names, or the positions of names in the sorted vocabulary, as numbers or as text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from preptime.domain.order import UNKNOWN_CODE
from preptime.domain.timestamps import WHITESPACE


def parse_categories(cells: pl.Series, vocabulary: Sequence[str]) -> NDArray[np.int32]:
    """[N] positions in `vocabulary`; `UNKNOWN_CODE` for an empty cell and for what is neither a name nor a position."""
    if cells.dtype.is_numeric():
        numeric_cells = cells.cast(pl.Float64).fill_null(UNKNOWN_CODE).fill_nan(UNKNOWN_CODE).to_numpy()
        is_code = (numeric_cells >= 0) & (numeric_cells < len(vocabulary)) & (np.floor(numeric_cells) == numeric_cells)
        return np.where(is_code, numeric_cells, UNKNOWN_CODE).astype(np.int32)
    texts = cells.cast(pl.String)
    # A column has few distinct names, so each is understood once.
    distinct = texts.drop_nulls().unique().to_list()
    codes_by_name = {name: code for code, name in enumerate(vocabulary)}
    codes = [_parse_code(name, codes_by_name) for name in distinct]
    mapped_codes = texts.replace_strict(distinct, codes, default=UNKNOWN_CODE, return_dtype=pl.Int32)
    return cast(NDArray[np.int32], mapped_codes.fill_null(UNKNOWN_CODE).to_numpy())


def _parse_code(text: str, codes_by_name: dict[str, int]) -> int:
    name = text.strip(WHITESPACE)
    if name in codes_by_name:
        return codes_by_name[name]
    digits = name.removesuffix(".0")  # pandas writes 3 as 3.0 beside empty cells
    if digits.isascii() and digits.isdigit() and len(digits) < 10 and int(digits) < len(codes_by_name):
        return int(digits)
    return UNKNOWN_CODE
