"""The report's pictures, each with the sentence that says what it shows. No data, no pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from preptime.domain.prediction import DEFAULT_MODEL
from preptime.evaluation import aggregates, charts, markup
from preptime.evaluation.documents import BacktestDocument, SegmentName
from preptime.evaluation.pictured import Answers
from preptime.evaluation.scores import REGRESSION_MIN_ORDERS
from preptime.evaluation.sentences import (
    calibration_sentence,
    density_sentence,
    errors_sentence,
    hours_sentence,
    importance_sentence,
    middle_rows,
    segment_coverage_sentence,
    segment_errors_sentence,
)
from preptime.evaluation.svg import inline_svg

WIDE_PIXELS = 548
"""Half of a page of 1,280 pixels, less its paddings."""

NARROW_PIXELS = 344
"""A page of 400 pixels, less its paddings."""

_CUTS: tuple[SegmentName, ...] = ("city", "type_of_food", "items", "basis")


def picture(name: str, title: str, sentence: str, chart: Callable[[int], charts.Chart]) -> str:
    """A card with a chart, which is drawn for wide and for narrow pages; `name` is unique in the page."""
    label = markup.text(f"{title}. {sentence}")
    wide, narrow = (
        inline_svg(chart(width), f"{name}-{size}", label)
        for size, width in (("wide", WIDE_PIXELS), ("narrow", NARROW_PIXELS))
    )
    return markup.figure(title, sentence, wide, narrow)


def answers(found: Answers | None) -> list[str]:
    """Predicted against actual, and the distribution of errors; none of no orders."""
    if found is None:
        return []
    cells = aggregates.cell_rows(found.cells)
    medians = middle_rows(found)
    errors = aggregates.error_rows(found.errors, found.orders)
    return [
        picture(
            "density",
            "Predicted against actual",
            density_sentence(found),
            lambda width: charts.predicted_against_actual(cells, medians, found.limit_minutes, width, charts.LIGHT),
        ),
        picture(
            "errors",
            "How far off, and to which side",
            errors_sentence(found),
            lambda width: charts.error_distribution(errors, DEFAULT_MODEL, width, charts.LIGHT),
        ),
    ]


def hours_and_calibration(document: BacktestDocument) -> list[str]:
    """The error by local hour and the calibration curve; none of no orders."""
    if not document.segments:
        return []
    by_hour = aggregates.segment_rows(document.segments, ("hour",))
    calibration = aggregates.calibration_rows(document.segments, REGRESSION_MIN_ORDERS)
    return [
        picture(
            "hours",
            "Mean error by local hour",
            hours_sentence(by_hour),
            lambda width: charts.hours(by_hour, width, charts.LIGHT),
        ),
        picture(
            "calibration",
            "Calibration: what a quantile claims and what it keeps",
            calibration_sentence(calibration),
            lambda width: charts.calibration(calibration, width, charts.LIGHT),
        ),
    ]


def segments(document: BacktestDocument) -> list[str]:
    """Error and coverage by city, type of food, items and basis; none of no orders."""
    rows = aggregates.segment_rows(document.segments, _CUTS)
    if not rows:
        return []
    return [
        picture(
            "segment-errors",
            "Mean error by segment",
            segment_errors_sentence(rows),
            lambda width: charts.segment_errors(rows, width, charts.LIGHT),
        ),
        picture(
            "segment-coverage",
            "Coverage of p10–p90 by segment",
            segment_coverage_sentence(rows),
            lambda width: charts.segment_coverage(rows, width, charts.LIGHT),
        ),
    ]


def importance(importances: Mapping[str, float]) -> list[str]:
    """The features the default model leans on; none where nothing is known."""
    rows = aggregates.importance_rows(importances)
    if not rows:
        return []
    return [
        picture(
            "importance",
            "Feature importance",
            importance_sentence(rows, "the default model"),
            lambda width: charts.importance(rows, width, charts.LIGHT),
        )
    ]
