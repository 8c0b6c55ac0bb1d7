"""The report's pictures, each with the sentence that says what it shows. No data, no pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from preptime.domain.prediction import DEFAULT_MODEL
from preptime.evaluation import aggregates, charts, markup
from preptime.evaluation.documents import BacktestDocument, SegmentDimension
from preptime.evaluation.pictured import PredictionSummary
from preptime.evaluation.scores import REGRESSION_MIN_ORDERS
from preptime.evaluation.sentences import (
    calibration_caption,
    density_caption,
    errors_caption,
    hours_caption,
    importance_caption,
    quartile_rows,
    segment_coverage_caption,
    segment_errors_caption,
)
from preptime.evaluation.svg import inline_svg

WIDE_PIXELS = 548
"""Half of a page of 1,280 pixels, less its paddings."""

NARROW_PIXELS = 344
"""A page of 400 pixels, less its paddings."""

_DIMENSIONS: tuple[SegmentDimension, ...] = ("city", "type_of_food", "items", "fallback_level")


def chart_card(name: str, title: str, caption: str, chart: Callable[[int], charts.Chart]) -> str:
    """A card with a chart, which is drawn for wide and for narrow pages; `name` is unique in the page."""
    label = markup.escape(f"{title}. {caption}")
    wide, narrow = (
        inline_svg(chart(width), f"{name}-{size}", label)
        for size, width in (("wide", WIDE_PIXELS), ("narrow", NARROW_PIXELS))
    )
    return markup.chart_figure(title, caption, wide, narrow)


def prediction_charts(summary: PredictionSummary | None) -> list[str]:
    """Predicted against actual, and the distribution of errors; none of no orders."""
    if summary is None:
        return []
    density = aggregates.density_rows(summary.density)
    quartiles = quartile_rows(summary)
    errors = aggregates.error_rows(summary.error_counts, summary.orders)
    return [
        chart_card(
            "density",
            "Predicted against actual",
            density_caption(summary),
            lambda width: charts.predicted_vs_actual(
                density, quartiles, summary.axis_limit_minutes, width, charts.LIGHT
            ),
        ),
        chart_card(
            "errors",
            "How far off, and to which side",
            errors_caption(summary),
            lambda width: charts.error_distribution(errors, DEFAULT_MODEL, width, charts.LIGHT),
        ),
    ]


def hour_and_calibration_charts(document: BacktestDocument) -> list[str]:
    """The error by local hour and the calibration curve; none of no orders."""
    if not document.segments:
        return []
    by_hour = aggregates.segment_rows(document.segments, ("hour",))
    calibration = aggregates.calibration_rows(document.segments, REGRESSION_MIN_ORDERS)
    return [
        chart_card(
            "hours",
            "Mean error by local hour",
            hours_caption(by_hour),
            lambda width: charts.hour_errors(by_hour, width, charts.LIGHT),
        ),
        chart_card(
            "calibration",
            "Calibration: what a quantile claims and what it keeps",
            calibration_caption(calibration),
            lambda width: charts.calibration(calibration, width, charts.LIGHT),
        ),
    ]


def segment_charts(document: BacktestDocument) -> list[str]:
    """Error and coverage by city, type of food, items and basis; none of no orders."""
    rows = aggregates.segment_rows(document.segments, _DIMENSIONS)
    if not rows:
        return []
    return [
        chart_card(
            "segment-errors",
            "Mean error by segment",
            segment_errors_caption(rows),
            lambda width: charts.segment_errors(rows, width, charts.LIGHT),
        ),
        chart_card(
            "segment-coverage",
            "Coverage of p10–p90 by segment",
            segment_coverage_caption(rows),
            lambda width: charts.segment_coverage(rows, width, charts.LIGHT),
        ),
    ]


def importance_chart(importances: Mapping[str, float]) -> list[str]:
    """The features the default model leans on; none where nothing is known."""
    rows = aggregates.importance_rows(importances)
    if not rows:
        return []
    return [
        chart_card(
            "importance",
            "Feature importance",
            importance_caption(rows, "the default model"),
            lambda width: charts.importance(rows, width, charts.LIGHT),
        )
    ]
