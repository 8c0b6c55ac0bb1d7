"""The figures of docs/metrics.md for many groups of orders at once: every order is looked at once, then groups add up.

The tests hold them to `preptime.evaluation.metrics`, group by group.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from preptime.domain.prediction import LEVELS
from preptime.evaluation.documents import QuantileScore, Segment
from preptime.evaluation.metrics import FIVE_MINUTES_SECONDS
from preptime.evaluation.segments import SEGMENTS
from preptime.monitoring.document import Figures
from preptime.monitoring.joined import Joined


@dataclass(frozen=True)
class Tallied:
    """What each of M evaluated orders adds to its group's figures."""

    rows: NDArray[np.intp]
    """Positions among the joined orders."""
    columns: dict[str, NDArray[np.float64]]
    """[M] by name. A figure that an order doesn't have (no interval was told, no lookup is known) adds nothing to it,
    and nothing to its count."""

    @classmethod
    def of(cls, joined: Joined) -> Tallied:
        """The evaluated orders."""
        rows = np.flatnonzero(joined.evaluated)
        actual, quantiles, lookup = joined.actual[rows], joined.quantiles[rows], joined.lookup[rows]
        error: NDArray[np.float64] = joined.predicted[rows] - actual
        told = ~np.isnan(quantiles).any(axis=1)
        known = ~np.isnan(lookup)
        inside = told & (quantiles[:, 0] <= actual) & (actual <= quantiles[:, -1])
        columns: dict[str, NDArray[np.float64]] = {
            "n": np.ones(len(rows)),
            "mae": np.abs(error),
            "bias": error,
            "within": _counted(np.abs(error) <= FIVE_MINUTES_SECONDS),
            "told": _counted(told),
            "inside": _counted(inside),
            "known": _counted(known),
            "lookup": np.where(known, np.abs(lookup - actual), 0.0),
        }
        for place, p in enumerate(LEVELS):
            missing = actual - quantiles[:, place]
            columns[f"under {p}"] = _counted(told & (missing <= 0))
            columns[f"pinball {p}"] = np.where(told, np.maximum(p * missing, (p - 1.0) * missing), 0.0)
        return cls(rows, columns)

    def by(self, group: NDArray[np.integer], groups: int) -> Grouped:
        """Added up: `group` is each joined order's, from 0 to `groups` - 1; below 0 it is left out."""
        mine = np.asarray(group)[self.rows]
        kept = mine >= 0
        return Grouped(
            {
                name: np.bincount(mine[kept], weights=values[kept], minlength=groups).astype(np.float64)
                for name, values in self.columns.items()
            }
        )

    def whole(self, rows: NDArray[np.bool_]) -> Figures:
        """The figures of the joined orders under a mask."""
        return self.by(np.where(rows, 0, -1), 1).figures(0)


def _counted(rows: NDArray[np.bool_] | np.bool_) -> NDArray[np.float64]:
    return np.asarray(rows, np.float64)


@dataclass(frozen=True, slots=True)
class Grouped:
    """Sums by group."""

    sums: dict[str, NDArray[np.float64]]

    def mean(self, name: str, group: int, count: str = "n") -> float | None:
        """The sum of a column over its count; nothing of nothing."""
        n = self.sums[count][group]
        return float(self.sums[name][group] / n) if n else None

    def count(self, group: int, name: str = "n") -> int:
        """How many orders."""
        return int(self.sums[name][group])

    def quantiles(self, group: int) -> tuple[QuantileScore, ...]:
        """Share at or under, and pinball loss, of each quantile."""
        return tuple(
            QuantileScore(
                p=p, coverage=self.mean(f"under {p}", group, "told"), pinball=self.mean(f"pinball {p}", group, "told")
            )
            for p in LEVELS
        )

    def figures(self, group: int) -> Figures:
        """All of a group's."""
        return Figures(
            n=self.count(group),
            mae=self.mean("mae", group),
            bias=self.mean("bias", group),
            within_5_min=self.mean("within", group),
            coverage=self.mean("inside", group, "told"),
            lookup_mae=self.mean("lookup", group, "known"),
            lookup_n=self.count(group, "known"),
            quantiles=self.quantiles(group),
        )


def segments(joined: Joined, tallied: Tallied, rows: NDArray[np.bool_]) -> tuple[Segment, ...]:
    """Every cut of the evaluated orders under a mask; segments without an order are left out."""
    found = []
    for definition in SEGMENTS:
        cut = definition.cut(joined.columns)
        grouped = tallied.by(np.where(rows, cut.codes, -1), len(cut.values))
        for place, value in enumerate(cut.values):
            if n := grouped.count(place):
                whole = grouped.count(place, "known") == n
                found.append(
                    Segment(
                        segment=definition.name,
                        value=value,
                        n=n,
                        mae=grouped.mean("mae", place),
                        bias=grouped.mean("bias", place),
                        within_5_min=grouped.mean("within", place),
                        coverage=grouped.mean("inside", place, "told"),
                        lookup_mae=grouped.mean("lookup", place) if whole else None,
                        quantiles=grouped.quantiles(place),
                    )
                )
    return tuple(found)
