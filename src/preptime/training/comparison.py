"""The comparison of a challenger with the champion, and the gate for a promotion (decision 7).

Both predict the same orders, and neither was fitted on any of them. `train` uses it to decide on a promotion, and
`preptime bundles compare` and the dashboard show it.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence

import msgspec
import numpy as np

from preptime.bundle.bundle import Bundle
from preptime.bundle.champion_log import LogEntry, training_by_refresh
from preptime.bundle.manifest import Manifest
from preptime.domain.orders import upper_outlier_limit
from preptime.errors import UsageError
from preptime.evaluation.documents import Interval, WaitingCost
from preptime.evaluation.evaluated_orders import GLOBAL_MEDIAN, LOOKUP, EvaluatedOrders, waiting_costs
from preptime.evaluation.metrics import MAE, Seconds, compute_interval, coverage_in_band, segment_regressions
from preptime.evaluation.paired import PairedDifference, paired_difference
from preptime.evaluation.segments import score_segments
from preptime.evaluation.summary_text import format_minutes, has_ties
from preptime.features.restaurant_index import RestaurantIndex
from preptime.formatting import format_count
from preptime.schema.schema import Target
from preptime.sources.source import DataSource
from preptime.training.as_of_features import build_feature_matrix
from preptime.training.backtest import evaluate_graphs
from preptime.training.training_data import ONE_DAY, TrainingData
from preptime.validation.audit import audit_orders

MIN_SEGMENT_ORDERS = 200
"""With fewer orders, a segment's MAE changes by more than 5% from week to week by chance."""
MAX_SEGMENT_REGRESSION = 0.05
_MAX_LISTED_SEGMENTS = 5
CHAMPION = "champion"
REFERENCE_TITLES = {CHAMPION: "the champion", LOOKUP: "the restaurant lookup", GLOBAL_MEDIAN: "the global median"}
_NO_LABELS = "no labels"
_COVERAGE_ERRORS = 2.0
"""Standard errors by which the coverage of a reduced set can be outside of the band."""


class PromotionCheck(msgspec.Struct, frozen=True):
    """One condition of the promotion gate."""

    rule: str
    result: str
    passed: bool


class Comparison(msgspec.Struct, frozen=True):
    """The evaluation of a challenger and a champion on orders that neither was fitted on."""

    challenger: str
    champion: str | None
    first_day: dt.date | None
    """First and last day of the comparison. None if there is no day that neither bundle was fitted on."""
    last_day: dt.date | None
    orders: int
    challenger_mae: float | None
    """Mean absolute errors, in seconds."""
    champion_mae: float | None
    """On the days on which the champion served."""
    lookup_mae: float | None
    challenger_coverage: float | None
    """Share of labels from p10 to p90. The target is 0.8."""
    checks: tuple[PromotionCheck, ...]
    differences: tuple[PairedDifference, ...] = ()
    """The challenger compared with the champion, if it served on a day, and with the better baseline."""
    waiting_costs: tuple[WaitingCost, ...] = ()
    """The challenger's waiting costs. The gate doesn't depend on them."""
    reduced: bool = False
    """Whether the challenger is a reduced set, for which the first promotion has weaker conditions."""
    notes: tuple[str, ...] = ()
    """Sentences about bundles that couldn't be used."""

    @property
    def passed(self) -> bool:
        """Whether all conditions of the gate are met."""
        return bool(self.checks) and all(check.passed for check in self.checks)

    @property
    def summary(self) -> str:
        """The failed conditions, or all conditions if none failed, and the notes, as text."""
        failed_checks = [check for check in self.checks if not check.passed]
        details = " ".join((*(f"{check.rule}: {check.result}" for check in failed_checks or self.checks), *self.notes))
        return f"Failed: {details}" if failed_checks else f"Passed. {details}"


def compare_bundles_on_orders(
    orders: DataSource, restaurants: RestaurantIndex, challenger: Bundle, champion: Bundle
) -> Comparison:
    """Compare two bundles on the orders of a data source, without a promotion.

    Raises `DataError` if the orders can't be read or used, and `UsageError` as `compare_bundles`.
    """
    audited = audit_orders(orders.frame(), restaurants, need_label=True, schema=orders.schema)
    data = TrainingData.from_orders(audited, restaurants)
    return compare_bundles(data, challenger, champion, target=orders.schema.target)


