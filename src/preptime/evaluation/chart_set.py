"""The charts of one evaluation by name, for the training report and the Python API."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from preptime.domain.orders import DEFAULT_MODEL
from preptime.domain.time_units import MINUTES, TimeUnit
from preptime.evaluation import aggregates, charts
from preptime.evaluation.charts import Chart, Palette
from preptime.evaluation.documents import BacktestDocument, SegmentDimension
from preptime.evaluation.metrics import REGRESSION_MIN_ORDERS
from preptime.evaluation.report_data import PredictionSummary
from preptime.evaluation.summary_text import (
    calibration_caption,
    density_caption,
    errors_caption,
    hours_caption,
    importance_caption,
    quartile_rows,
    segment_coverage_caption,
    segment_errors_caption,
)

_DIMENSIONS: tuple[SegmentDimension, ...] = ("city", "type_of_food", "items", "fallback_level")


class DrawChart(Protocol):
    """Draws a chart."""

    def __call__(self, width: int, palette: Palette) -> Chart:
        """Return the chart with a width in pixels, in the colors of a palette."""


@dataclass(frozen=True, slots=True)
class NamedChart:
    """A chart that isn't drawn yet."""

    name: str
    title: str
    caption: str
    draw: DrawChart


def prediction_charts(summary: PredictionSummary | None, unit: TimeUnit = MINUTES) -> list[NamedChart]:
    """Return the charts of predicted and actual times. There are none without evaluated orders."""
    if summary is None:
        return []
    density = aggregates.density_rows(summary.density, unit)
    quartiles = quartile_rows(summary, unit)
    errors = aggregates.error_rows(summary.error_counts, summary.orders, unit)
    return [
        NamedChart(
            "density",
            "Predicted and actual times",
            density_caption(summary, unit),
            lambda width, palette: charts.predicted_vs_actual(
                density, quartiles, summary.axis_limit_minutes, width, palette, unit=unit
            ),
        ),
        NamedChart(
            "errors",
            "Distribution of errors",
            errors_caption(summary, unit),
            lambda width, palette: charts.error_distribution(errors, DEFAULT_MODEL, width, palette, unit),
        ),
    ]


def hour_and_calibration_charts(document: BacktestDocument, unit: TimeUnit = MINUTES) -> list[NamedChart]:
    """Return the charts by hour, and of the quantiles. There are none without evaluated orders."""
    if not document.segments:
        return []
    by_hour = aggregates.segment_rows(document.segments, ("hour",), unit)
    calibration = aggregates.calibration_rows(document.segments, REGRESSION_MIN_ORDERS)
    return [
        NamedChart(
            "hours",
            "Mean error by local hour",
            hours_caption(by_hour, unit),
            lambda width, palette: charts.hour_errors(by_hour, width, palette, unit),
        ),
        NamedChart(
            "calibration",
            "Calibration: nominal and observed coverage",
            calibration_caption(calibration),
            lambda width, palette: charts.calibration(calibration, width, palette),
        ),
    ]


def segment_charts(document: BacktestDocument, unit: TimeUnit = MINUTES) -> list[NamedChart]:
    """Return the charts by segment. There are none without segments."""
    rows = aggregates.segment_rows(document.segments, _DIMENSIONS, unit)
    if not rows:
        return []
    return [
        NamedChart(
            "segment-errors",
            "Mean error by segment",
            segment_errors_caption(rows),
            lambda width, palette: charts.segment_errors(rows, width, palette, unit),
        ),
        NamedChart(
            "segment-coverage",
            "Coverage of p10–p90 by segment",
            segment_coverage_caption(rows),
            lambda width, palette: charts.segment_coverage(rows, width, palette),
        ),
    ]


def importance_charts(importances: Mapping[str, float]) -> list[NamedChart]:
    """Return the chart of the importances of features by their names for people. There is none without importances."""
    rows = aggregates.importance_rows(importances)
    if not rows:
        return []
    return [
        NamedChart(
            "importance",
            "Feature importance",
            importance_caption(rows, "the default model"),
            lambda width, palette: charts.importance(rows, width, palette),
        )
    ]
