"""The distribution of a number over orders: quartiles, the outlier limit, and the bins of a histogram."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from preptime.domain.orders import upper_outlier_limit
from preptime.evaluation.aggregates import ChartRow

DISPLAY_LIMIT_FACTOR = 1.6
"""End of a distribution chart, relative to the outlier limit: the limit is visible, and the bulk fills the chart."""
_BIN_COUNT = 64
_ROUND_STEPS = (1, 2, 2.5, 5, 10)


@dataclass(frozen=True, slots=True)
class Distribution:
    """The distribution of a measure over N orders, in the unit of the measure."""

    orders: int
    mean: float
    q1: float
    median: float
    q3: float
    maximum: float
    outlier_limit: float
    """Third quartile + 1.5 times the interquartile range."""
    outliers: int
    display_limit: float
    """End of the chart."""
    beyond_display_limit: int
    """Number of orders beyond the end of the chart."""
    missing: int
    """Number of orders without a value."""
    bins: tuple[ChartRow, ...]
    """`low`, `high`, `orders`, and `is_outlier`: whether the bin is above the outlier limit."""

    @property
    def digits(self) -> int:
        """The decimals that show three significant digits of the interquartile range."""
        scale = (self.q3 - self.q1) or abs(self.median) or 1.0
        return max(0, 2 - math.floor(math.log10(scale)))


def summarize_values(values: NDArray[np.float64], *, missing: int, is_whole: bool) -> Distribution:
    """Return the distribution of N values. `missing` are the orders without a value. There must be at least one."""
    q1, median, q3 = (float(value) for value in np.percentile(values, [25, 50, 75]))
    outlier_limit, maximum = upper_outlier_limit(values), float(values.max())
    origin = min(0.0, float(values.min()))
    display_end = min(maximum, origin + DISPLAY_LIMIT_FACTOR * (outlier_limit - origin))
    # Values far above zero, such as temperatures in kelvin, would be in one bin of a chart that starts at zero.
    start = float(values.min()) if values.min() < 0 or 2 * values.min() > display_end else 0.0
    bin_width = _bin_width(display_end - start, is_whole=is_whole)
    start = math.floor(start / bin_width) * bin_width
    # A whole number is the middle of its bin.
    bin_count = math.floor((display_end - start) / bin_width) + 2
    edges = start + np.arange(bin_count) * bin_width - (0.5 if is_whole else 0.0)
    counts, _ = np.histogram(values, bins=edges)
    return Distribution(
        orders=len(values),
        mean=float(values.mean()),
        q1=q1,
        median=median,
        q3=q3,
        maximum=maximum,
        outlier_limit=outlier_limit,
        outliers=int((values > outlier_limit).sum()),
        display_limit=float(edges[-1]),
        beyond_display_limit=int((values > edges[-1]).sum()),
        missing=missing,
        bins=tuple(
            {
                "low": float(low),
                "high": float(low + bin_width),
                "orders": count,
                "is_outlier": bool(low >= outlier_limit),
            }
            for low, count in zip(edges.tolist(), counts.tolist(), strict=False)
        ),
    )


def _bin_width(limit: float, *, is_whole: bool) -> float:
    """Return a round width for about `_BIN_COUNT` bins up to `limit`."""
    exact_width = max(limit, 1e-6) / _BIN_COUNT
    power = 10.0 ** math.floor(math.log10(exact_width))
    width = next(power * round_step for round_step in _ROUND_STEPS if power * round_step >= exact_width - 1e-12)
    return max(1.0, float(round(width))) if is_whole else width
