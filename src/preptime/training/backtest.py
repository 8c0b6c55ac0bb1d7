"""Backtest: walks forward through days and predicts each day as of that day."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from preptime.bundle.graph import BundleGraphs
from preptime.errors import UsageError
from preptime.evaluation.evaluated_orders import GLOBAL_MEDIAN, LOOKUP, EvaluatedOrders
from preptime.evaluation.segments import SegmentColumns
from preptime.progress import ProgressCallback, no_progress
from preptime.training.as_of_features import FeatureMatrix, build_feature_matrix
from preptime.training.fitting import FitPlan, check_plan, fit_shortfall, fit_window
from preptime.training.training_data import ONE_DAY, TrainingData, day_number


def backtest(
    data: TrainingData,
    first_day: dt.date,
    last_day: dt.date,
    plan: FitPlan,
    *,
    retrain_every: int | None = None,
    progress: ProgressCallback = no_progress,
) -> EvaluatedOrders:
    """Fit as of `first_day`, then predict each day from `first_day` through `last_day`.

    With `retrain_every`, the models are fitted again after that number of days. The history is as of each day in
    both cases. The values of custom categories are those that are common before `first_day`.

    Raises:
        UsageError: The days are outside the data, or `retrain_every` is below 1.
        DataError: There are too few orders to fit on. Nothing is fitted.
    """
    _check_backtest_days(data, first_day, last_day)
    if retrain_every is not None and retrain_every < 1:
        raise UsageError(f"The retraining interval is {retrain_every} days.", "Use --retrain-every 1 or more.")
    data = data.with_common_categories(first_day)
    features = build_feature_matrix(data, data.first_day, last_day, progress)
    if fit_shortfall(data, first_day - ONE_DAY) is None:  # otherwise, `fit_window` reports it
        check_plan(plan, features, first_day - ONE_DAY, progress)
    evaluated_parts = []
    start = first_day
    while start <= last_day:
        end = last_day if retrain_every is None else min(last_day, start + dt.timedelta(days=retrain_every - 1))
        fitted = fit_window(features, start - ONE_DAY, plan, progress)
        test_features = select_days(features, start, end)
        evaluated_parts.append(evaluate_graphs(test_features, fitted.load_graphs(), fitted.label_limit_seconds))
        start = end + ONE_DAY
    return concatenate_evaluated(evaluated_parts)


def select_days(features: FeatureMatrix, first_day: dt.date, last_day: dt.date) -> FeatureMatrix:
    """Return the rows of a matrix that were acknowledged from `first_day` through `last_day`."""
    acknowledged = features.data.acknowledged_day[features.rows]
    start, end = np.searchsorted(acknowledged, [day_number(first_day), day_number(last_day) + 1])
    selected = slice(int(start), int(end))
    return FeatureMatrix(
        features.data,
        features.rows[selected],
        features.X[selected],
        features.lookup_quantiles[selected],
        features.global_quantiles[selected],
        features.fallback_level[selected],
        features.live[selected],
    )


def evaluate_graphs(features: FeatureMatrix, graphs: BundleGraphs, label_limit_seconds: float) -> EvaluatedOrders:
    """Return the predictions of graphs for the orders in `features` that have an evaluation label."""
    points, quantiles = graphs.models.run(features.X)
    live_quantiles = None if graphs.live is None else graphs.live.run_quantiles(features.live_matrix)
    return evaluate_predictions(features, points, quantiles, live_quantiles, label_limit_seconds)


def evaluate_predictions(
    features: FeatureMatrix,
    points: Mapping[str, NDArray[np.float32]],
    quantiles: NDArray[np.float32],
    live_quantiles: NDArray[np.float32] | None,
    label_limit_seconds: float,
) -> EvaluatedOrders:
    """Return the orders in `features` that have an evaluation label, with predictions for all N orders.

    `points` are [N] seconds by model, and the quantiles [N, 4] seconds.
    """
    data = features.data
    actual = data.labels[features.rows]
    is_evaluated = data.is_evaluation[features.rows]
    evaluated = EvaluatedOrders(
        actual=actual,
        day=data.acknowledged_day[features.rows],
        up_to_3h=is_evaluated,
        within_label_limit=is_evaluated & (actual <= label_limit_seconds),
        point_predictions={name: values.astype(np.float64) for name, values in points.items()},
        quantiles=quantiles,
        baseline_predictions={
            LOOKUP: features.lookup_seconds.astype(np.float64),
            GLOBAL_MEDIAN: features.global_median_seconds.astype(np.float64),
        },
        lookup_quantiles=features.lookup_quantiles,
        global_quantiles=features.global_quantiles,
        segment_columns=SegmentColumns.from_orders(
            data.orders.take(features.rows), data.restaurants.vocabularies, features.fallback_level
        ),
        live_quantiles=live_quantiles,
    )
    return evaluated.take(is_evaluated)


def concatenate_evaluated(parts: Sequence[EvaluatedOrders]) -> EvaluatedOrders:
    """Return the evaluated orders of several windows as one.

    It has the point models that every window has, and live quantiles if every window has some.
    """
    point_models = [
        name for name in parts[0].point_predictions if all(name in part.point_predictions for part in parts)
    ]
    live_parts = [part.live_quantiles for part in parts if part.live_quantiles is not None]
    return EvaluatedOrders(
        day=np.concatenate([part.day for part in parts]),
        actual=np.concatenate([part.actual for part in parts]),
        up_to_3h=np.concatenate([part.up_to_3h for part in parts]),
        within_label_limit=np.concatenate([part.within_label_limit for part in parts]),
        point_predictions={
            name: np.concatenate([part.point_predictions[name] for part in parts]) for name in point_models
        },
        quantiles=np.concatenate([part.quantiles for part in parts]),
        baseline_predictions={
            name: np.concatenate([part.baseline_predictions[name] for part in parts])
            for name in parts[0].baseline_predictions
        },
        lookup_quantiles=np.concatenate([part.lookup_quantiles for part in parts]),
        global_quantiles=np.concatenate([part.global_quantiles for part in parts]),
        segment_columns=SegmentColumns.concatenate([part.segment_columns for part in parts]),
        live_quantiles=np.concatenate(live_parts) if len(live_parts) == len(parts) else None,
    )


def _check_backtest_days(data: TrainingData, first_day: dt.date, last_day: dt.date) -> None:
    if first_day > last_day:
        raise UsageError(
            f"The backtest starts on {first_day} and ends on {last_day}.", f"Use --to {first_day} or later."
        )
    if not data.first_day < first_day or last_day > data.last_day:
        needed = "because an earlier day is needed to fit on"
        raise UsageError(
            f"The backtest covers {first_day} to {last_day}. The orders cover {data.first_day} to {data.last_day}.",
            f"Use --from {data.first_day + ONE_DAY} or later, {needed}, and --to {data.last_day} or earlier."
            if data.first_day < data.last_day
            else f"Provide orders of at least two days, {needed}.",
        )
