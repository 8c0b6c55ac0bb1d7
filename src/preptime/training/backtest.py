"""Backtest: walks forward through days and predicts each day as of that day."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import numpy as np

from preptime.bundle.graph import OnnxGraph
from preptime.domain.orders import Predictions
from preptime.errors import UsageError
from preptime.evaluation.evaluated_orders import GLOBAL_MEDIAN, LOOKUP, EvaluatedOrders
from preptime.evaluation.segments import SegmentColumns
from preptime.progress import ProgressCallback, no_progress
from preptime.training.as_of_features import FeatureMatrix, build_feature_matrix
from preptime.training.fitting import FitPlan, fit_window
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
    evaluated_parts = []
    start = first_day
    while start <= last_day:
        end = last_day if retrain_every is None else min(last_day, start + dt.timedelta(days=retrain_every - 1))
        fitted = fit_window(features, start - ONE_DAY, plan, progress)
        test_features = select_days(features, start, end)
        evaluated_parts.append(
            evaluate_graph(test_features, fitted.load_graph(features.X.shape[1]), fitted.label_limit_seconds)
        )
        start = end + ONE_DAY
    return _concatenate_evaluated(evaluated_parts)


def select_days(features: FeatureMatrix, first_day: dt.date, last_day: dt.date) -> FeatureMatrix:
    """Return the rows of a matrix that were acknowledged from `first_day` through `last_day`."""
    acknowledged = features.data.acknowledged_day[features.rows]
    start, end = np.searchsorted(acknowledged, [day_number(first_day), day_number(last_day) + 1])
    selected = slice(int(start), int(end))
    return FeatureMatrix(
        features.data,
        features.offset + int(start),
        features.X[selected],
        features.lookup_seconds[selected],
        features.global_median_seconds[selected],
        features.fallback_level[selected],
    )


def evaluate_graph(features: FeatureMatrix, graph: OnnxGraph, label_limit_seconds: float) -> EvaluatedOrders:
    """Return a graph's predictions for the orders in `features` that have an evaluation label."""
    data = features.data
    points, quantiles = graph.run(features.X)
    predictions = Predictions(points, quantiles, features.fallback_level)
    actual = data.labels[features.rows]
    is_evaluated = data.is_evaluation[features.rows]
    evaluated = EvaluatedOrders(
        actual=actual,
        up_to_3h=is_evaluated,
        within_label_limit=is_evaluated & (actual <= label_limit_seconds),
        point_predictions={name: values.astype(np.float64) for name, values in predictions.points.items()},
        quantiles=predictions.quantiles,
        baseline_predictions={
            LOOKUP: features.lookup_seconds.astype(np.float64),
            GLOBAL_MEDIAN: features.global_median_seconds.astype(np.float64),
        },
        segment_columns=SegmentColumns.from_orders(
            data.orders.take(features.rows), data.restaurants.vocabularies, predictions.fallback_level
        ),
    )
    return evaluated.take(is_evaluated)


def _concatenate_evaluated(parts: Sequence[EvaluatedOrders]) -> EvaluatedOrders:
    """Return the evaluated orders of several windows as one."""
    return EvaluatedOrders(
        actual=np.concatenate([part.actual for part in parts]),
        up_to_3h=np.concatenate([part.up_to_3h for part in parts]),
        within_label_limit=np.concatenate([part.within_label_limit for part in parts]),
        point_predictions={
            name: np.concatenate([part.point_predictions[name] for part in parts])
            for name in parts[0].point_predictions
        },
        quantiles=np.concatenate([part.quantiles for part in parts]),
        baseline_predictions={
            name: np.concatenate([part.baseline_predictions[name] for part in parts])
            for name in parts[0].baseline_predictions
        },
        segment_columns=SegmentColumns.concatenate([part.segment_columns for part in parts]),
    )


def _check_backtest_days(data: TrainingData, first_day: dt.date, last_day: dt.date) -> None:
    if first_day > last_day:
        raise UsageError(
            f"The backtest starts on {first_day} and ends on {last_day}.", f"Use --to {first_day} or later."
        )
    if not data.first_day < first_day or last_day > data.last_day:
        raise UsageError(
            f"The backtest covers {first_day} to {last_day}. The orders cover {data.first_day} to {data.last_day}.",
            f"Use --from {data.first_day + ONE_DAY} or later, because an earlier day is needed to fit on, and --to "
            f"{data.last_day} or earlier.",
        )
