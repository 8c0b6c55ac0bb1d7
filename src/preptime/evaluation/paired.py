"""The difference between the errors of two predictions of the same orders, paired by day.

Errors of the same day depend on each other: it rains for all of them. The standard error therefore treats each day as
one observation (a ratio estimator over clusters; Cochran, "Sampling Techniques", 1977, section 9A).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

SIGNIFICANCE_LEVEL = 0.05
"""The probability that equal predictions differ significantly by chance (one-sided)."""


class PairedDifference(msgspec.Struct, frozen=True):
    """The difference between the mean absolute errors of predictions and of a reference, in seconds."""

    reference: str
    """`champion`, `restaurant_lookup`, `global_median`, or `start` (the hyperparameters before a search)."""
    days: int
    orders: int
    mae: float
    reference_mae: float
    difference: float
    """`mae` minus `reference_mae`: below 0, the predictions are better."""
    standard_error: float | None
    """None for fewer than two days."""

    @property
    def is_better(self) -> bool:
        """Whether the error is significantly lower than that of the reference."""
        return -self.difference > self._margin()

    @property
    def is_worse(self) -> bool:
        """Whether the error is significantly higher than that of the reference."""
        return self.difference > self._margin()

    def _margin(self) -> float:
        if self.standard_error is None:
            return math.inf
        from scipy.stats import t

        return float(t.ppf(1 - SIGNIFICANCE_LEVEL, self.days - 1)) * self.standard_error


def paired_difference(
    reference: str, errors: NDArray[np.floating], reference_errors: NDArray[np.floating], day: NDArray[np.int64]
) -> PairedDifference | None:
    """Return the difference of absolute errors [N], in seconds, of the same orders. None without orders.

    `day` [N] has the day of each order.

    Example:
        >>> one, two = np.array([1.0, 2.0, 3.0]), np.array([3.0, 3.0, 6.0])
        >>> difference = paired_difference("champion", one, two, np.array([1, 1, 2]))
        >>> difference.difference, difference.days, round(difference.standard_error, 3)
        (-2.0, 2, 0.667)
    """
    if not len(errors):
        return None
    differences = errors.astype(np.float64) - reference_errors
    mean = float(differences.mean())
    _, day_index, orders_by_day = np.unique(day, return_inverse=True, return_counts=True)
    days = len(orders_by_day)
    standard_error = _standard_error(np.bincount(day_index, differences).astype(np.float64), orders_by_day, mean)
    return PairedDifference(
        reference, days, len(differences), float(errors.mean()), float(reference_errors.mean()), mean, standard_error
    )


def paired_difference_of_days(
    reference: str, errors: Sequence[float], reference_errors: Sequence[float], orders: Sequence[int]
) -> PairedDifference:
    """Return the same difference from the sums of the errors of each day [days], in seconds.

    `orders` [days] has the number of orders of each day, with at least one.

    Example:
        >>> paired_difference_of_days("start", [3.0, 3.0], [6.0, 6.0], [2, 1]).difference
        -2.0
    """
    sums, reference_sums, orders_by_day = np.array(errors), np.array(reference_errors), np.array(orders)
    total = int(orders_by_day.sum())
    mae, reference_mae = float(sums.sum()) / total, float(reference_sums.sum()) / total
    mean = mae - reference_mae
    standard_error = _standard_error(sums - reference_sums, orders_by_day, mean)
    return PairedDifference(reference, len(orders_by_day), total, mae, reference_mae, mean, standard_error)


def _standard_error(differences: NDArray[np.float64], orders: NDArray[np.int64], mean: float) -> float | None:
    """Return the standard error of a mean difference from the sums of the differences of each day, [days]."""
    days = len(orders)
    if days < 2:
        return None
    residuals = differences - mean * orders
    return math.sqrt(days / (days - 1) * float(np.sum(residuals**2))) / int(orders.sum())
