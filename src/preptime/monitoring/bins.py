"""Distributions as shares of bins, day by day: what drift compares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

MOST_BINS = 10
"""Deciles of the reference; of categories the nine most frequent and the rest."""

Named: TypeAlias = tuple[str, float | None, float | None]
"""A bin: what it is called, and where it begins and ends, None where it has no end."""


@dataclass(frozen=True, slots=True)
class Binned:
    """Days of values, counted in bins of their own."""

    edges: NDArray[np.float64] | None
    """Of numbers, where one bin ends and the next begins; None for categories."""
    table: NDArray[np.intp] | None
    """Of categories, the bin of each code; the last place serves the unknown, which is -1."""
    names: tuple[Named, ...]
    shares: NDArray[np.float64]
    """[days, bins]"""
    median: float

    @classmethod
    def of(cls, days: Sequence[NDArray[np.floating]], words: tuple[str, ...] | None = None) -> Binned:
        """Deciles of all the days together; of codes of `words` the most frequent and the rest."""
        together = np.concatenate(days)
        if words is None:
            edges = np.unique(np.quantile(together, np.linspace(0, 1, MOST_BINS + 1)[1:-1])).astype(np.float64)
            blank = cls(edges, None, _ranges(edges), np.empty((0, len(edges) + 1)), float(np.median(together)))
        else:
            table, names = _categories(together, words)
            blank = cls(None, table, names, np.empty((0, len(names))), float(np.median(together)))
        return cls(blank.edges, blank.table, blank.names, blank.shares_of(days), blank.median)

    def shares_of(self, days: Sequence[NDArray[np.floating]]) -> NDArray[np.float64]:
        """[days, bins] of other days, in these bins."""
        placed = (self._places(one) for one in days)
        return np.array([np.bincount(one, minlength=len(self.names)) / max(len(one), 1) for one in placed])

    def _places(self, values: NDArray[np.floating]) -> NDArray[np.intp]:
        if self.table is not None:
            return self.table[values.astype(np.intp)]
        return np.searchsorted(np.empty(0) if self.edges is None else self.edges, values, side="right")


def range_name(low: float | None, high: float | None) -> str:
    """A range of numbers for people."""
    if low is None:
        return "all" if high is None else f"under {high:.4g}"
    return f"{low:.4g} or more" if high is None else f"{low:.4g} to {high:.4g}"


def _ranges(edges: NDArray[np.float64]) -> tuple[Named, ...]:
    ends = [None, *(float(edge) for edge in edges), None]
    return tuple((range_name(low, high), low, high) for low, high in pairwise(ends))


def _categories(codes: NDArray[np.floating], words: tuple[str, ...]) -> tuple[NDArray[np.intp], tuple[Named, ...]]:
    """Where each code is counted (the last place serves the unknown, which is -1), and the names of the bins."""
    counts = np.bincount(np.where(codes < 0, len(words), codes).astype(np.intp), minlength=len(words) + 1)
    most = sorted(np.argsort(-counts[:-1], kind="stable")[: MOST_BINS - 1].tolist())
    rest = len(most)
    table = np.full(len(words) + 1, rest, np.intp)
    table[most] = np.arange(rest)
    return table, (*((words[code], None, None) for code in most), ("all others", None, None))
