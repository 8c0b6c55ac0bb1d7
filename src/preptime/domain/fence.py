"""The notebook's outlier fence, the one definition of it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

OUTLIER_LIMIT_IQRS = 1.5
"""The notebook's: third quartile + 1.5 times the interquartile range. Its lower fence is negative on every such
column, so the upper one is the fence."""


def upper_outlier_limit(values: NDArray[np.float64]) -> float:
    """The upper outlier fence of at least one value, in their unit."""
    first_quartile, third_quartile = np.percentile(values, [25, 75])
    return float(third_quartile + OUTLIER_LIMIT_IQRS * (third_quartile - first_quartile))
