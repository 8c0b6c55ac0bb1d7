"""Walking forward: each day is predicted with what was known that morning."""

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
from preptime.training.training_data import TrainingData, day_number


def backtest(
    data: TrainingData,
    first_day: dt.date,
    last_day: dt.date,
    plan: FitPlan,
    *,
    retrain_every: int | None = None,
    progress: ProgressCallback = no_progress,
) -> EvaluatedOrders:
    """Fit on what was known on the morning of `first`, then predict every day to `last` (both included).

    With `retrain_every` the models are fitted anew every so many days; the history is that of each morning in any case.
    Raises `UsageError` for days the corpus does not reach and for less than a day between fits.
    """
    _check_backtest_days(data, first_day, last_day)
    if retrain_every is not None and retrain_every < 1:
        raise UsageError(f"Models are asked to be fitted every {retrain_every} days.", "Give 1 or more.")
    first_history_day = data.first_day
    one_day = dt.timedelta(days=1)
    features = build_feature_matrix(data, first_history_day, last_day, progress)
    evaluated_parts = []
    start = first_day
    while start <= last_day:
        end = last_day if retrain_every is None else min(last_day, start + dt.timedelta(days=retrain_every - 1))
        fitted = fit_window(features, start - one_day, plan, progress)
        test_features = select_days(features, start, end)
        evaluated_parts.append(
            evaluate_graph(test_features, fitted.load_graph(features.X.shape[1]), fitted.label_limit_seconds)
        )
        start = end + one_day
    return concatenate_evaluated(evaluated_parts)


def select_days(features: FeatureMatrix, first_day: dt.date, last_day: dt.date) -> FeatureMatrix:
    """The rows of a matrix acknowledged from `first` to `last`, both included."""
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
    """What a graph says of the orders of `days` that have a label to be measured by."""
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


def concatenate_evaluated(parts: Sequence[EvaluatedOrders]) -> EvaluatedOrders:
    """Several stretches of days as one."""
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
        raise UsageError(f"The backtest is asked from {first_day} to {last_day}.", "Give the earlier day first.")
    if not data.first_day < first_day or last_day > data.last_day:
        raise UsageError(
            f"The backtest is asked from {first_day} to {last_day}; the orders reach from {data.first_day} to "
            f"{data.last_day}.",
            "Ask for days that have orders, with at least one day before them to learn from.",
        )
