"""Distributions as shares of bins, day by day: what drift compares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

MAX_BINS = 10
"""Deciles of the reference; of categories the nine most frequent and the rest."""

BinLabel: TypeAlias = tuple[str, float | None, float | None]
"""A bin: what it is called, and where it begins and ends, None where it has no end."""


@dataclass(frozen=True, slots=True)
class BinnedDays:
    """Days of values, counted in bins of their own."""

    edges: NDArray[np.float64] | None
    """Of numbers, where one bin ends and the next begins; None for categories."""
    bin_of_code: NDArray[np.intp] | None
    """Of categories, the bin of each code; the last place serves the unknown, which is -1."""
    labels: tuple[BinLabel, ...]
    shares: NDArray[np.float64]
    """[days, bins]"""
    median: float

    @classmethod
    def from_days(cls, days: Sequence[NDArray[np.floating]], categories: tuple[str, ...] | None = None) -> BinnedDays:
        """Deciles of all the days together; of codes of `words` the most frequent and the rest."""
        all_values = np.concatenate(days)
        if categories is None:
            edges = np.unique(np.quantile(all_values, np.linspace(0, 1, MAX_BINS + 1)[1:-1])).astype(np.float64)
            empty = cls(edges, None, _range_labels(edges), np.empty((0, len(edges) + 1)), float(np.median(all_values)))
        else:
            bin_of_code, labels = _category_bins(all_values, categories)
            empty = cls(None, bin_of_code, labels, np.empty((0, len(labels))), float(np.median(all_values)))
        return cls(empty.edges, empty.bin_of_code, empty.labels, empty.shares_of(days), empty.median)

    def shares_of(self, days: Sequence[NDArray[np.floating]]) -> NDArray[np.float64]:
        """[days, bins] of other days, in these bins."""
        bin_indices = (self._bin_indices(values) for values in days)
        return np.array(
            [np.bincount(values, minlength=len(self.labels)) / max(len(values), 1) for values in bin_indices]
        )

    def _bin_indices(self, values: NDArray[np.floating]) -> NDArray[np.intp]:
        if self.bin_of_code is not None:
            return self.bin_of_code[values.astype(np.intp)]
        return np.searchsorted(np.empty(0) if self.edges is None else self.edges, values, side="right")


def range_label(low: float | None, high: float | None) -> str:
    """A range of numbers for people."""
    if low is None:
        return "all" if high is None else f"under {high:.4g}"
    return f"{low:.4g} or more" if high is None else f"{low:.4g} to {high:.4g}"


def _range_labels(edges: NDArray[np.float64]) -> tuple[BinLabel, ...]:
    ends = [None, *(float(edge) for edge in edges), None]
    return tuple((range_label(low, high), low, high) for low, high in pairwise(ends))


def _category_bins(
    codes: NDArray[np.floating], categories: tuple[str, ...]
) -> tuple[NDArray[np.intp], tuple[BinLabel, ...]]:
    """Where each code is counted (the last place serves the unknown, which is -1), and the names of the bins."""
    counts = np.bincount(np.where(codes < 0, len(categories), codes).astype(np.intp), minlength=len(categories) + 1)
    most_frequent = sorted(np.argsort(-counts[:-1], kind="stable")[: MAX_BINS - 1].tolist())
    other_bin = len(most_frequent)
    bin_of_code = np.full(len(categories) + 1, other_bin, np.intp)
    bin_of_code[most_frequent] = np.arange(other_bin)
    return bin_of_code, (*((categories[code], None, None) for code in most_frequent), ("all others", None, None))
