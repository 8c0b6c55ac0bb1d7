"""Bundle summaries and comparisons, from the evaluations in their manifests."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Literal

from preptime.bundle.manifest import Manifest
from preptime.evaluation.documents import BacktestDocument, Score, SegmentDimension
from preptime.evaluation.evaluated_orders import LOOKUP
from preptime.evaluation.metrics import INTERVAL_LEVEL, POINT_METRICS, Metric, interval_coverage
from preptime.evaluation.report_data import backtest_from_manifest
from preptime.evaluation.summary_text import cost_ratio_text, find_score

WAITING_COST_UNIT = "s per 1,000 orders"
WAITING_COST_DESCRIPTION = "weighted waiting of couriers and food per 1,000 orders, by courier cost:food cost"


@dataclass(frozen=True, slots=True)
class BundleSummary:
    """One bundle in a list. Values are seconds and shares, and None if the manifest has no value."""

    bundle: str
    kind: Literal["training", "refresh"]
    date: dt.date
    fitted_through: dt.date
    parent: str | None
    evaluated_days: str
    """The evaluated days as text. Empty if there are none."""
    orders: int | None
    mae: float | None
    lookup_mae: float | None
    within_5_min: float | None
    bias: float | None
    coverage: float | None


def summarize_bundle(manifest: Manifest) -> BundleSummary:
    """Return the summary of a bundle. Metrics are those of the default prediction over labels up to 3 h."""
    document = backtest_from_manifest(manifest)
    default = find_score(document, document.default_model) if document else None
    lookup = find_score(document, LOOKUP) if document else None
    return BundleSummary(
        bundle=manifest.id,
        kind=manifest.kind,
        date=manifest.date,
        fitted_through=manifest.window.fitted_through,
        parent=manifest.parent,
        evaluated_days=f"{document.first_day} to {document.last_day}" if document else "",
        orders=default.n if default else None,
        mae=default.mae if default else None,
        lookup_mae=lookup.mae if lookup else None,
        within_5_min=default.within_5_min if default else None,
        bias=default.bias if default else None,
        coverage=document.interval.coverage if document else None,
    )


@dataclass(frozen=True, slots=True)
class MetricComparison:
    """One metric of two bundles, in the metric's unit."""

    metric: Metric
    first: float | None
    second: float | None

    @property
    def better(self) -> Literal["first", "second", "neither"]:
        """Return which value is closer to the metric's best value."""
        if self.metric.is_better(self.first, self.second):
            return "first"
        return "second" if self.metric.is_better(self.second, self.first) else "neither"


@dataclass(frozen=True, slots=True)
class SegmentComparison:
    """The mean error of the default prediction in one segment, in seconds. Each bundle evaluates its own days."""

    value: str
    first: float | None
    second: float | None
    orders: tuple[int, int]


@dataclass(frozen=True, slots=True)
class EvaluationComparison:
    """The evaluations of two bundles, metric by metric."""

    same_days: bool
    """Whether both evaluate the same days. Otherwise their metrics are about different orders."""
    metrics: tuple[MetricComparison, ...]
    """The metrics of the default prediction, the coverage of its interval, and the waiting cost at each cost ratio."""


def compare_evaluations(first: BacktestDocument, second: BacktestDocument) -> EvaluationComparison:
    """Return the metrics of two evaluations, paired."""
    scores = [find_score(document, document.default_model) for document in (first, second)]
    points = [MetricComparison(metric, *(_metric_value(score, metric) for score in scores)) for metric in POINT_METRICS]
    coverage = MetricComparison(interval_coverage(INTERVAL_LEVEL), first.interval.coverage, second.interval.coverage)
    return EvaluationComparison(
        same_days=(first.first_day, first.last_day) == (second.first_day, second.last_day),
        metrics=(*points, coverage, *_waiting_cost_comparisons(first, second)),
    )


def _waiting_cost_comparisons(first: BacktestDocument, second: BacktestDocument) -> list[MetricComparison]:
    second_costs = {cost_ratio_text(cost): cost.predicted_quantile for cost in second.waiting_costs}
    return [
        MetricComparison(
            Metric(f"waiting cost, {ratio}", WAITING_COST_UNIT, WAITING_COST_DESCRIPTION, 0.0),
            cost.predicted_quantile,
            second_costs[ratio],
        )
        for cost in first.waiting_costs
        if (ratio := cost_ratio_text(cost)) in second_costs
    ]


def compare_segments(
    first: BacktestDocument, second: BacktestDocument, dimension: SegmentDimension
) -> list[SegmentComparison]:
    """Return the segments of one dimension that both evaluations have, those with the most orders first."""
    second_by_value = {segment.value: segment for segment in second.segments if segment.segment == dimension}
    comparisons = [
        SegmentComparison(
            first_segment.value,
            first_segment.mae,
            second_by_value[first_segment.value].mae,
            (first_segment.n, second_by_value[first_segment.value].n),
        )
        for first_segment in first.segments
        if first_segment.segment == dimension and first_segment.value in second_by_value
    ]
    return sorted(comparisons, key=lambda comparison: -sum(comparison.orders))


def _metric_value(score: Score | None, metric: Metric) -> float | None:
    value: float | None = getattr(score, metric.name) if score else None
    return value
