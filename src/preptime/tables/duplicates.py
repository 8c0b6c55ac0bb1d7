"""Which orders appear twice."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray


def later_duplicates(frame: pl.DataFrame, keys: Sequence[str]) -> NDArray[np.bool_]:
    """[N] true where an earlier row has the same values in all of `keys`; a row with a null among them is never one."""
    # Hashes find the few candidates quickly; only those are compared in full, so that a collision costs no order.
    own = frame.select(keys)
    candidates = own.hash_rows().is_duplicated().to_numpy()
    found = np.zeros(len(own), np.bool_)
    rows = np.flatnonzero(candidates)
    if len(rows):
        chosen = own[rows]
        first = chosen.select(pl.struct(pl.all()).is_first_distinct()).to_series().to_numpy()
        whole = chosen.select(pl.all_horizontal(pl.all().is_not_null())).to_series().to_numpy()
        found[rows] = ~first & whole
    return found
