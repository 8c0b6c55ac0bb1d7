"""Summary sentences, chart captions, and number formats that the reports and the dashboard share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from preptime.domain.time_units import MINUTES, TimeUnit
from preptime.evaluation.aggregates import MIN_RELIABLE_ORDERS, ChartRow
from preptime.evaluation.documents import BacktestDocument, Score, WaitingCost
from preptime.evaluation.evaluated_orders import GLOBAL_MEDIAN, LABEL_SETS, LOOKUP, LabelSet
from preptime.evaluation.metrics import COVERAGE_BAND, MAE, REGRESSION_MIN_ORDERS, coverage_in_band
from preptime.evaluation.report_data import PredictionSummary
from preptime.formatting import format_count, with_minus_signs

NO_VALUE = "–"
_MIN_SHOWN_TIES = 0.01
"""From this share of labels that are equal to p10 or p90, the coverage is shown with and without them."""
WEAK_MODEL_NOTE = "not better than the global median"
"""What is shown next to the name of a weak model."""

ARRIVAL_TITLES = {
    "predicted_quantile": "predicted quantile",
    "live_quantile": "live quantile",
    "p50": "p50 minus travel",
    "lookup_quantile": "lookup's quantile",
    "constant": "constant",
}
"""The ways to choose when a courier arrives, by field of `WaitingCost`, for people."""


def format_minutes(seconds: float | None, digits: int = 1) -> str:
    """Return seconds as minutes, or `–` without a value. Never returns a negative zero."""
    return format_time(seconds, MINUTES, digits)


def format_time(seconds: float | None, unit: TimeUnit, digits: int = 1) -> str:
    """Return seconds as a number in a unit, or `–` without a value. `digits` are the decimals in minutes."""
    return NO_VALUE if seconds is None else unit.number(seconds, digits)


def format_percent(share: float | None, digits: int = 1) -> str:
    """Return a share as a percentage, or `–` without a value."""
    return NO_VALUE if share is None else f"{share:.{digits}%}"


def find_score(document: BacktestDocument, name: str, labels: LabelSet = LABEL_SETS[0]) -> Score | None:
    """Return the scores of `name` over `labels`, or None. Bundles can have a model with the name of a baseline."""
    rows = (row for row in document.scores if (row.name, row.labels) == (name, labels))
    is_baseline = name in {LOOKUP, GLOBAL_MEDIAN}
    return next((row for row in rows if (row.kind == "baseline") == is_baseline), None)


def has_ties(coverage: float, inside: float) -> bool:
    """Return whether so many labels are equal to p10 or p90 that the coverage is shown with and without them."""
    return coverage - inside >= _MIN_SHOWN_TIES


def without_ends_text(coverage: float | None, inside: float | None) -> str:
    """Return the coverage without the labels at the ends of the interval, as an addition to that with them.

    Example:
        >>> without_ends_text(0.891, 0.69), without_ends_text(0.801, 0.8)
        (', or 69.0% without those at its ends', '')
    """
    if coverage is None or inside is None or not has_ties(coverage, inside):
        return ""
    return f", or {format_percent(inside)} without those at its ends"


def weak_models(document: BacktestDocument) -> tuple[str, ...]:
    """Return the point models whose mean absolute error isn't lower than that of the global median."""
    median = find_score(document, GLOBAL_MEDIAN)
    if median is None or median.mae is None:
        return ()
    return tuple(
        score.name
        for score in document.scores
        if (score.kind, score.labels) == ("model", median.labels)
        and score.name != document.default_model
        and score.mae is not None
        and not MAE.is_better(score.mae, median.mae)
    )


def weak_models_sentences(names: Sequence[str]) -> list[str]:
    """Return a sentence that names the weak models, if there are any.

    Example:
        >>> weak_models_sentences(("rf", "gbr"))
        ["Don't use these point models, which are not better than the global median: rf, gbr."]
    """
    return [f"Don't use these point models, which are {WEAK_MODEL_NOTE}: {', '.join(names)}."] if names else []


def summary_sentences(document: BacktestDocument, unit: TimeUnit = MINUTES) -> list[str]:
    """Return sentences about the error of the model and of the lookup, and the coverage of the interval."""
    default, lookup = find_score(document, document.default_model), find_score(document, LOOKUP)
    if default is None or default.median_ae is None:
        return ["No orders with a label were evaluated, so the accuracy of the predictions is unknown."]
    spread = (
        f"Half of the predictions are within {unit.words(default.median_ae)} of the actual time, and "
        f"{format_percent(default.within_5_min)} are within {unit.five_minutes}."
    )
    comparison = []
    if lookup is not None and default.mae is not None and lookup.mae:
        comparison = [_lookup_sentence(default.mae, lookup.mae, unit)]
    return [
        spread,
        *comparison,
        _interval_sentence(document, unit),
        *_closer_models_sentences(document, default),
        *weak_models_sentences(weak_models(document)),
    ]


