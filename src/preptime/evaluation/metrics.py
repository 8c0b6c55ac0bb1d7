"""What "good" means: each metric knows its name, unit, meaning and best value, so no caller writes `<` or `>`.

All arrays are seconds, float64 inside, one entry per order. A metric of no orders, and R² of labels that are all the
same, has no value: `None` here, `null` in JSON, never a convenient 0 or 1.

From arrays to documents: a table's row, the interval, the quantiles, and what got worse.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from preptime.domain.orders import QUANTILE_LEVELS
from preptime.errors import OperationError
from preptime.evaluation.documents import Interval, QuantileScore, Score, Segment, SegmentRegression

Seconds: TypeAlias = NDArray[np.floating] | NDArray[np.integer]
"""Seconds [N], any numeric type."""

FIVE_MINUTES_SECONDS = 300.0
"""The error a courier can absorb: the share of answers within it is the figure people ask for first."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure with a direction: the closer to `best`, the better."""

    name: str
    unit: str
    description: str
    best: float

    def loss(self, value: float | None) -> float:
        """Distance to the best value, in the metric's unit; infinite where there is no value."""
        return np.inf if value is None or np.isnan(value) else abs(value - self.best)

    def is_better(self, a: float | None, b: float | None) -> bool:
        """Whether `a` is strictly better than `b`. No value is never better; any value beats no value."""
        return self.loss(a) < self.loss(b)

    def is_worse_by(self, a: float | None, b: float | None, share: float) -> bool:
        """Whether `a`'s loss is more than `share` (0.05 = 5 %) above `b`'s. No value is worse than any value."""
        return self.loss(a) > self.loss(b) * (1.0 + share)


@dataclass(frozen=True, slots=True)
class PointMetric(Metric):
    """A metric of answers that are one number per order."""

    compute: Callable[[NDArray[np.float64], NDArray[np.float64]], float]
    """From actual and predicted, at least one order; NaN says "no value"."""

    def __call__(self, actual: Seconds, predicted: Seconds) -> float | None:
        """The value, or None. Raises OperationError where the two don't match or hold a NaN."""
        return _compute_or_none(self.compute, *_as_float64(actual=actual, predicted=predicted))


@dataclass(frozen=True, slots=True)
class QuantileMetric(Metric):
    """A metric of one predicted quantile: the `p` of the labels that should be at or under it."""

    p: float
    compute: Callable[[NDArray[np.float64], NDArray[np.float64]], float]

    def __call__(self, actual: Seconds, quantile: Seconds) -> float | None:
        """The value, or None. Raises OperationError where the two don't match or hold a NaN."""
        return _compute_or_none(self.compute, *_as_float64(actual=actual, quantile=quantile))


@dataclass(frozen=True, slots=True)
class IntervalMetric(Metric):
    """A metric of a predicted interval, both ends included."""

    compute: Callable[[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]], float]

    def __call__(self, actual: Seconds, low: Seconds, high: Seconds) -> float | None:
        """The value, or None. Raises OperationError where the three don't match or hold a NaN."""
        return _compute_or_none(self.compute, *_as_float64(actual=actual, low=low, high=high))


def pinball(p: float) -> QuantileMetric:
    """The pinball loss of quantile `p` (Koenker and Bassett 1978): its expectation is least at the true quantile."""

    def compute(actual: NDArray[np.float64], quantile: NDArray[np.float64]) -> float:
        residual = actual - quantile
        return float(np.mean(np.maximum(p * residual, (p - 1.0) * residual)))

    return QuantileMetric(
        "pinball", "s", "mean pinball loss of a quantile: seconds late and early, weighted", 0.0, p, compute
    )


def quantile_coverage(p: float) -> QuantileMetric:
    """The share of labels at or under the predicted quantile: `p` when it is calibrated."""

    def compute(actual: NDArray[np.float64], quantile: NDArray[np.float64]) -> float:
        return float(np.mean(actual <= quantile))

    return QuantileMetric("quantile_coverage", "share", "labels at or under the predicted quantile", p, p, compute)


