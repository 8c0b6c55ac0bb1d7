"""Durations counted by the second, for each of some groups: medians of any number of rows in bounded memory."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MAX_SECONDS = 6 * 3600
"""What takes longer is counted as this: no median of predictions lies there."""


class DurationHistogram:
    """Counts and sums of seconds. Memory does not grow with rows."""

    def __init__(self, groups: int) -> None:
        self._groups = groups
        self._counts = np.zeros((groups, MAX_SECONDS + 1), np.int64)
        self._sums = np.zeros(groups)

    def add(self, group: NDArray[np.int64], seconds: NDArray[np.float32]) -> None:
        """Count `seconds` [N], each in its `group` [N]."""
        whole_seconds = np.clip(np.rint(seconds), 0, MAX_SECONDS).astype(np.int64)
        cells = group * (MAX_SECONDS + 1) + whole_seconds
        self._counts += np.bincount(cells, minlength=self._counts.size).reshape(self._counts.shape)
        self._sums += np.bincount(group, weights=seconds.astype(np.float64), minlength=self._groups)

    def counts(self) -> NDArray[np.int64]:
        """[groups] how many were counted."""
        total: NDArray[np.int64] = self._counts.sum(axis=1)
        return total

    def medians(self) -> NDArray[np.float64]:
        """[groups] seconds, to the second (the lower of two in the middle); NaN for a group without any."""
        cumulative = np.cumsum(self._counts, axis=1)
        middle = (cumulative[:, -1:] + 1) // 2
        medians: NDArray[np.float64] = np.argmax(cumulative >= middle, axis=1).astype(np.float64)
        medians[cumulative[:, -1] == 0] = np.nan
        return medians

    def means(self) -> NDArray[np.float64]:
        """[groups] seconds; NaN for a group without any."""
        counts = self.counts()
        means = np.full(self._groups, np.nan)
        np.divide(self._sums, counts, out=means, where=counts > 0)
        return means

    def bars(self, group: int, width_seconds: int, bar_count: int) -> NDArray[np.int64]:
        """[bars] how many of a group fall into each `width_seconds`; the last takes all beyond."""
        starts = np.arange(bar_count) * width_seconds
        bar_counts: NDArray[np.int64] = np.add.reduceat(self._counts[group], starts)
        return bar_counts