def _lookup_sentence(mae: float, lookup_mae: float, unit: TimeUnit) -> str:
    share = format_percent(abs(1 - mae / lookup_mae), 0)
    errors = f"The mean error is {unit.words(mae)}"
    lookup_error = f"the restaurant lookup's ({unit.words(lookup_mae)})"
    if MAE.is_better(mae, lookup_mae):
        return f"{errors}, {share} smaller than {lookup_error}."
    if MAE.is_better(lookup_mae, mae):
        return f"{errors}, {share} larger than {lookup_error}. Don't use this model."
    return f"{errors}, equal to {lookup_error}."


def _interval_sentence(document: BacktestDocument, unit: TimeUnit) -> str:
    interval = document.interval
    coverage, inside = interval.coverage, interval.coverage_inside
    sentence = (
        f"The p10–p90 interval holds {format_percent(coverage)} of the orders{without_ends_text(coverage, inside)} "
        f"(target: {format_percent(interval.level, 0)}), "
        f"and its median width is {format_time(interval.median_width_seconds, unit)} {unit.name}."
    )
    return sentence if coverage_in_band(coverage, inside) else f"{sentence} It isn't calibrated."


def _closer_models_sentences(document: BacktestDocument, default: Score) -> list[str]:
    rivals = [
        row
        for row in document.scores
        if row.labels == default.labels and row.name != default.name and row.kind != "live"
    ]
    better_names = [row.name for row in rivals if MAE.is_better(row.mae, default.mae)]
    return [f"These have a smaller mean error: {', '.join(better_names)}."] if better_names else []


def cost_ratio_text(cost: WaitingCost) -> str:
    """Return the ratio of the costs of a courier's and of the food's waiting: `2:1`."""
    return f"{cost.courier_cost:g}:{cost.food_cost:g}"


def format_waiting_cost(seconds: float | None, unit: TimeUnit = MINUTES) -> str:
    """Return a waiting cost per 1,000 orders as a number in a unit, or `–` without a value."""
    return NO_VALUE if seconds is None else f"{seconds / unit.seconds:,.{unit.digits(-1)}f}"


def waiting_cost_rows(costs: Sequence[WaitingCost], unit: TimeUnit = MINUTES) -> list[tuple[str, list[str]]]:
    """Return the rows of a table: when couriers arrive, and the waiting cost at each cost ratio in a unit."""
    return [
        (title, [format_waiting_cost(getattr(cost, name), unit) for cost in costs])
        for name, title in shown_arrivals(costs).items()
    ]


def shown_arrivals(costs: Iterable[WaitingCost]) -> dict[str, str]:
    """Return the ways to choose when a courier arrives, as in `ARRIVAL_TITLES`, without a missing live model."""
    has_live_model = any(cost.live_quantile is not None for cost in costs)
    return {name: title for name, title in ARRIVAL_TITLES.items() if has_live_model or name != "live_quantile"}


def waiting_cost_caption(costs: Iterable[WaitingCost], unit: TimeUnit = MINUTES) -> str:
    """Return the unit of waiting costs, and how that of the predicted quantile differs from that of the lookup's."""
    changes = [
        f"{format_percent(cost.predicted_quantile / cost.lookup_quantile - 1, 0)} at {cost_ratio_text(cost)}"
        for cost in costs
        if cost.predicted_quantile is not None and cost.lookup_quantile
    ]
    text = (
        f"{unit.name.capitalize()} of waiting per 1,000 orders, by when couriers arrive. The weights of courier:food "
        "are in the ratio of their costs per minute and add to 2."
    )
    if not changes:
        return text
    return f"{text} The predicted quantile compared with the lookup's: {with_minus_signs(', '.join(changes))}."


def waiting_cost_text(costs: Iterable[WaitingCost]) -> str:
    """Return waiting costs as one line, in minutes, with those of the lookup's quantile.

    `convert_times` converts the line to another unit.

    Example:
        >>> waiting_cost_text([WaitingCost(2, 1, 2 / 3, 500, 476_400.0, 509_400.0, 567_600.0, 616_800.0)])
        "2:1: 7,940 min (lookup's quantile: 9,460 min)."
    """
    lookup = ARRIVAL_TITLES["lookup_quantile"]
    parts = [
        f"{cost_ratio_text(cost)}: {format_waiting_cost(cost.predicted_quantile)} min "
        f"({lookup}: {format_waiting_cost(cost.lookup_quantile)} min)"
        for cost in costs
    ]
    return f"{', '.join(parts)}."


def quartile_rows(summary: PredictionSummary, unit: TimeUnit = MINUTES) -> list[ChartRow]:
    """Return the quartiles of the actual times as chart rows."""
    return [
        {name: unit.from_minutes(minutes) for name, minutes in msgspec.structs.asdict(quartiles).items()}
        for quartiles in summary.actual_quartiles
    ]


