"""The difference between the errors of two predictions of the same orders, paired by day.

Errors of the same day depend on each other: it rains for all of them. The standard error therefore treats each day as
one observation: the delete-one-day jackknife of a ratio (Wolter, "Introduction to Variance Estimation", chapter 4).
Days have different numbers of orders. If one day has nearly all of them, the data is that of one day, so the degrees of
freedom are those of Kish's effective number of days ("Survey Sampling", 1965). docs/metrics.md has the formulas.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

SIGNIFICANCE_LEVEL = 0.05
"""The probability that equal predictions differ significantly by chance (one-sided)."""
MIN_EFFECTIVE_DAYS = 1.5
"""With fewer, the differences between days can't be estimated, so no error is significantly lower."""


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
    effective_days: float | None = None
    """The number of days with equal numbers of orders that say as much. None in documents of earlier releases."""
    order_standard_error: float | None = None
    """The standard error if orders were independent. None for one order, or if only the sums of days are known."""

    @property
    def counted_days(self) -> float:
        """The effective number of days, or the number of days if it isn't known."""
        return float(self.days) if self.effective_days is None else self.effective_days

    @property
    def has_enough_days(self) -> bool:
        """Whether the days are enough for a significant difference."""
        return self.standard_error is not None and self.counted_days >= MIN_EFFECTIVE_DAYS

    @property
    def day_limit(self) -> float:
        """The difference, in seconds, above which an error is significantly lower or higher, from at least two days."""
        return self._margin(self.standard_error, self.counted_days)

    @property
    def is_better(self) -> bool:
        """Whether the error is significantly lower than that of the reference."""
        return self.has_enough_days and -self.difference > self.day_limit

    @property
    def is_worse(self) -> bool:
        """Whether the error is significantly higher than that of the reference.

        With too few days, orders count as independent, so that a much higher error isn't accepted for lack of days.
        """
        if self.has_enough_days:
            return self.difference > self.day_limit
        return self.difference > self._margin(self.order_standard_error, self.orders)

    @property
    def uncertainty(self) -> str:
        """The standard error and the limit, as text. With too few days, the standard error over orders."""
        if self.has_enough_days:
            return f"standard error {self.standard_error:.1f} s, significant from {self.day_limit:.1f} s"
        days = "one day" if self.days == 1 else f"{self.counted_days:.1f} effective days"
        over_orders = "" if self.order_standard_error is None else f", over orders {self.order_standard_error:.1f} s"
        return f"no standard error for {days}{over_orders}"

    @staticmethod
    def _margin(standard_error: float | None, observations: float) -> float:
        if standard_error is None:
            return math.inf
        from scipy.stats import t

        return float(t.ppf(1 - SIGNIFICANCE_LEVEL, observations - 1)) * standard_error


def paired_difference(
    reference: str, errors: NDArray[np.floating], reference_errors: NDArray[np.floating], day: NDArray[np.int64]
) -> PairedDifference | None:
    """Return the difference of absolute errors [N], in seconds, of the same orders. None without orders.

    `day` [N] has the day of each order.

    Example:
        >>> one, two = np.array([1.0, 2.0, 3.0]), np.array([3.0, 3.0, 6.0])
        >>> difference = paired_difference("champion", one, two, np.array([1, 1, 2]))
        >>> difference.difference, difference.days, difference.standard_error, difference.effective_days
        (-2.0, 2, 0.7905694150420949, 1.8)
    """
    if not len(errors):
        return None
    _, day_index, orders = np.unique(day, return_inverse=True, return_counts=True)
    sums, reference_sums = (np.bincount(day_index, values).tolist() for values in (errors, reference_errors))
    found = paired_difference_of_days(reference, sums, reference_sums, orders.tolist())
    if len(errors) == 1:
        return found
    differences = errors.astype(np.float64) - reference_errors
    order_error = float(differences.std(ddof=1)) / math.sqrt(len(differences))
    return msgspec.structs.replace(found, order_standard_error=order_error)


def paired_difference_of_days(
    reference: str, errors: Sequence[float], reference_errors: Sequence[float], orders: Sequence[int]
) -> PairedDifference:
    """Return the same difference from the sums of the errors of each day [days], in seconds.

    `orders` [days] has the number of orders of each day, with at least one.

    Example:
        >>> paired_difference_of_days("start", [3.0, 3.0], [6.0, 6.0], [2, 1]).difference
        -2.0
    """
    sums, reference_sums, orders_by_day = np.array(errors), np.array(reference_errors), np.array(orders, np.float64)
    total = float(orders_by_day.sum())
    mae, reference_mae = float(sums.sum()) / total, float(reference_sums.sum()) / total
    return PairedDifference(
        reference,
        len(orders_by_day),
        int(total),
        mae,
        reference_mae,
        mae - reference_mae,
        _standard_error(sums - reference_sums, orders_by_day),
        total**2 / float(np.sum(orders_by_day**2)),
    )


def _standard_error(differences: NDArray[np.float64], orders: NDArray[np.float64]) -> float | None:
    """Return the jackknife standard error of a mean difference from the sums of the differences of each day, [days]."""
    days = len(orders)
    if days < 2:
        return None
    total, orders_total = float(differences.sum()), float(orders.sum())
    without_day = (total - differences) / (orders_total - orders)
    deviations = without_day - total / orders_total
    return math.sqrt((days - 1) / days * float(np.sum(deviations**2)))