def compare_bundles(
    data: TrainingData, challenger: Bundle, champion: Bundle, last_day: dt.date | None = None, *, target: Target
) -> Comparison:
    """Compare two bundles on the days through `last_day` that neither was fitted on, each as of its day.

    `last_day` defaults to the last day that has orders. `target` is that of the orders. Raises `UsageError` if it isn't
    the target of both bundles.
    """
    challenger_manifest, champion_manifest = challenger.manifest, champion.manifest
    check_same_target(challenger_manifest, champion_manifest, "Compare bundles that predict the same target.")
    check_target_of_orders(target, challenger_manifest, champion_manifest)
    first_day = first_comparable_day(challenger_manifest, champion_manifest)
    last_day = min(last_day or data.last_day, data.last_day)
    if first_day > last_day:
        ids = challenger_manifest.id, champion_manifest.id
        return incomparable_bundles(*ids, first_day - ONE_DAY, data.last_day)
    return compare_evaluations(
        evaluate_bundle(data, challenger, first_day, last_day),
        evaluate_bundle(data, champion, first_day, last_day),
        bundle_ids=(challenger_manifest.id, champion_manifest.id),
        days=(first_day, last_day),
    )


def check_same_target(challenger: Manifest, champion: Manifest, hint: str) -> None:
    """Raise `UsageError` if two bundles predict different targets, whose errors can't be compared."""
    targets = challenger.schema.target, champion.schema.target
    if targets[0].name != targets[1].name:
        raise UsageError(
            f"The challenger {challenger.id} predicts {targets[0].name} ({targets[0].title}), and the champion "
            f"{champion.id} predicts {targets[1].name} ({targets[1].title}).",
            hint,
        )


def check_target_of_orders(target: Target, *bundles: Manifest) -> None:
    """Raise `UsageError` if a bundle predicts another target than `target`, that of the orders."""
    for bundle in bundles:
        predicted = bundle.schema.target
        if target.name != predicted.name:
            raise UsageError(
                f"The orders have the target {target.name} ({target.title}), and the models of {bundle.id} predict "
                f"{predicted.name} ({predicted.title}).",
                f"Use the orders and the schema of {predicted.name} (--orders, --schema).",
            )


def evaluate_bundle(data: TrainingData, bundle: Bundle, first_day: dt.date, last_day: dt.date) -> EvaluatedOrders:
    """Return a bundle's predictions for `first_day` through `last_day`, with the category codes of its fit."""
    recoded_data = data.recoded(data.restaurants.recoded(bundle.manifest.vocabularies, bundle.history.feature_set))
    features = build_feature_matrix(recoded_data, first_day, last_day)
    return evaluate_graphs(features, bundle.graphs, upper_outlier_limit(data.labels))