def density_caption(summary: PredictionSummary, unit: TimeUnit = MINUTES) -> str:
    """Return the caption of the chart of predicted and actual times."""
    return (
        "Darker cells hold more orders. On the dashed line, the prediction is exact. Dots are the median actual time, "
        f"and lines connect its quartiles. {format_percent(summary.share_beyond_axes)} of the orders are beyond "
        f"{unit.tick(summary.axis_limit_minutes)} {unit.name}."
    )


def errors_caption(summary: PredictionSummary, unit: TimeUnit = MINUTES) -> str:
    """Return the caption of the distribution of errors."""
    return (
        f"Bars are the model (dark: within {unit.five_minutes}), and the line is the restaurant lookup. "
        f"{format_percent(summary.share_over_5_min_late)} of the orders were completed more than "
        f"{unit.five_minutes} later than predicted, and {format_percent(summary.share_over_5_min_early)} more than "
        f"{unit.five_minutes} earlier."
    )


def hours_without_orders(hours: Iterable[int]) -> str:
    """Return a sentence with the hours that aren't in `hours`, or an empty text. A range can include midnight.

    Example:
        >>> hours_without_orders([*range(1, 9), *range(11, 23)])
        'No orders were acknowledged from 9:00 to 10:59 and from 23:00 to 0:59.'
    """
    missing = {*range(24)} - {*hours}
    if len(missing) in {0, 24}:
        return ""
    starts = sorted(hour for hour in missing if (hour - 1) % 24 not in missing)
    ranges = []
    for start in starts:
        end = next(hour for hour in range(start, start + 24) if (hour + 1) % 24 not in missing)
        ranges.append(f"from {start}:00 to {end % 24}:59")
    *first, last = ranges
    return f"No orders were acknowledged {', '.join(first)}{' and ' if first else ''}{last}."


def hours_caption(rows: list[ChartRow], unit: TimeUnit = MINUTES) -> str:
    """Return the caption of the error by local hour. Requires at least one row."""
    worst_hour = max(_reliable_rows(rows), key=lambda row: float(row["mae"]))
    return (
        "Bars are the model, and ticks are the restaurant lookup. Hours with fewer than "
        f"{MIN_RELIABLE_ORDERS} orders are pale and clipped. The largest error is at {worst_hour['value']}:00: "
        f"{float(worst_hour['mae']):.{unit.digits()}f} {unit.name} over {worst_hour['orders']:,} orders. "
        f"{hours_without_orders(int(row['value']) for row in rows)}"
    ).rstrip()


def calibration_caption(rows: list[ChartRow]) -> str:
    """Return the caption of the calibration curve. The rows of all orders come first."""
    overall = [row for row in rows if row["group"] == rows[0]["group"]]
    largest_gap = max(abs(float(row["observed"]) - float(row["nominal"])) for row in overall)
    return (
        "Calibrated quantiles are on the green line (band: ±3 percentage points). Over all orders, the largest "
        f"deviation is {100 * largest_gap:.1f} points. Fallback levels need {REGRESSION_MIN_ORDERS} orders to appear."
    )


def segment_errors_caption(rows: list[ChartRow]) -> str:
    """Return the caption of the mean error by segment. Requires at least one row."""
    reliable = _reliable_rows(rows)
    with_lookup = [row for row in reliable if "lookup_mae" in row]
    better_count = sum(MAE.is_better(float(row["mae"]), float(row["lookup_mae"])) for row in with_lookup)
    return (
        "Bars are the model, and ticks are the restaurant lookup. Labels show the number of orders. Only the largest "
        f"cities and types of food are shown. The model has a smaller error in {better_count} of "
        f"{format_count(len(with_lookup), 'segment')} with {MIN_RELIABLE_ORDERS} orders or more."
    )


def segment_coverage_caption(rows: list[ChartRow]) -> str:
    """Return the caption of the coverage by segment. Requires at least one row."""
    reliable = _reliable_rows(rows)
    low, high = COVERAGE_BAND
    in_band_count = sum(bool(row["in_band"]) for row in reliable)
    return (
        "Dots are the share of orders within the interval, with a 95% confidence interval. Green marks the target and "
        f"its band. Within {format_percent(low, 0)} to {format_percent(high, 0)}: {in_band_count} of "
        f"{format_count(len(reliable), 'segment')} with {MIN_RELIABLE_ORDERS} orders or more."
    )


def importance_caption(rows: list[ChartRow], model: str) -> str:
    """Return the caption of the importance of features. Requires at least one row."""
    return f"The share of each feature in {model}. The most important is {rows[0]['feature']}."


def _reliable_rows(rows: Iterable[ChartRow]) -> list[ChartRow]:
    """Return the rows with enough orders, or all rows if none has enough."""
    rows = list(rows)
    return [row for row in rows if not row["small_sample"]] or rows