def interval_coverage(level: float) -> IntervalMetric:
    """The share of labels inside the interval: `level` when it is calibrated. More is not better."""

    def compute(actual: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64]) -> float:
        return float(np.mean((low <= actual) & (actual <= high)))

    return IntervalMetric("coverage", "share", "labels inside the p10–p90 interval, ends included", level, compute)


def _compute_or_none(compute: Callable[..., float], *columns: NDArray[np.float64]) -> float | None:
    if len(columns[0]) == 0:
        return None
    value = compute(*columns)
    return None if np.isnan(value) else value


def _as_float64(**columns: Seconds) -> tuple[NDArray[np.float64], ...]:
    shapes = {name: column.shape for name, column in columns.items()}
    if len(set(shapes.values())) != 1 or any(len(shape) != 1 for shape in shapes.values()):
        raise OperationError(f"The columns of a metric don't match: {shapes}.", "Give one entry per order in each.")
    converted = {name: np.asarray(column, dtype=np.float64) for name, column in columns.items()}
    for name, column in converted.items():
        if not np.isfinite(column).all():
            bad = int((~np.isfinite(column)).sum())
            raise OperationError(
                f"{bad} of {len(column)} values in {name!r} are not finite.", "Every order needs an answer."
            )
    return tuple(converted.values())


def _mae(actual: NDArray[np.float64], predicted: NDArray[np.float64]) -> float:
    return float(np.mean(np.abs(predicted - actual)))


def _median_ae(actual: NDArray[np.float64], predicted: NDArray[np.float64]) -> float:
    return float(np.median(np.abs(predicted - actual)))


def _rmse(actual: NDArray[np.float64], predicted: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean((predicted - actual) ** 2)))


def _r2(actual: NDArray[np.float64], predicted: NDArray[np.float64]) -> float:
    if actual.min() == actual.max():
        return np.nan
    return float(1.0 - np.sum((actual - predicted) ** 2) / np.sum((actual - actual.mean()) ** 2))


def _bias(actual: NDArray[np.float64], predicted: NDArray[np.float64]) -> float:
    return float(np.mean(predicted - actual))


def _within_5_min(actual: NDArray[np.float64], predicted: NDArray[np.float64]) -> float:
    return float(np.mean(np.abs(predicted - actual) <= FIVE_MINUTES_SECONDS))


def _median_width(_actual: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64]) -> float:
    return float(np.median(high - low))


MAE = PointMetric("mae", "s", "mean absolute error", 0.0, _mae)
MEDIAN_AE = PointMetric("median_ae", "s", "half of the answers are closer than this", 0.0, _median_ae)
RMSE = PointMetric("rmse", "s", "root of the mean squared error; the long delays decide it", 0.0, _rmse)
R2 = PointMetric("r2", "1", "share of the labels' variance explained; no value when all labels are equal", 1.0, _r2)
BIAS = PointMetric("bias", "s", "mean of predicted minus actual; above 0 is too late", 0.0, _bias)
WITHIN_5_MIN = PointMetric("within_5_min", "share", "answers at most 300 s off, either way", 1.0, _within_5_min)
MEDIAN_WIDTH = IntervalMetric("median_width_seconds", "s", "median width of the p10–p90 interval", 0.0, _median_width)

POINT_METRICS = (MAE, MEDIAN_AE, RMSE, R2, BIAS, WITHIN_5_MIN)
"""What every row of the table of scores says, in its order."""


INTERVAL_LEVEL = round(QUANTILE_LEVELS[-1] - QUANTILE_LEVELS[0], 9)
"""What the widest interval promises: p10 to p90 hold 0.8 of the labels."""

COVERAGE_TOLERANCE = 0.05
"""D7: p10–p90 keeps its promise while it holds 75 to 85 % of the orders."""