def compare_evaluations(
    challenger: EvaluatedOrders,
    champion: EvaluatedOrders | None,
    *,
    bundle_ids: tuple[str, str | None],
    days: tuple[dt.date, dt.date],
    reduced: bool = False,
    missing_models: Sequence[str] = (),
    notes: Sequence[str] = (),
) -> Comparison:
    """Compare the predictions of two bundles for the same orders.

    `bundle_ids` are the challenger's and the champion's. `champion` can have fewer days, because it didn't serve on
    the others, or none. Without a champion, the challenger only has to beat the better baseline and to meet the target
    coverage. `reduced` says that the challenger is a reduced set. `missing_models` are models of the champion that the
    user left out of the challenger. `notes` are sentences about bundles that couldn't be used.
    """
    is_first = bundle_ids[1] is None
    baseline = _compare_with_baseline(challenger)
    checks = [
        _check_not_worse(baseline) if reduced and is_first else _check_better(baseline, "the better baseline"),
        _check_coverage(challenger, is_lenient=reduced and is_first),
    ]
    differences = [baseline]
    if not is_first:
        common = challenger if champion is None else challenger.take(np.isin(challenger.day, champion.day))
        difference = None if champion is None else _difference(CHAMPION, common, champion.default_predictions)
        differences.insert(0, difference)
        missing = "no day on which it served" if champion is None else _NO_LABELS
        checks.insert(0, _check_better(difference, REFERENCE_TITLES[CHAMPION], missing))
        if champion is not None and len(champion):
            checks.append(_check_segments(common, champion))
    if missing_models:
        detail = f"{', '.join(missing_models)} left out (--models). Clients can request the champion's models."
        checks.append(PromotionCheck("Has the champion's models", detail, passed=False))
    return Comparison(
        challenger=bundle_ids[0],
        champion=bundle_ids[1],
        first_day=days[0],
        last_day=days[1],
        orders=len(challenger),
        challenger_mae=MAE(challenger.actual, challenger.default_predictions),
        champion_mae=None if champion is None else MAE(champion.actual, champion.default_predictions),
        lookup_mae=MAE(challenger.actual, challenger.baseline_predictions[LOOKUP]),
        challenger_coverage=compute_interval(challenger.actual, challenger.quantiles).coverage,
        checks=tuple(checks),
        differences=tuple(difference for difference in differences if difference is not None),
        waiting_costs=waiting_costs(challenger),
        reduced=reduced,
        notes=tuple(notes),
    )


def _compare_with_baseline(orders: EvaluatedOrders) -> PairedDifference | None:
    """Return the difference from the baseline with the lower error."""
    differences = [_difference(name, orders, orders.baseline_predictions[name]) for name in (LOOKUP, GLOBAL_MEDIAN)]
    return min(
        (difference for difference in differences if difference is not None),
        key=lambda difference: difference.reference_mae,
        default=None,
    )


def _difference(name: str, orders: EvaluatedOrders, reference: Seconds) -> PairedDifference | None:
    errors, reference_errors = (
        np.abs(predicted - orders.actual) for predicted in (orders.default_predictions, reference)
    )
    return paired_difference(name, errors, reference_errors, orders.day)


def read_comparison(entry: LogEntry) -> Comparison | None:
    """Return the comparison of an entry of the champion log, or None if it has none that this version can read."""
    if entry.comparison is None:
        return None
    try:
        return msgspec.convert(entry.comparison, Comparison, strict=False)
    except msgspec.ValidationError:
        return None


def find_logged_comparison(
    entries: Sequence[LogEntry], first: Manifest, second: Manifest
) -> tuple[LogEntry, Comparison] | None:
    """Return the latest entry of the champion log that compares the models of two bundles, with its comparison.

    A champion in the log can be a refresh of one of the bundles, with the same models.
    """
    training_ids = training_by_refresh(entries)
    models = {bundle.parent or bundle.id for bundle in (first, second)}
    for entry in reversed(entries):
        comparison = read_comparison(entry)
        if comparison is None or comparison.champion is None:
            continue
        if {training_ids.get(name, name) for name in (comparison.challenger, comparison.champion)} == models:
            return entry, comparison
    return None


def first_comparable_day(first: Manifest, second: Manifest) -> dt.date:
    """Return the first day that neither bundle was fitted on."""
    return max(first.window.fitted_through, second.window.fitted_through) + ONE_DAY


def incomparable_bundles(challenger: str, champion: str, fitted_through: dt.date, last_day: dt.date) -> Comparison:
    """Return the failed comparison of two bundles that together were fitted on all days through `fitted_through`.

    `last_day` is the last day that has orders.
    """
    first_day = fitted_through + ONE_DAY
    remedy = (
        f"Compare them again after the orders of {first_day} are complete."
        if last_day < first_day
        else f"Use --to {first_day} or later: there are orders through {last_day}."
    )
    detail = (
        f"none. One of the bundles was fitted on days through {fitted_through}. {remedy} `preptime bundles show` has "
        "the gate's comparison."
    )
    check = PromotionCheck("Days that neither bundle was fitted on", detail, passed=False)
    return Comparison(challenger, champion, None, None, 0, None, None, None, None, (check,))


