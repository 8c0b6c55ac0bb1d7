"""The gate's predictions: a walk-forward over the held-out days, each predicted by models fitted on the days before it.

The bundle itself is fitted on these days too (decision 7), so it can't be evaluated on them. Models fitted as of each
day represent it: their lag is that of the champion's models on the day after its training.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from preptime.domain.orders import QUANTILE_LEVELS, upper_outlier_limit
from preptime.evaluation.evaluated_orders import EvaluatedOrders
from preptime.models.fitting import fit_all
from preptime.models.quantile import order_quantiles, shift_quantiles, snap
from preptime.progress import ProgressCallback, no_progress
from preptime.training.as_of_features import FeatureMatrix
from preptime.training.backtest import evaluate_predictions, select_days
from preptime.training.calibration import conformal_scale, conformal_scores, few_label_values, fit_calibrated
from preptime.training.fitting import FitPlan, fitted_rows
from preptime.training.training_data import ONE_DAY, date_from_day_number


def walk_forward(
    features: FeatureMatrix,
    first_day: dt.date,
    last_day: dt.date,
    plan: FitPlan,
    progress: ProgressCallback = no_progress,
) -> EvaluatedOrders:
    """Return the evaluated orders of the gate's days, predicted by models that weren't fitted on them.

    `quantile` and the live model are fitted each day, on all days before it. The point models are fitted once, on the
    days before `first_day`.
    """
    held_out = select_days(features, first_day, last_day)
    is_fitted = fitted_rows(features, first_day - ONE_DAY)
    labels = features.data.labels[features.rows]
    quantiles = _predict_each_day(features, held_out, features.X, plan)
    progress("Gate: quantile", 0.4)
    live_quantiles = _predict_each_day(features, held_out, features.live_matrix, plan) if plan.with_live_model else None
    progress("Gate: live model", 0.7)
    points = fit_all(plan.point_models, features.X[is_fitted], labels[is_fitted], threads=plan.threads, seed=plan.seed)
    progress("Gate: point models", 1.0)
    return evaluate_predictions(
        held_out,
        {name: model.predict(held_out.X) for name, model in points.items()},
        quantiles,
        live_quantiles,
        upper_outlier_limit(labels[is_fitted]),
    )


def has_better_live_model(evaluated: EvaluatedOrders) -> bool:
    """Return whether the live model's p50 has a lower error on the evaluated orders than the default prediction."""
    if evaluated.live_quantiles is None or not len(evaluated):
        return False
    live_error = np.abs(evaluated.live_quantiles[:, QUANTILE_LEVELS.index(0.5)] - evaluated.actual).mean()
    return bool(live_error < np.abs(evaluated.default_predictions - evaluated.actual).mean())


def _predict_each_day(
    features: FeatureMatrix, held_out: FeatureMatrix, X: NDArray[np.float32], plan: FitPlan
) -> NDArray[np.float32]:
    """Return the calibrated quantiles of the held-out orders, [N, 4]. `X` [M, F] are the columns of all orders.

    Several days calibrate each other. A single day is calibrated on the days before it, as in a bundle.
    """
    labels = features.data.labels[features.rows]
    day = features.data.acknowledged_day[held_out.rows]
    held_out_rows = np.searchsorted(features.rows, held_out.rows)
    model, days = plan.quantile_model, np.unique(day)
    if len(days) == 1:  # no other day of the gate can calibrate it
        is_fitted = fitted_rows(features, date_from_day_number(int(days[0])) - ONE_DAY)
        fitted_day = features.data.acknowledged_day[features.rows][is_fitted]
        calibrated, _ = fit_calibrated(
            model, X[is_fitted], labels[is_fitted], fitted_day, threads=plan.threads, seed=plan.seed
        )
        return calibrated.predict(X[held_out_rows])

    label_values: dict[int, NDArray[np.float64]] = {}

    def predict(number: int) -> NDArray[np.float32]:
        is_fitted = fitted_rows(features, date_from_day_number(number) - ONE_DAY)
        label_values[number] = few_label_values(labels[is_fitted])
        fitted = model.fit(X[is_fitted], labels[is_fitted], threads=plan.threads, seed=plan.seed)
        return fitted.predict_raw(X[held_out_rows[day == number]])

    raw = np.concatenate([predict(number) for number in days.tolist()])
    is_label = features.data.is_fitting[held_out.rows]
    return calibrate_by_day(raw, labels[held_out_rows], day, is_label, label_values)


def calibrate_by_day(
    raw: NDArray[np.float32],
    y: NDArray[np.float64],
    day: NDArray[np.int64],
    is_label: NDArray[np.bool_],
    label_values: Mapping[int, NDArray[np.float64]],
) -> NDArray[np.float32]:
    """Return quantiles [N, 4] that are calibrated on the other days, so that no day is calibrated on itself.

    `raw` [N, 4] are uncalibrated seconds, `y` [N] labels, and `is_label` [N] which labels can be used. A day stays
    uncalibrated if no other day has labels. `label_values` has the few label values (`few_label_values`) of the orders
    that each day's model was fitted on, as in a bundle of that day. The labels of the predicted days don't change them.
    """
    ordered = order_quantiles(raw)
    calibrated = np.empty_like(raw)
    for number in np.unique(day).tolist():
        is_day, values = day == number, label_values[number]
        others = ~is_day & is_label
        scale: Sequence[float] = (0.0,) * raw.shape[1]
        if others.any():
            scale = conformal_scale(conformal_scores(ordered[others], y[others], values))
        calibrated[is_day] = snap(shift_quantiles(raw[is_day], np.array(scale)), values)
    return order_quantiles(calibrated)
