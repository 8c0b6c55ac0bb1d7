"""Actual ÷ predicted, day by day: what is kept of the orders to watch it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CLIP = float(np.log(2.0))
"""Ratios beyond twice and half weigh no more. Clips between 0.5 and 1.5 made little difference (docs/monitoring.md)."""


@dataclass(frozen=True, slots=True)
class Daily:
    """What is kept of the orders of S parts on D days: [S, D] each. Memory doesn't grow with orders."""

    orders: NDArray[np.float64]
    total: NDArray[np.float64]
    """Sum of clipped log ratios."""
    squares: NDArray[np.float64]
    inside: NDArray[np.float64]
    """Orders that were not clipped."""

    @classmethod
    def of(
        cls,
        part: NDArray[np.integer],
        day: NDArray[np.integer],
        shape: tuple[int, int],
        clipped: NDArray[np.float64],
        inside: NDArray[np.bool_] | None = None,
    ) -> Daily:
        """Of N orders: each one's part and day, below the (S, D) of `shape`, and clipped log ratio.

        `inside` says which were not clipped, where that cannot be seen from the values.
        """
        place = np.asarray(part, np.int64) * shape[1] + day
        unclipped = np.abs(clipped) < CLIP if inside is None else inside

        def summed(values: NDArray[np.float64]) -> NDArray[np.float64]:
            sums = np.bincount(place, weights=values, minlength=shape[0] * shape[1])
            return sums.astype(np.float64).reshape(shape)

        return cls(
            summed(np.ones(len(clipped))), summed(clipped), summed(clipped**2), summed(unclipped.astype(np.float64))
        )

    def ratio(self) -> NDArray[np.float64]:
        """[S, D] typical actual ÷ predicted, NaN without an order: one step from 1 to Huber's estimate of location."""
        ratio: NDArray[np.float64] = np.exp(level(self.total, self.inside))
        return ratio


def clipped_log_ratio(actual: NDArray[np.floating], predicted: NDArray[np.floating]) -> NDArray[np.float64]:
    """[N] log of actual ÷ predicted seconds, clipped; both count as a second at least."""
    ratio = np.maximum(actual, 1.0).astype(np.float64) / np.maximum(predicted, 1.0)
    clipped: NDArray[np.float64] = np.clip(np.log(ratio), -CLIP, CLIP)
    return clipped


def level(total: NDArray[np.float64], inside: NDArray[np.float64]) -> NDArray[np.float64]:
    """The location of log ratios from the sum of clipped ones; NaN where all are clipped or there are none."""
    level: NDArray[np.float64] = np.where(inside > 0, total / np.maximum(inside, 1.0), np.nan)
    return level
