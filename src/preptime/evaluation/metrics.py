"""Metrics, and the documents computed from them: scores, intervals, quantiles, and segment regressions.

Each metric knows its name, unit, meaning, and best value, so no caller writes `<` or `>`. All arrays are seconds, with
one entry per order. A metric of no orders has no value, and neither has R² of identical labels: `None` here and `null`
in JSON, never 0 or 1.
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
"""The error that a courier can absorb."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric with a direction: the closer to `best`, the better."""

    name: str
    unit: str
    description: str
    best: float

    def loss(self, value: float | None) -> float:
        """Return the distance to the best value in the metric's unit, or infinity without a value."""
        return np.inf if value is None or np.isnan(value) else abs(value - self.best)

    def is_better(self, a: float | None, b: float | None) -> bool:
        """Return whether `a` is strictly better than `b`. Any value is better than no value."""
        return self.loss(a) < self.loss(b)

    def is_worse_by(self, a: float | None, b: float | None, share: float) -> bool:
        """Return whether the loss of `a` is more than `share` (0.05 = 5%) above that of `b`. No value is the worst."""
        return self.loss(a) > self.loss(b) * (1.0 + share)


@dataclass(frozen=True, slots=True)
class PointMetric(Metric):
    """A metric of predictions that are one number per order."""

    compute: Callable[[NDArray[np.float64], NDArray[np.float64]], float]
    """Computes the value from actual and predicted seconds of at least one order. NaN means no value."""

    def __call__(self, actual: Seconds, predicted: Seconds) -> float | None:
        """Return the value, or None. Raises `OperationError` if shapes differ or a value isn't finite."""
        return _compute_or_none(self.compute, *_as_float64(actual=actual, predicted=predicted))


@dataclass(frozen=True, slots=True)
class QuantileMetric(Metric):
    """A metric of one predicted quantile. A share `p` of the labels should be at or under it."""

    p: float
    compute: Callable[[NDArray[np.float64], NDArray[np.float64]], float]

    def __call__(self, actual: Seconds, quantile: Seconds) -> float | None:
        """Return the value, or None. Raises `OperationError` if shapes differ or a value isn't finite."""
        return _compute_or_none(self.compute, *_as_float64(actual=actual, quantile=quantile))


@dataclass(frozen=True, slots=True)
class IntervalMetric(Metric):
    """A metric of a predicted interval, with both ends included."""

    compute: Callable[[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]], float]

    def __call__(self, actual: Seconds, low: Seconds, high: Seconds) -> float | None:
        """Return the value, or None. Raises `OperationError` if shapes differ or a value isn't finite."""
        return _compute_or_none(self.compute, *_as_float64(actual=actual, low=low, high=high))


def pinball(p: float) -> QuantileMetric:
    """Return the pinball loss of quantile `p`, whose expectation is smallest at the true quantile.

    Source: Koenker and Bassett, 1978.
    """

    def compute(actual: NDArray[np.float64], quantile: NDArray[np.float64]) -> float:
        residual = actual - quantile
        return float(np.mean(np.maximum(p * residual, (p - 1.0) * residual)))

    return QuantileMetric(
        "pinball", "s", "mean pinball loss of a quantile: weighted seconds late and early", 0.0, p, compute
    )


def quantile_coverage(p: float) -> QuantileMetric:
    """Return the metric for the share of labels at or under a predicted quantile. Its best value is `p`."""
    description = "labels at or under the predicted quantile"
    return QuantileMetric("quantile_coverage", "share", description, p, p, _share_at_or_under)


def interval_coverage(level: float) -> IntervalMetric:
    """Return the metric for the share of labels within an interval. Its best value is `level`: more isn't better."""
    description = "labels within the p10–p90 interval, ends included"
    return IntervalMetric("coverage", "share", description, level, _share_within)


def _compute_or_none(compute: Callable[..., float], *columns: NDArray[np.float64]) -> float | None:
    if len(columns[0]) == 0:
        return None
    value = compute(*columns)
    return None if np.isnan(value) else value


def _as_float64(**columns: Seconds) -> tuple[NDArray[np.float64], ...]:
    shapes = {name: column.shape for name, column in columns.items()}
    if len(set(shapes.values())) != 1 or any(len(shape) != 1 for shape in shapes.values()):
        raise OperationError(
            f"The arrays of a metric have different shapes: {shapes}.", "Pass one entry per order in each array."
        )
    converted = {name: np.asarray(column, dtype=np.float64) for name, column in columns.items()}
    for name, column in converted.items():
        if not np.isfinite(column).all():
            bad = int((~np.isfinite(column)).sum())
            raise OperationError(
                f"{bad} of {len(column)} values in {name!r} aren't finite.", "Pass a finite value for every order."
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


def _share_at_or_under(actual: NDArray[np.float64], quantile: NDArray[np.float64]) -> float:
    return float(np.mean(actual <= quantile))


def in_interval(actual: Seconds, low: Seconds, high: Seconds, *, with_ends: bool) -> NDArray[np.bool_]:
    """Return which labels are in an interval. Labels that are equal to an end count only if `with_ends`."""
    inside: NDArray[np.bool_] = (low <= actual) & (actual <= high) if with_ends else (low < actual) & (actual < high)
    return inside


def _share_within(actual: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64]) -> float:
    return float(np.mean(in_interval(actual, low, high, with_ends=True)))


