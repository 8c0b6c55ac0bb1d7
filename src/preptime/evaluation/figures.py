"""The report's pictures, each with the sentence that says what it shows. No data, no pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from preptime.domain.prediction import DEFAULT_MODEL
from preptime.evaluation import aggregates, charts, markup
from preptime.evaluation.documents import BacktestDocument, SegmentName
from preptime.evaluation.evaluated import LOOKUP, EvaluatedOrders
from preptime.evaluation.metrics import FIVE_MINUTES_SECONDS, MAE
from preptime.evaluation.scores import REGRESSION_MIN_ORDERS, keeps_promise
from preptime.evaluation.svg import inline_svg
from preptime.evaluation.verdict import in_percent

WIDE_PIXELS = 548
"""Half of a page of 1,280 pixels, less its paddings."""

NARROW_PIXELS = 344
"""A page of 400 pixels, less its paddings."""

_CUTS: tuple[SegmentName, ...] = ("city", "type_of_food", "items", "basis")


def _picture(name: str, title: str, sentence: str, chart: Callable[[int], charts.Chart]) -> str:
    label = markup.text(f"{title}. {sentence}")
    wide, narrow = (
        inline_svg(chart(width), f"{name}-{size}", label)
        for size, width in (("wide", WIDE_PIXELS), ("narrow", NARROW_PIXELS))
    )
    return markup.figure(title, sentence, wide, narrow)


def answers(orders: EvaluatedOrders) -> list[str]:
    """Predicted against actual, and the distribution of errors, of orders with labels up to 3 h; none of no orders."""
    if not len(orders):
        return []
    limit = aggregates.density_limit_minutes(orders.actual, orders.default)
    cells = aggregates.density(orders.actual, orders.default, limit)
    medians = aggregates.actual_by_predicted(orders.actual, orders.default, limit)
    outside = 1 - sum(int(cell["orders"]) for cell in cells) / len(orders)
    errors = aggregates.errors({DEFAULT_MODEL: orders.default, LOOKUP: orders.baselines[LOOKUP]}, orders.actual)
    late = float(np.mean(orders.actual - orders.default > FIVE_MINUTES_SECONDS))
    early = float(np.mean(orders.default - orders.actual > FIVE_MINUTES_SECONDS))
    return [
        _picture(
            "density",
            "Predicted against actual",
            "The stronger, the more orders; on the dashed line the answer was right. Dots are the median of what "
            f"happened, lines its middle half; {in_percent(outside)} of the orders lie beyond {limit} minutes.",
            lambda width: charts.predicted_against_actual(cells, medians, limit, width, charts.LIGHT),
        ),
        _picture(
            "errors",
            "How far off, and to which side",
            "Bars are the model (strong: within five minutes), the line is the restaurant lookup. Food came over five "
            f"minutes later than said for {in_percent(late)} of the orders, over five earlier for {in_percent(early)}.",
            lambda width: charts.error_distribution(errors, DEFAULT_MODEL, width, charts.LIGHT),
        ),
    ]


def hours_and_calibration(document: BacktestDocument) -> list[str]:
    """The error by local hour and the calibration curve; none of no orders."""
    if not document.segments:
        return []
    by_hour = aggregates.segment_rows(document.segments, ("hour",))
    calibration = aggregates.calibration_rows(document.segments, REGRESSION_MIN_ORDERS)
    solid = [row for row in by_hour if not row["few"]] or by_hour
    hardest = max(solid, key=lambda row: float(row["mae"]))
    farthest = max(
        abs(float(row["observed"]) - float(row["claimed"])) for row in calibration[: len(document.quantiles)]
    )
    return [
        _picture(
            "hours",
            "Mean error by local hour",
            f"Bars are the model, ticks the restaurant lookup; under {aggregates.FEW_ORDERS} orders pale and cut off. "
            f"Hardest is {hardest['value']}:00: {float(hardest['mae']):.1f} minutes over {hardest['orders']:,} orders.",
            lambda width: charts.hours(by_hour, width, charts.LIGHT),
        ),
        _picture(
            "calibration",
            "Calibration: what a quantile claims and what it keeps",
            "A calibrated quantile lies on the green line (corridor: 3 points). Over all orders the farthest one is "
            f"{100 * farthest:.1f} points off; a basis is shown from {REGRESSION_MIN_ORDERS} orders.",
            lambda width: charts.calibration(calibration, width, charts.LIGHT),
        ),
    ]


def segments(document: BacktestDocument) -> list[str]:
    """Error and coverage by city, type of food, items and basis; none of no orders."""
    rows = aggregates.segment_rows(document.segments, _CUTS)
    if not rows:
        return []
    solid = [row for row in rows if not row["few"]] or rows
    closer = sum(MAE.better(float(row["mae"]), float(row["lookup_mae"])) for row in solid)
    low, high = charts.COVERAGE_BAND
    inside = sum(keeps_promise(float(row["coverage"])) for row in solid)
    return [
        _picture(
            "segment-errors",
            "Mean error by segment",
            "Bars are the model, ticks the restaurant lookup, with the number of orders; the largest cities and foods. "
            f"The model is closer in {closer} of {len(solid)} segments with {aggregates.FEW_ORDERS} orders or more.",
            lambda width: charts.segment_errors(rows, width, charts.LIGHT),
        ),
        _picture(
            "segment-coverage",
            "Coverage of p10–p90 by segment",
            "Dots are the share of orders inside, lines what chance allows; green is what was promised and its band. "
            f"Of {len(solid)} segments with {aggregates.FEW_ORDERS} orders or more, {inside} lie within "
            f"{in_percent(low, 0)} to {in_percent(high, 0)}.",
            lambda width: charts.segment_coverage(rows, width, charts.LIGHT),
        ),
    ]


def importance(importances: Mapping[str, float]) -> list[str]:
    """The features the default model leans on; none where nothing is known."""
    rows = aggregates.importance_rows(importances)
    if not rows:
        return []
    sentence = f"The share of each feature in the default model; {rows[0]['feature']} carries the most."
    return [
        _picture(
            "importance", "Feature importance", sentence, lambda width: charts.importance(rows, width, charts.LIGHT)
        )
    ]
