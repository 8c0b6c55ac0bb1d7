"""What the figures say, in plain words for people who don't read tables.

What each picture shows, in a sentence: the report and the web page say the same.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from preptime.evaluation.aggregates import MIN_RELIABLE_ORDERS, ChartRow
from preptime.evaluation.documents import BacktestDocument, Score
from preptime.evaluation.evaluated_orders import LABEL_SETS, LOOKUP, LabelSet
from preptime.evaluation.metrics import COVERAGE_BAND, MAE, REGRESSION_MIN_ORDERS, coverage_in_band
from preptime.evaluation.report_data import PredictionSummary

NO_VALUE = "–"


def format_minutes(seconds: float | None, digits: int = 1) -> str:
    """Seconds as minutes for people, `–` where there is no value. Never a negative nought."""
    return NO_VALUE if seconds is None else f"{round(seconds / 60, digits) + 0.0:.{digits}f}"


def format_percent(share: float | None, digits: int = 1) -> str:
    """A share as a percentage for people, `–` where there is no value."""
    return NO_VALUE if share is None else f"{share:.{digits}%}".replace("%", "\N{NO-BREAK SPACE}%")


def find_score(document: BacktestDocument, name: str, labels: LabelSet = LABEL_SETS[0]) -> Score | None:
    """The row of the table for `name` over `labels`, if there is one."""
    return next((row for row in document.scores if (row.name, row.labels) == (name, labels)), None)


def summary_sentences(document: BacktestDocument) -> list[str]:
    """A few sentences: how close the answers are, how close the lookup, whether the interval keeps its promise."""
    default, lookup = find_score(document, document.default_model), find_score(document, LOOKUP)
    if default is None or default.median_ae is None:
        return ["No orders with a label were evaluated, so nothing can be said about how good the answers are."]
    within = f"{format_percent(default.within_5_min)} are within five."
    sentences = [
        f"Half of the answers are within {format_minutes(default.median_ae)} minutes of the truth, and {within}"
    ]
    if lookup is not None and default.mae is not None and lookup.mae:
        sentences.append(_lookup_sentence(default.mae, lookup.mae))
    return [*sentences, _interval_sentence(document), *_closer_models_sentences(document, default)]


def _lookup_sentence(mae: float, lookup_mae: float) -> str:
    share = format_percent(abs(1 - mae / lookup_mae), 0)
    prefix = f"An answer is {format_minutes(mae)} minutes off on average, the restaurant lookup {format_minutes(lookup_mae)}:"
    if MAE.is_better(mae, lookup_mae):
        return f"{prefix} the model is {share} closer."
    if MAE.is_better(lookup_mae, mae):
        return f"{prefix} the model is {share} farther off than a table of averages, and should not be used."
    return f"{prefix} no difference."


def _interval_sentence(document: BacktestDocument) -> str:
    coverage, level = document.interval.coverage, document.interval.level
    sentence = (
        f"p10–p90 holds {format_percent(coverage)} of the orders (promised {format_percent(level, 0)}) and is typically "
        f"{format_minutes(document.interval.median_width_seconds)} minutes wide"
    )
    return f"{sentence}." if coverage_in_band(coverage) else f"{sentence}: the promise is not kept."


def _closer_models_sentences(document: BacktestDocument, default: Score) -> list[str]:
    rivals = [row for row in document.scores if row.labels == default.labels and row.name != default.name]
    better_names = [row.name for row in rivals if MAE.is_better(row.mae, default.mae)]
    return [f"Closer on average: {', '.join(better_names)}."] if better_names else []


def quartile_rows(summary: PredictionSummary) -> list[ChartRow]:
    """The middle half of what happened, as rows."""
    return [msgspec.structs.asdict(quartiles) for quartiles in summary.actual_quartiles]


def density_caption(summary: PredictionSummary) -> str:
    """Of predicted against actual."""
    return (
        "The stronger, the more orders; on the dashed line the answer was right. Dots are the median of what happened, "
        f"lines its middle half; {format_percent(summary.share_beyond_axes)} of the orders lie beyond {summary.axis_limit_minutes} minutes."
    )


def errors_caption(summary: PredictionSummary) -> str:
    """Of the distribution of errors."""
    return (
        "Bars are the model (strong: within five minutes), the line is the restaurant lookup. Food came over five "
        f"minutes later than said for {format_percent(summary.share_over_5_min_late)} of the orders, over five earlier for "
        f"{format_percent(summary.share_over_5_min_early)}."
    )


def hours_caption(rows: list[ChartRow]) -> str:
    """Of the error by local hour; at least one row."""
    worst_hour = max(_reliable_rows(rows), key=lambda row: float(row["mae"]))
    return (
        f"Bars are the model, ticks the restaurant lookup; under {MIN_RELIABLE_ORDERS} orders pale and cut off. "
        f"Hardest is {worst_hour['value']}:00: {float(worst_hour['mae']):.1f} minutes over {worst_hour['orders']:,} orders."
    )


def calibration_caption(rows: list[ChartRow]) -> str:
    """Of the calibration curve; the rows of all orders come first."""
    overall = [row for row in rows if row["group"] == rows[0]["group"]]
    largest_gap = max(abs(float(row["observed"]) - float(row["nominal"])) for row in overall)
    return (
        "A calibrated quantile lies on the green line (corridor: 3 points). Over all orders the farthest one is "
        f"{100 * largest_gap:.1f} points off; a basis is shown from {REGRESSION_MIN_ORDERS} orders."
    )


def segment_errors_caption(rows: list[ChartRow]) -> str:
    """Of the mean error by segment; at least one row."""
    reliable = _reliable_rows(rows)
    with_lookup = [row for row in reliable if "lookup_mae" in row]
    better_count = sum(MAE.is_better(float(row["mae"]), float(row["lookup_mae"])) for row in with_lookup)
    return (
        "Bars are the model, ticks the restaurant lookup, with the number of orders; the largest cities and foods. "
        f"The model is closer in {better_count} of {len(with_lookup)} segments with {MIN_RELIABLE_ORDERS} orders or more."
    )


def segment_coverage_caption(rows: list[ChartRow]) -> str:
    """Of the coverage by segment; at least one row."""
    reliable = _reliable_rows(rows)
    low, high = COVERAGE_BAND
    in_band_count = sum(coverage_in_band(float(row["coverage"])) for row in reliable)
    return (
        "Dots are the share of orders inside, lines what chance allows; green is what was promised and its band. "
        f"Of {len(reliable)} segments with {MIN_RELIABLE_ORDERS} orders or more, {in_band_count} lie within "
        f"{format_percent(low, 0)} to {format_percent(high, 0)}."
    )


def importance_caption(rows: list[ChartRow], model: str) -> str:
    """Of the importance of features; at least one row."""
    return f"The share of each feature in {model}; {rows[0]['feature']} carries the most."


def _reliable_rows(rows: Iterable[ChartRow]) -> list[ChartRow]:
    """Those that are not mostly chance, or all of them where that would leave none."""
    rows = list(rows)
    return [row for row in rows if not row["small_sample"]] or rows
