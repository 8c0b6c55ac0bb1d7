"""Two bundles on the same orders, neither fitted on any of them: for `train`, and for a person who asks."""

from __future__ import annotations

import datetime as dt

from preptime.bundle.bundle import Bundle
from preptime.domain.fence import upper_outlier_limit
from preptime.evaluation.evaluated import EvaluatedOrders
from preptime.features.directory import RestaurantIndex
from preptime.tables.audit import audit_orders
from preptime.tables.table import DataSource
from preptime.training.backtest import evaluate_graph
from preptime.training.corpus import TrainingData
from preptime.training.mornings import build_feature_matrix
from preptime.training.promote import Comparison, compare_evaluations, incomparable_bundles

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
