"""The figures of docs/metrics.md for many groups of orders at once: every order is looked at once, then groups add up.

The tests hold them to `preptime.evaluation.metrics`, group by group.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from preptime.domain.prediction import QUANTILE_LEVELS
from preptime.evaluation.documents import QuantileScore, Segment
from preptime.evaluation.metrics import FIVE_MINUTES_SECONDS
from preptime.evaluation.segments import DIMENSIONS
from preptime.monitoring.document import PredictionMetrics
from preptime.monitoring.joined import JoinedOrders


@dataclass(frozen=True)
class OrderMetrics:
    """What each of M evaluated orders adds to its group's figures."""

    rows: NDArray[np.intp]
    """Positions among the joined orders."""
    columns: dict[str, NDArray[np.float64]]
    """[M] by name. A figure that an order doesn't have (no interval was told, no lookup is known) adds nothing to it,
    and nothing to its count."""

    @classmethod
    def from_joined(cls, joined: JoinedOrders) -> OrderMetrics:
        """The evaluated orders."""
        rows = np.flatnonzero(joined.evaluated)
        actual, quantiles, lookup = joined.actual[rows], joined.quantiles[rows], joined.lookup[rows]
        error: NDArray[np.float64] = joined.predicted[rows] - actual
        has_interval = ~np.isnan(quantiles).any(axis=1)
        has_lookup = ~np.isnan(lookup)
        in_interval = has_interval & (quantiles[:, 0] <= actual) & (actual <= quantiles[:, -1])
        columns: dict[str, NDArray[np.float64]] = {
            "n": np.ones(len(rows)),
            "mae": np.abs(error),
            "bias": error,
            "within_5_min": _as_counts(np.abs(error) <= FIVE_MINUTES_SECONDS),
            "has_interval": _as_counts(has_interval),
            "in_interval": _as_counts(in_interval),
            "has_lookup": _as_counts(has_lookup),
            "lookup_error": np.where(has_lookup, np.abs(lookup - actual), 0.0),
        }
        for index, p in enumerate(QUANTILE_LEVELS):
            residual = actual - quantiles[:, index]
            columns[f"under {p}"] = _as_counts(has_interval & (residual <= 0))
            columns[f"pinball {p}"] = np.where(has_interval, np.maximum(p * residual, (p - 1.0) * residual), 0.0)
        return cls(rows, columns)

    def group_by(self, group: NDArray[np.integer], n_groups: int) -> GroupMetrics:
        """Added up: `group` is each joined order's, from 0 to `groups` - 1; below 0 it is left out."""
        row_groups = np.asarray(group)[self.rows]
        kept = row_groups >= 0
        return GroupMetrics(
            {
                name: np.bincount(row_groups[kept], weights=values[kept], minlength=n_groups).astype(np.float64)
                for name, values in self.columns.items()
            }
        )

    def total(self, rows: NDArray[np.bool_]) -> PredictionMetrics:
        """The figures of the joined orders under a mask."""
        return self.group_by(np.where(rows, 0, -1), 1).metrics(0)


def _as_counts(rows: NDArray[np.bool_] | np.bool_) -> NDArray[np.float64]:
    return np.asarray(rows, np.float64)


@dataclass(frozen=True, slots=True)
class GroupMetrics:
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
                p=p,
                coverage=self.mean(f"under {p}", group, "has_interval"),
                pinball=self.mean(f"pinball {p}", group, "has_interval"),
            )
            for p in QUANTILE_LEVELS
        )

    def metrics(self, group: int) -> PredictionMetrics:
        """All of a group's."""
        return PredictionMetrics(
            n=self.count(group),
            mae=self.mean("mae", group),
            bias=self.mean("bias", group),
            within_5_min=self.mean("within_5_min", group),
            coverage=self.mean("in_interval", group, "has_interval"),
            lookup_mae=self.mean("lookup_error", group, "has_lookup"),
            lookup_n=self.count(group, "has_lookup"),
            quantiles=self.quantiles(group),
        )


def segment_metrics(joined: JoinedOrders, order_metrics: OrderMetrics, rows: NDArray[np.bool_]) -> tuple[Segment, ...]:
    """Every cut of the evaluated orders under a mask; segments without an order are left out."""
    results = []
    for definition in DIMENSIONS:
        segmentation = definition.split(joined.segment_columns)
        grouped = order_metrics.group_by(np.where(rows, segmentation.codes, -1), len(segmentation.values))
        for code, value in enumerate(segmentation.values):
            if n := grouped.count(code):
                all_have_lookup = grouped.count(code, "has_lookup") == n
                results.append(
                    Segment(
                        segment=definition.name,
                        value=value,
                        n=n,
                        mae=grouped.mean("mae", code),
                        bias=grouped.mean("bias", code),
                        within_5_min=grouped.mean("within_5_min", code),
                        coverage=grouped.mean("in_interval", code, "has_interval"),
                        lookup_mae=grouped.mean("lookup_error", code) if all_have_lookup else None,
                        quantiles=grouped.quantiles(code),
                    )
                )
    return tuple(results)
