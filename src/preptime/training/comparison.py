"""The comparison that decides whether a challenger becomes champion (D7).

Two bundles on the same orders, neither fitted on any of them: for `train`, and for a person who asks.
"""

from __future__ import annotations

import datetime as dt

import msgspec

from preptime.bundle.bundle import Bundle
from preptime.domain.orders import upper_outlier_limit
from preptime.evaluation.evaluated_orders import LOOKUP, EvaluatedOrders
from preptime.evaluation.metrics import MAE, compute_interval, coverage_in_band, segment_regressions
from preptime.evaluation.segments import score_segments
from preptime.features.restaurant_index import RestaurantIndex
from preptime.sources.source import DataSource
from preptime.training.as_of_features import build_feature_matrix
from preptime.training.backtest import evaluate_graph
from preptime.training.training_data import TrainingData
from preptime.validation.audit import audit_orders

MIN_SEGMENT_ORDERS = 200
"""A segment's MAE of fewer orders moves by more than 5 % from one week to the next by chance."""
MAX_SEGMENT_REGRESSION = 0.05


class PromotionCheck(msgspec.Struct, frozen=True):
    """One condition of a promotion."""

    rule: str
    result: str
    passed: bool


class Comparison(msgspec.Struct, frozen=True):
    """A challenger and a champion on the same orders, neither fitted on any of them."""

    challenger: str
    champion: str | None
    first_day: dt.date | None
    """First and last day compared on; None where there is no day that neither bundle has seen."""
    last_day: dt.date | None
    orders: int
    challenger_mae: float | None
    champion_mae: float | None
    lookup_mae: float | None
    challenger_coverage: float | None
    """Share of labels from p10 to p90; 0.8 is promised."""
    checks: tuple[PromotionCheck, ...]

    @property
    def passed(self) -> bool:
        """Whether every condition holds."""
        return bool(self.checks) and all(check.passed for check in self.checks)

    @property
    def summary(self) -> str:
        """Why it was won or lost, for people."""
        failed_checks = [f"{check.rule}: {check.result}" for check in self.checks if not check.passed]
        if failed_checks:
            return "Lost on: " + " ".join(failed_checks)
        return "Won. " + " ".join(f"{check.rule}: {check.result}" for check in self.checks)


def compare_evaluations(
    challenger: EvaluatedOrders,
    champion: EvaluatedOrders | None,
    *,
    bundle_ids: tuple[str, str | None],
    days: tuple[dt.date, dt.date],
) -> Comparison:
    """Judge a challenger by what both answered for the same orders; `names` are challenger's and champion's ids.

    Without a champion the lookup alone is to be beaten.
    """
    actual = challenger.actual
    mae, lookup_mae = MAE(actual, challenger.default_predictions), MAE(actual, challenger.baseline_predictions[LOOKUP])
    champion_mae = MAE(actual, champion.default_predictions) if champion else None
    coverage = compute_interval(actual, challenger.quantiles).coverage
    checks = [
        _check_better("Better than the restaurant lookup", mae, lookup_mae),
        PromotionCheck(
            "p10 to p90 holds 75 to 85 % of the labels",
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
    """The comparison of two bundles when no day is left that neither has seen; the later fit ended with `through`."""
    check = PromotionCheck(
        "Days that neither bundle has seen",
        f"none, one of them was fitted on days up to {fitted_through}.",
        passed=False,
    )
    return Comparison(challenger, champion, None, None, 0, None, None, None, None, (check,))


def _check_better(rule: str, challenger_mae: float | None, reference_mae: float | None) -> PromotionCheck:
    if challenger_mae is None or reference_mae is None:
        return PromotionCheck(rule, "there are no labels to compare on.", passed=False)
    return PromotionCheck(
        rule, f"MAE {challenger_mae:.1f} s against {reference_mae:.1f} s.", MAE.is_better(challenger_mae, reference_mae)
    )


def _check_segments(challenger: EvaluatedOrders, champion: EvaluatedOrders) -> PromotionCheck:
    # Both are cut alike, by the challenger's columns: a basis may differ between two vocabularies.
    columns, actual, lookup = challenger.segment_columns, challenger.actual, challenger.baseline_predictions[LOOKUP]
    regressions = segment_regressions(
        score_segments(columns, actual, challenger.quantiles, lookup),
        score_segments(columns, actual, champion.quantiles, lookup),
        min_orders=MIN_SEGMENT_ORDERS,
        worse_by=MAX_SEGMENT_REGRESSION,
    )
    rule = f"No segment of {MIN_SEGMENT_ORDERS} orders or more worse by {MAX_SEGMENT_REGRESSION:.0%}"
    if not regressions:
        return PromotionCheck(rule, "none.", passed=True)
    worst_segments = ", ".join(
        f"{regression.segment} {regression.value} ({regression.champion_mae:.0f} to {regression.challenger_mae:.0f} s)"
        for regression in regressions[:5]
    )
    remainder = f" and {len(regressions) - 5} more" if len(regressions) > 5 else ""
    return PromotionCheck(rule, f"{worst_segments}{remainder}.", passed=False)


ONE_DAY = dt.timedelta(days=1)


def compare_bundles(data: TrainingData, challenger: Bundle, champion: Bundle, last_day: dt.date) -> Comparison:
    """Both bundles' models on the days after both were fitted, up to `last`, each day with that morning's history."""
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


def compare_bundles_on_orders(
    orders: DataSource,
    restaurants: RestaurantIndex,
    challenger: Bundle,
    champion: Bundle,
    last_day: dt.date | None = None,
) -> Comparison:
    """The same from tables; up to `last`, or the last day that has orders. Promotes nothing.

    Raises `DataError` for orders that cannot be read or used.
    """
    data = TrainingData.from_orders(audit_orders(orders.frame(), restaurants, need_label=True), restaurants)
    return compare_bundles(data, challenger, champion, min(last_day or data.last_day, data.last_day))


def evaluate_bundle(data: TrainingData, bundle: Bundle, first_day: dt.date, last_day: dt.date) -> EvaluatedOrders:
    """What the bundle's models answer from `first` to `last`, with categories as they were when it was fitted."""
    vocabularies = bundle.manifest.vocabularies
    recoded_data = data.recoded(data.restaurants.recoded(vocabularies))
    return evaluate_graph(
        build_feature_matrix(recoded_data, first_day, last_day), bundle.graph, upper_outlier_limit(data.labels)
    )
