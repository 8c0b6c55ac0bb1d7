"""Fewer distinct values for a library that tries a split between every two of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def round_to_ranks(X: NDArray[np.float32], max_values: int) -> NDArray[np.float32]:
    """X [N, F], each column at the nearest of at most `max_values` (2 or more) of its own values, evenly spaced in rank.

    A column with no more distinct values stays as it is, and none becomes constant: its least and greatest are kept.
    For fitting only. A split of rounded rows lies halfway between two of the values, and so does the rounding: trees
    send each of these rows as it stood before the way they sent it when they were fitted.
    """
    result = X.copy()
    rank_positions = np.linspace(0, len(X) - 1, max_values).astype(np.intp)
    for column in result.T:
        ordered = np.sort(column)
        if np.count_nonzero(np.diff(ordered)) >= max_values:
            kept = np.unique(ordered[rank_positions])
            # In float64 and downward at a tie, as scikit-learn places its thresholds and compares with them.
            halfway = kept[:-1].astype(np.float64) / 2 + kept[1:].astype(np.float64) / 2
            column[:] = kept[np.searchsorted(halfway, column)]
    return result
