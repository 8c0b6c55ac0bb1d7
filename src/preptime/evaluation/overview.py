"""Bundles beside each other: what each says of its own training run, and which of two says better."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Literal

from preptime.bundle.manifest import Manifest
from preptime.evaluation.documents import BacktestDocument, Score, SegmentName
from preptime.evaluation.evaluated import LOOKUP
from preptime.evaluation.metrics import POINT_METRICS, Metric, interval_coverage
from preptime.evaluation.pictured import evaluation_of
from preptime.evaluation.scores import INTERVAL_LEVEL
from preptime.evaluation.verdict import find_score


@dataclass(frozen=True, slots=True)
class Overview:
    """One bundle in a line. Seconds and shares; None where its manifest does not say."""

    bundle: str
    kind: Literal["training", "refresh"]
    date: dt.date
    fitted_through: dt.date
    parent: str | None
    evaluated: str
    """The days its figures are of, as text; empty where there are none."""
    orders: int | None
    mae: float | None
    lookup_mae: float | None
    within_5_min: float | None
    bias: float | None
    coverage: float | None


def overview(manifest: Manifest) -> Overview:
    """A bundle in a line; the figures are those of the default answer over labels up to 3 h."""
    document = evaluation_of(manifest)
    default = find_score(document, document.default_model) if document else None
    lookup = find_score(document, LOOKUP) if document else None
    return Overview(
        bundle=manifest.id,
        kind=manifest.kind,
        date=manifest.date,
        fitted_through=manifest.window.fitted_through,
        parent=manifest.parent,
        evaluated=f"{document.first_day} to {document.last_day}" if document else "",
        orders=default.n if default else None,
        mae=default.mae if default else None,
        lookup_mae=lookup.mae if lookup else None,
        within_5_min=default.within_5_min if default else None,
        bias=default.bias if default else None,
        coverage=document.interval.coverage if document else None,
    )


@dataclass(frozen=True, slots=True)
class Difference:
    """One figure of two bundles, in the metric's unit."""

    metric: Metric
    first: float | None
    second: float | None

    @property
    def better(self) -> Literal["first", "second", "neither"]:
        """Which one is closer to what is best."""
        if self.metric.better(self.first, self.second):
            return "first"
        return "second" if self.metric.better(self.second, self.first) else "neither"


@dataclass(frozen=True, slots=True)
class SegmentPair:
    """The default answer's mean error (seconds) in one segment, said by two bundles of their own days."""

    value: str
    first: float | None
    second: float | None
    orders: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Pair:
    """Two bundles' own evaluations."""

    same_days: bool
    """Only then are the figures of the same orders."""
    differences: tuple[Difference, ...]
    """The metrics of the default answer, then the coverage of its interval."""


def pair(first: BacktestDocument, second: BacktestDocument) -> Pair:
    """Two evaluations beside each other. Where they are of different days they compare nothing but themselves."""
    scores = [find_score(document, document.default_model) for document in (first, second)]
    points = [Difference(metric, *(_figure(score, metric) for score in scores)) for metric in POINT_METRICS]
    coverage = Difference(interval_coverage(INTERVAL_LEVEL), first.interval.coverage, second.interval.coverage)
    return Pair(
        same_days=(first.first_day, first.last_day) == (second.first_day, second.last_day),
        differences=(*points, coverage),
    )


def segment_pairs(first: BacktestDocument, second: BacktestDocument, name: SegmentName) -> list[SegmentPair]:
    """The segments of one cut that both evaluations have, those with most orders first."""
    theirs = {segment.value: segment for segment in second.segments if segment.segment == name}
    both = [
        SegmentPair(mine.value, mine.mae, theirs[mine.value].mae, (mine.n, theirs[mine.value].n))
        for mine in first.segments
        if mine.segment == name and mine.value in theirs
    ]
    return sorted(both, key=lambda one: -sum(one.orders))


def _figure(score: Score | None, metric: Metric) -> float | None:
    value: float | None = getattr(score, metric.name) if score else None
    return value
