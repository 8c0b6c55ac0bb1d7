"""What is usual on a day. The data gate and monitoring use the same statistics.

A day is compared with its own past: a count or a median with the same weekday, and a share with the days before it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MIN_ORDERS = 30
"""On the day that is tested, to test a share or a median. With 30 orders, a median varies by about 15% by chance."""
WEEKS = 4
"""Weeks before a day whose same weekday is compared."""
MAX_PAST_DAYS = 28
SHARE_TOLERANCE = 0.05
"""A share can rise by 5 percentage points."""
SHARE_ERRORS = 5.0
"""Standard errors that a share can rise beyond the tolerance. None of 80 quiet synthetic months reaches it."""
PRIOR_SHARE_SD = 0.01
"""Prior standard deviation of daily shares beyond chance."""
PRIOR_WEIGHT_DAYS = 10.0
"""The weight of the prior in days."""


@dataclass(frozen=True, slots=True)
class ShareRise:
    """A day's share compared with the share of the days before it."""

    current: float
    usual: float
    error: float
    """Standard error of the difference."""

    def statistic(self, tolerance: float = SHARE_TOLERANCE) -> float:
        """Return the standard errors by which the rise exceeds `tolerance`, or 0.

        Example:
            >>> ShareRise(current=0.75, usual=0.25, error=0.125).statistic(0.25)
            2.0
        """
        return max(self.current - self.usual - tolerance, 0.0) / self.error


def measure_share_rise(count: NDArray[np.float64], total: NDArray[np.float64]) -> ShareRise:
    """Return the rise of the share `count` / `total` on the last day, [D] each, oldest first.

    The last day and at least one day before it must have a total. The standard error includes the variation of the days
    before, at least a quarter of the prior.
    """
    past = np.flatnonzero(total[:-1] > 0)[-MAX_PAST_DAYS:]
    usual, current = count[past].sum() / total[past].sum(), count[-1] / total[-1]
    pooled = (count[past].sum() + count[-1] + 1) / (total[past].sum() + total[-1] + 2)
    binomial_variance = pooled * (1 - pooled)
    scatter = np.sum((count[past] / total[past] - usual) ** 2 - binomial_variance / total[past])
    day_variance = max(
        (PRIOR_WEIGHT_DAYS * PRIOR_SHARE_SD**2 + scatter) / (PRIOR_WEIGHT_DAYS + len(past)), 0.25 * PRIOR_SHARE_SD**2
    )
    error = math.sqrt(binomial_variance * (1 / total[-1] + 1 / total[past].sum()) + day_variance * (1 + 1 / len(past)))
    return ShareRise(float(current), float(usual), error)


def usual_for_weekday(values: Mapping[int, float], day: int) -> float | None:
    """Return the median of the same weekday in the four weeks before `day`, or None without such a day.

    Example:
        >>> usual_for_weekday({3: 90.0, 10: 100.0, 16: 400.0}, 17)
        95.0
    """
    same_weekday = [values[day - 7 * week] for week in range(1, WEEKS + 1) if day - 7 * week in values]
    return float(np.median(same_weekday)) if same_weekday else None


def count_noise(expected: float, sigmas: float) -> float:
    """Return the random variation of a count: `sigmas` times the standard deviation of a Poisson count."""
    return sigmas * math.sqrt(max(expected, 1.0))
