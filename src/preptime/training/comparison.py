"""The comparison of a challenger with the champion, and the gate for a promotion (decision 7).

Both bundles predict the same orders, and neither was fitted on any of them. `train` uses it to decide on a promotion,
and `preptime bundles compare` and the dashboard show it.
"""

from __future__ import annotations

import datetime as dt

import msgspec

from preptime.bundle.bundle import Bundle
from preptime.domain.orders import upper_outlier_limit
from preptime.evaluation.evaluated_orders import LOOKUP, EvaluatedOrders
from preptime.evaluation.metrics import MAE, compute_interval, coverage_in_band, segment_regressions
from preptime.evaluation.segments import score_segments
from preptime.evaluation.summary_text import format_minutes
from preptime.features.restaurant_index import RestaurantIndex
from preptime.sources.source import DataSource
from preptime.training.as_of_features import build_feature_matrix
from preptime.training.backtest import evaluate_graph
from preptime.training.training_data import ONE_DAY, TrainingData
from preptime.validation.audit import audit_orders

MIN_SEGMENT_ORDERS = 200
"""With fewer orders, a segment's MAE changes by more than 5% from week to week by chance."""
MAX_SEGMENT_REGRESSION = 0.05
_MAX_LISTED_SEGMENTS = 5


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
    lookup_mae: float | None
    challenger_coverage: float | None
    """Share of labels from p10 to p90. The target is 0.8."""
    checks: tuple[PromotionCheck, ...]

    @property
    def passed(self) -> bool:
        """Whether all conditions of the gate are met."""
        return bool(self.checks) and all(check.passed for check in self.checks)

    @property
    def summary(self) -> str:
        """The failed conditions, or all conditions if none failed, as text."""
        failed_checks = [check for check in self.checks if not check.passed]
        details = " ".join(f"{check.rule}: {check.result}" for check in failed_checks or self.checks)
        return f"Failed: {details}" if failed_checks else f"Passed. {details}"


def compare_bundles_on_orders(
    orders: DataSource,
    restaurants: RestaurantIndex,
    challenger: Bundle,
    champion: Bundle,
    last_day: dt.date | None = None,
) -> Comparison:
    """Compare two bundles on the orders of a data source, without a promotion.

    `last_day` defaults to the last day that has orders. Raises `DataError` if the orders can't be read or used.
    """
    audited = audit_orders(orders.frame(), restaurants, need_label=True, schema=orders.schema)
    data = TrainingData.from_orders(audited, restaurants)
    return compare_bundles(data, challenger, champion, min(last_day or data.last_day, data.last_day))


def compare_bundles(data: TrainingData, challenger: Bundle, champion: Bundle, last_day: dt.date) -> Comparison:
    """Compare two bundles on the days through `last_day` that neither was fitted on, each as of its day."""
    challenger_manifest, champion_manifest = challenger.manifest, champion.manifest
    fitted_through = max(challenger_manifest.window.fitted_through, champion_manifest.window.fitted_through)
    first_day = fitted_through + ONE_DAY
    if first_day > last_day:
        return incomparable_bundles(challenger_manifest.id, champion_manifest.id, fitted_through)
    return compare_evaluations(
        evaluate_bundle(data, challenger, first_day, last_day),
        evaluate_bundle(data, champion, first_day, last_day),
        bundle_ids=(challenger_manifest.id, champion_manifest.id),
        days=(first_day, last_day),
    )


def evaluate_bundle(data: TrainingData, bundle: Bundle, first_day: dt.date, last_day: dt.date) -> EvaluatedOrders:
    """Return a bundle's predictions for `first_day` through `last_day`, with the category codes of its fit."""
    recoded_data = data.recoded(data.restaurants.recoded(bundle.manifest.vocabularies, bundle.history.feature_set))
    features = build_feature_matrix(recoded_data, first_day, last_day)
    return evaluate_graph(features, bundle.graph, upper_outlier_limit(data.labels))


def compare_evaluations(
    challenger: EvaluatedOrders,
    champion: EvaluatedOrders | None,
    *,
    bundle_ids: tuple[str, str | None],
    days: tuple[dt.date, dt.date],
) -> Comparison:
    """Compare the predictions of two bundles for the same orders.

    `bundle_ids` are the challenger's and the champion's. Without a champion, the challenger only has to beat the
    restaurant lookup and to meet the target coverage.
    """
    actual = challenger.actual
    mae, lookup_mae = MAE(actual, challenger.default_predictions), MAE(actual, challenger.baseline_predictions[LOOKUP])
    champion_mae = MAE(actual, champion.default_predictions) if champion else None
    coverage = compute_interval(actual, challenger.quantiles).coverage
    checks = [
        _check_better("Better than the restaurant lookup", mae, lookup_mae),
        PromotionCheck(
            "p10 to p90 covers 75% to 85% of the labels",
            "no labels." if coverage is None else f"{coverage:.1%}.",
            coverage is not None and coverage_in_band(coverage),
        ),
    ]
    if champion:
        checks.insert(0, _check_better("Better than the champion", mae, champion_mae))
        checks.append(_check_segments(challenger, champion))
    return Comparison(
        challenger=bundle_ids[0],
        champion=bundle_ids[1],
        first_day=days[0],
        last_day=days[1],
        orders=len(challenger),
        challenger_mae=mae,
        champion_mae=champion_mae,
        lookup_mae=lookup_mae,
        challenger_coverage=coverage,
        checks=tuple(checks),
    )


def incomparable_bundles(challenger: str, champion: str, fitted_through: dt.date) -> Comparison:
    """Return the failed comparison of two bundles that together were fitted on all days through `fitted_through`."""
    detail = f"none. One of the bundles was fitted on days through {fitted_through}."
    check = PromotionCheck("Days that neither bundle was fitted on", detail, passed=False)
    return Comparison(challenger, champion, None, None, 0, None, None, None, None, (check,))


def _check_better(rule: str, challenger_mae: float | None, reference_mae: float | None) -> PromotionCheck:
    if challenger_mae is None or reference_mae is None:
        return PromotionCheck(rule, "no labels.", passed=False)
    detail = f"MAE {format_minutes(challenger_mae, 2)} min compared with {format_minutes(reference_mae, 2)} min."
    return PromotionCheck(rule, detail, MAE.is_better(challenger_mae, reference_mae))


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