def _share_inside(actual: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64]) -> float:
    return float(np.mean(in_interval(actual, low, high, with_ends=False)))


def _median_width(_actual: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64]) -> float:
    return float(np.median(high - low))


MAE = PointMetric("mae", "s", "mean absolute error", 0.0, _mae)
MEDIAN_AE = PointMetric("median_ae", "s", "median absolute error: half of the predictions are closer", 0.0, _median_ae)
RMSE = PointMetric("rmse", "s", "root mean squared error; long delays dominate it", 0.0, _rmse)
R2 = PointMetric("r2", "1", "explained share of the labels' variance; no value if all labels are equal", 1.0, _r2)
BIAS = PointMetric("bias", "s", "mean of predicted minus actual; above 0, predictions are too late", 0.0, _bias)
WITHIN_5_MIN = PointMetric("within_5_min", "share", "predictions within 300 s of the actual time", 1.0, _within_5_min)
MEDIAN_WIDTH = IntervalMetric("median_width_seconds", "s", "median width of the p10–p90 interval", 0.0, _median_width)

COVERAGE_INSIDE = IntervalMetric(
    "coverage_inside", "share", "labels within the p10–p90 interval, ends not included", 0.8, _share_inside
)

POINT_METRICS = (MAE, MEDIAN_AE, RMSE, R2, BIAS, WITHIN_5_MIN)
"""The metrics of a `Score`, in display order."""

INTERVAL_LEVEL = round(QUANTILE_LEVELS[-1] - QUANTILE_LEVELS[0], 9)
"""The nominal level of the widest interval: p10 to p90 hold 0.8 of the labels."""

COVERAGE_TOLERANCE = 0.05
"""D7: p10–p90 counts as calibrated if it holds 75% to 85% of the orders."""

COVERAGE_BAND = (INTERVAL_LEVEL - COVERAGE_TOLERANCE, INTERVAL_LEVEL + COVERAGE_TOLERANCE)
"""The coverage that the promotion gate accepts."""

REGRESSION_MIN_ORDERS = 200
"""D7: smaller segments are too uncertain to reject a promotion."""

REGRESSION_SHARE = 0.05
"""D7: how much worse a segment may get, as a share of the champion's MAE."""


def compute_score(
    name: str,
    kind: Literal["model", "baseline", "live"],
    labels: Literal["up_to_3h", "within_label_limit"],
    actual: Seconds,
    predicted: Seconds,
) -> Score:
    """Return the scores of a model or baseline from labels and predictions, both [N] seconds."""
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
    """Return coverage and width of p10–p90. `quantiles` is [N, 4] seconds in the order of `QUANTILE_LEVELS`."""
    low, high = quantiles[:, 0], quantiles[:, -1]
    return Interval(
        INTERVAL_LEVEL,
        interval_coverage(INTERVAL_LEVEL)(actual, low, high),
        MEDIAN_WIDTH(actual, low, high),
        COVERAGE_INSIDE(actual, low, high),
    )


def coverage_in_band(coverage: float | None, inside: float | None = None, tolerance: float = 0.0) -> bool:
    """Return whether the coverage of p10–p90 is within the tolerance. No value isn't.

    `inside` is the coverage without the labels at the ends of the interval. These can count as covered or not, so any
    value from `inside` to `coverage` can be the one within the tolerance. `tolerance` is added to `COVERAGE_TOLERANCE`.
    """
    if coverage is None:
        return False
    # The bounds are included, and 0.8 + 0.05 has no exact binary value.
    allowed = COVERAGE_TOLERANCE + tolerance + 1e-12
    lower = coverage if inside is None else inside
    return coverage >= INTERVAL_LEVEL - allowed and lower <= INTERVAL_LEVEL + allowed


def quantile_scores(actual: Seconds, quantiles: NDArray[np.floating]) -> tuple[QuantileScore, ...]:
    """Return one entry per level of `QUANTILE_LEVELS`. `quantiles` is [N, 4] seconds."""
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
    """Return segments with at least `min_orders` orders whose MAE is worse for the challenger by more than `worse_by`.

    Both sequences must come from the same orders and segment columns, with the challenger's fallback levels in both.
    Raises `OperationError` if they don't.
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
            f"{len(differing)} segments contain different orders for champion and challenger, "
            f"starting with {differing[0]}.",
            "Evaluate both on the same orders and the same segment columns.",
        )
    return [
        SegmentRegression(new.segment, new.value, new.n, champion_segments[key].mae, new.mae)
        for key, new in challenger_segments.items()
        if new.n >= min_orders and MAE.is_worse_by(new.mae, champion_segments[key].mae, worse_by)
    ]
