"""Actual ÷ predicted, day by day: what is kept of the orders to watch it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MAX_LOG_RATIO = float(np.log(2.0))
"""Ratios beyond twice and half weigh no more. Clips between 0.5 and 1.5 made little difference (docs/monitoring.md)."""


@dataclass(frozen=True, slots=True)
class DailyRatios:
    """What is kept of the orders of S parts on D days: [S, D] each. Memory doesn't grow with orders."""

    orders: NDArray[np.float64]
    sum_log_ratio: NDArray[np.float64]
    """Sum of clipped log ratios."""
    sum_squared_log_ratio: NDArray[np.float64]
    unclipped_orders: NDArray[np.float64]
    """Orders that were not clipped."""

    @classmethod
    def from_orders(
        cls,
        group: NDArray[np.integer],
        day: NDArray[np.integer],
        shape: tuple[int, int],
        log_ratio: NDArray[np.float64],
        is_unclipped: NDArray[np.bool_] | None = None,
    ) -> DailyRatios:
        """Of N orders: each one's part and day, below the (S, D) of `shape`, and clipped log ratio.

        `inside` says which were not clipped, where that cannot be seen from the values.
        """
        cell = np.asarray(group, np.int64) * shape[1] + day
        unclipped = np.abs(log_ratio) < MAX_LOG_RATIO if is_unclipped is None else is_unclipped

        def summed(values: NDArray[np.float64]) -> NDArray[np.float64]:
            sums = np.bincount(cell, weights=values, minlength=shape[0] * shape[1])
            return sums.astype(np.float64).reshape(shape)

        return cls(
            summed(np.ones(len(log_ratio))),
            summed(log_ratio),
            summed(log_ratio**2),
            summed(unclipped.astype(np.float64)),
        )

    def ratio(self) -> NDArray[np.float64]:
        """[S, D] typical actual ÷ predicted, NaN without an order: one step from 1 to Huber's estimate of location."""
        ratio: NDArray[np.float64] = np.exp(location(self.sum_log_ratio, self.unclipped_orders))
        return ratio


def clipped_log_ratio(actual: NDArray[np.floating], predicted: NDArray[np.floating]) -> NDArray[np.float64]:
    """[N] log of actual ÷ predicted seconds, clipped; both count as a second at least."""
    ratio = np.maximum(actual, 1.0).astype(np.float64) / np.maximum(predicted, 1.0)
    clipped: NDArray[np.float64] = np.clip(np.log(ratio), -MAX_LOG_RATIO, MAX_LOG_RATIO)
    return clipped


def location(total: NDArray[np.float64], unclipped: NDArray[np.float64]) -> NDArray[np.float64]:
    """The location of log ratios from the sum of clipped ones; NaN where all are clipped or there are none."""
    estimate: NDArray[np.float64] = np.where(unclipped > 0, total / np.maximum(unclipped, 1.0), np.nan)
    return estimate