COVERAGE_BAND = (INTERVAL_LEVEL - COVERAGE_TOLERANCE, INTERVAL_LEVEL + COVERAGE_TOLERANCE)
"""What the promotion gate accepts of the interval."""

REGRESSION_MIN_ORDERS = 200
"""D7: fewer orders than this say too little about a segment to refuse a promotion."""

REGRESSION_SHARE = 0.05
"""D7: how much worse (share of the champion's MAE) a segment may get."""


def compute_score(
    name: str,
    kind: Literal["model", "baseline"],
    labels: Literal["up_to_3h", "within_label_limit"],
    actual: Seconds,
    predicted: Seconds,
) -> Score:
    """One row of the table of scores, from labels and answers in seconds [N]."""
    return Score(
        name=name,
        kind=kind,
        labels=labels,
        n=len(actual),
        mae=MAE(actual, predicted),
        median_ae=MEDIAN_AE(actual, predicted),
        rmse=RMSE(actual, predicted),
        r2=R2(actual, predicted),
        bias=BIAS(actual, predicted),
        within_5_min=WITHIN_5_MIN(actual, predicted),
    )


def compute_interval(actual: Seconds, quantiles: NDArray[np.floating]) -> Interval:
    """How the interval p10–p90 did; `quantiles` is [N, 4] seconds in the order of `QUANTILE_LEVELS`."""
    low, high = quantiles[:, 0], quantiles[:, -1]
    return Interval(
        level=INTERVAL_LEVEL,
        coverage=interval_coverage(INTERVAL_LEVEL)(actual, low, high),
        median_width_seconds=MEDIAN_WIDTH(actual, low, high),
    )


def coverage_in_band(coverage: float | None) -> bool:
    """Whether p10–p90, holding `coverage` of the orders, is within the tolerance; no value keeps no promise."""
    # The bounds themselves belong to it, whatever binary fractions make of 0.8 + 0.05.
    return interval_coverage(INTERVAL_LEVEL).loss(coverage) <= COVERAGE_TOLERANCE + 1e-12


def quantile_scores(actual: Seconds, quantiles: NDArray[np.floating]) -> tuple[QuantileScore, ...]:
    """One entry per level of `QUANTILE_LEVELS`; `quantiles` is [N, 4] seconds."""
    return tuple(
        QuantileScore(p=p, coverage=quantile_coverage(p)(actual, column), pinball=pinball(p)(actual, column))
        for p, column in zip(QUANTILE_LEVELS, quantiles.T, strict=True)
    )


def segment_regressions(
    challenger: Sequence[Segment],
    champion: Sequence[Segment],
    min_orders: int = REGRESSION_MIN_ORDERS,
    worse_by: float = REGRESSION_SHARE,
) -> list[SegmentRegression]:
    """The segments of `min_orders` or more whose MAE the challenger makes worse by more than `worse_by`.

    Both must come from the same orders cut by the same columns (the basis is the challenger's in both); raises
    OperationError where they don't.
    """
    champion_segments = {(segment.segment, segment.value): segment for segment in champion}
    challenger_segments = {(segment.segment, segment.value): segment for segment in challenger}
    differing = sorted(
        key
        for key in champion_segments.keys() | challenger_segments.keys()
        if key not in champion_segments
        or key not in challenger_segments
        or champion_segments[key].n != challenger_segments[key].n
    )
    if differing:
        raise OperationError(
            f"{len(differing)} segments hold other orders for champion and challenger, the first is {differing[0]}.",
            "Compare both on the same orders and the same segment columns.",
        )
    return [
        SegmentRegression(new.segment, new.value, new.n, champion_segments[key].mae, new.mae)
        for key, new in challenger_segments.items()
        if new.n >= min_orders and MAE.is_worse_by(new.mae, champion_segments[key].mae, worse_by)
    ]
