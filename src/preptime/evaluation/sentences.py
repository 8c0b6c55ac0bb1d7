"""What each picture shows, in a sentence: the report and the web page say the same."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from preptime.evaluation.aggregates import FEW_ORDERS, Row
from preptime.evaluation.metrics import MAE
from preptime.evaluation.pictured import Answers
from preptime.evaluation.scores import COVERAGE_BAND, REGRESSION_MIN_ORDERS, keeps_promise
from preptime.evaluation.verdict import in_percent


def middle_rows(found: Answers) -> list[Row]:
    """The middle half of what happened, as rows."""
    return [msgspec.structs.asdict(one) for one in found.middles]


def density_sentence(found: Answers) -> str:
    """Of predicted against actual."""
    return (
        "The stronger, the more orders; on the dashed line the answer was right. Dots are the median of what happened, "
        f"lines its middle half; {in_percent(found.beyond)} of the orders lie beyond {found.limit_minutes} minutes."
    )


def errors_sentence(found: Answers) -> str:
    """Of the distribution of errors."""
    return (
        "Bars are the model (strong: within five minutes), the line is the restaurant lookup. Food came over five "
        f"minutes later than said for {in_percent(found.over_5_min_late)} of the orders, over five earlier for "
        f"{in_percent(found.over_5_min_early)}."
    )


def hours_sentence(rows: list[Row]) -> str:
    """Of the error by local hour; at least one row."""
    hardest = max(_solid(rows), key=lambda row: float(row["mae"]))
    return (
        f"Bars are the model, ticks the restaurant lookup; under {FEW_ORDERS} orders pale and cut off. "
        f"Hardest is {hardest['value']}:00: {float(hardest['mae']):.1f} minutes over {hardest['orders']:,} orders."
    )


def calibration_sentence(rows: list[Row]) -> str:
    """Of the calibration curve; the rows of all orders come first."""
    overall = [row for row in rows if row["group"] == rows[0]["group"]]
    farthest = max(abs(float(row["observed"]) - float(row["claimed"])) for row in overall)
    return (
        "A calibrated quantile lies on the green line (corridor: 3 points). Over all orders the farthest one is "
        f"{100 * farthest:.1f} points off; a basis is shown from {REGRESSION_MIN_ORDERS} orders."
    )


def segment_errors_sentence(rows: list[Row]) -> str:
    """Of the mean error by segment; at least one row."""
    solid = _solid(rows)
    beside = [row for row in solid if "lookup_mae" in row]
    closer = sum(MAE.better(float(row["mae"]), float(row["lookup_mae"])) for row in beside)
    return (
        "Bars are the model, ticks the restaurant lookup, with the number of orders; the largest cities and foods. "
        f"The model is closer in {closer} of {len(beside)} segments with {FEW_ORDERS} orders or more."
    )


def segment_coverage_sentence(rows: list[Row]) -> str:
    """Of the coverage by segment; at least one row."""
    solid = _solid(rows)
    low, high = COVERAGE_BAND
    inside = sum(keeps_promise(float(row["coverage"])) for row in solid)
    return (
        "Dots are the share of orders inside, lines what chance allows; green is what was promised and its band. "
        f"Of {len(solid)} segments with {FEW_ORDERS} orders or more, {inside} lie within "
        f"{in_percent(low, 0)} to {in_percent(high, 0)}."
    )


def importance_sentence(rows: list[Row], model: str) -> str:
    """Of the importance of features; at least one row."""
    return f"The share of each feature in {model}; {rows[0]['feature']} carries the most."


def _solid(rows: Iterable[Row]) -> list[Row]:
    """Those that are not mostly chance, or all of them where that would leave none."""
    rows = list(rows)
    return [row for row in rows if not row["few"]] or rows