def _check_better(difference: PairedDifference | None, reference: str, missing: str = _NO_LABELS) -> PromotionCheck:
    rule = f"Significantly better than {reference}"
    if difference is None:
        return PromotionCheck(rule, f"{missing}.", passed=False)
    return PromotionCheck(rule, describe_difference(difference), difference.is_better)


def _check_not_worse(difference: PairedDifference | None) -> PromotionCheck:
    rule = "Not significantly worse than the better baseline (reduced set, and there is no champion)"
    if difference is None:
        return PromotionCheck(rule, f"{_NO_LABELS}.", passed=False)
    return PromotionCheck(rule, describe_difference(difference), not difference.is_worse)


def describe_difference(difference: PairedDifference) -> str:
    """Return the errors, their difference, its standard error, and the limit for significance as a sentence.

    Example:
        >>> sentence = describe_difference(PairedDifference("champion", 7, 6_812, 428.0, 432.0, -4.0, 1.2))
        >>> sentence.partition(", on ")[0]
        'MAE 7.13 min compared with 7.20 min of the champion'
        >>> sentence.partition(", on ")[2]
        '6,812 orders of 7 days (-4.0 s, standard error 1.2 s, significant from 2.3 s).'
    """
    return (
        f"MAE {format_minutes(difference.mae, 2)} min compared with {format_minutes(difference.reference_mae, 2)} min "
        f"of {REFERENCE_TITLES[difference.reference]}, on {format_count(difference.orders, 'order')} of "
        f"{format_count(difference.days, 'day')} ({difference.difference:+.1f} s, {difference.uncertainty})."
    )


def _check_coverage(orders: EvaluatedOrders, *, is_lenient: bool) -> PromotionCheck:
    """Check the coverage of p10 to p90. Labels that are equal to p10 or p90 can count as covered or not."""
    rule = "p10 to p90 covers 75% to 85% of the labels"
    interval = compute_interval(orders.actual, orders.quantiles)
    tolerance = 0.0
    if is_lenient and len(orders):
        tolerance = _COVERAGE_ERRORS * math.sqrt(interval.level * (1 - interval.level) / len(orders))
        rule = f"{rule}, give or take {tolerance:.1%} for so few orders"
    is_accepted = coverage_in_band(interval.coverage, interval.coverage_inside, tolerance)
    return PromotionCheck(rule, f"{_coverage_text(interval)}.", is_accepted)


def _coverage_text(interval: Interval) -> str:
    if interval.coverage is None or interval.coverage_inside is None:
        return _NO_LABELS
    if not has_ties(interval.coverage, interval.coverage_inside):
        return f"{interval.coverage:.1%}"
    return f"{interval.coverage_inside:.1%} without and {interval.coverage:.1%} with the labels at its ends"


def _check_segments(challenger: EvaluatedOrders, champion: EvaluatedOrders) -> PromotionCheck:
    # Both use the challenger's segments, because the fallback level can differ between two vocabularies.
    columns, actual, lookup = challenger.segment_columns, challenger.actual, challenger.baseline_predictions[LOOKUP]
    regressions = segment_regressions(
        score_segments(columns, actual, challenger.quantiles, lookup),
        score_segments(columns, actual, champion.quantiles, lookup),
        min_orders=MIN_SEGMENT_ORDERS,
        worse_by=MAX_SEGMENT_REGRESSION,
    )
    rule = f"No segment with {MIN_SEGMENT_ORDERS} or more orders is more than {MAX_SEGMENT_REGRESSION:.0%} worse"
    if not regressions:
        return PromotionCheck(rule, "none.", passed=True)
    worst_segments = ", ".join(
        f"{regression.segment} {regression.value} ({format_minutes(regression.champion_mae, 2)} to "
        f"{format_minutes(regression.challenger_mae, 2)} min)"
        for regression in regressions[:_MAX_LISTED_SEGMENTS]
    )
    remaining = len(regressions) - _MAX_LISTED_SEGMENTS
    remainder = f" and {remaining} more" if remaining > 0 else ""
    return PromotionCheck(rule, f"{worst_segments}{remainder}.", passed=False)
