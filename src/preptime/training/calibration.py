"""Conformal calibration of the quantiles on the latest days of the training window (decision 6).

A model fitted on the latest days has seen their labels. A model fitted without them has seen too little data.
Cross-conformal prediction (Vovk, "Cross-conformal predictors", 2015) solves this: a model fitted on all other data
predicts each fold of the latest days. The scores of all folds together correct the model fitted on everything. A score
is relative to the predicted quantile (a scaled form of Romano, Patterson, and Candès, 2019), so the correction grows
with the prediction.

Measured on six cutoffs from 10 to 15 June, evaluated on the days through 16 June. Coverage of p10/p50/p80/p90 in
percent: uncalibrated 12.0/50.6/79.0/88.8; last two days held out once 9.4/50.7/80.1/90.7; cross-conformal, additive
9.9/50.9/80.6/90.7; cross-conformal, relative 9.9/50.9/80.5/90.6, with the smallest pinball loss of the four.
"""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from preptime.domain.orders import MIN_SCALED_SECONDS, QUANTILE_LEVELS
from preptime.errors import DataError
from preptime.formatting import format_count
from preptime.models.custom import CustomQuantileModel
from preptime.models.quantile import FittedQuantileModel, QuantileModel, snap_borders
from preptime.training.training_data import date_from_day_number, day_number
from preptime.validation.data_gate import Shortfall

CALIBRATION_DAYS = 8
FOLDS = 4
MIN_CALIBRATION_ORDERS = 100
"""With 100 scores, the standard error of a 90% coverage is 3.0 percentage points. With fewer, it's larger."""
MIN_REDUCED_CALIBRATION_ORDERS = 30
"""For the reduced set. The standard error of a 90% coverage is 5.5 percentage points."""

MAX_LABEL_VALUES = 200
"""More values than whole minutes up to the cap of 3 hours."""
MIN_ORDERS_PER_LABEL_VALUE = 10
"""With fewer orders for each value, the values are the seconds of a small sample."""
MIN_SCORE = -1.0
"""The score of a label of 0 s: the quantile shrinks to nothing."""
_BORDER_MARGIN_SECONDS = 0.01


class Calibration(msgspec.Struct, frozen=True):
    """The correction of the quantiles, and the data it was estimated from."""

    method: str
    days: int
    folds: int
    orders: int
    scale: tuple[float, ...]
    """The relative correction for each of `QUANTILE_LEVELS`.

    A quantile changes by this share of itself, or of `MIN_SCALED_SECONDS` if it's smaller.
    """
    label_values: tuple[float, ...] = ()
    """The values that labels take, in seconds, if they take few. Then each quantile is one of them."""

    def apply(self, fitted: FittedQuantileModel) -> FittedQuantileModel:
        """Return the model with this calibration."""
        return fitted.calibrated(np.array(self.scale), np.array(self.label_values))


def calibration_days(day: NDArray[np.int64]) -> int:
    """Return the number of latest days that calibration uses, for the local day numbers of the fitted orders [N]."""
    window_days = int(day.max() - day.min()) + 1
    return max(min(CALIBRATION_DAYS, window_days // 2), 1)


def calibration_shortfall(day: NDArray[np.int64], min_orders: int = MIN_CALIBRATION_ORDERS) -> Shortfall | None:
    """Return what calibration misses, or None. `day` [N] has the local day numbers of the fitted orders, at least one.

    The check takes no fit, so callers make it before they fit anything.
    """
    days = calibration_days(day)
    orders = int((day > day.max() - days).sum())
    if orders >= min_orders:
        return None
    first, last = (date_from_day_number(int(day.max()) - back) for back in (days - 1, 0))
    period = f"on {last}" if days == 1 else f"from {first} to {last}"
    missing = min_orders - orders
    return Shortfall(
        f"Calibration needs {format_count(min_orders, 'order')} that can be used for fitting {period}, the latest "
        f"{'day' if days == 1 else f'{days} days'} of the fitted window. Available: {orders}.",
        f"Provide at least {format_count(missing, 'more order')} {period}, or choose a later date.",
        missing_orders=missing,
    )


def fit_calibrated(
    model: QuantileModel | CustomQuantileModel,
    X: NDArray[np.float32],
    y: NDArray[np.float64],
    day: NDArray[np.int64],
    *,
    threads: int,
    seed: int,
) -> tuple[FittedQuantileModel, Calibration]:
    """Return `model` fitted on all of X [N, F] and y [N], in seconds, with its calibration.

    `day` [N] has the local day numbers. Callers check `calibration_shortfall` first.
    """
    if isinstance(model, CustomQuantileModel) and model.fitted_through is not None:
        return _calibrate_offered(model, X, y, day, seed)
    days = calibration_days(day)
    is_latest = day > day.max() - days
    # With enough days, a fold is whole days, so that a model can't learn a day's level from its other orders.
    fold_number = day % FOLDS if days >= FOLDS else np.arange(len(y)) % FOLDS
    held_out_folds = [is_latest & (fold_number == number) for number in range(FOLDS)]
    label_values = few_label_values(y)

    def scores(held_out: NDArray[np.bool_]) -> NDArray[np.float64]:
        if not held_out.any():
            return np.empty((0, len(QUANTILE_LEVELS)))
        fitted = model.fit(X[~held_out], y[~held_out], threads=threads, seed=seed)
        return conformal_scores(fitted.predict(X[held_out]), y[held_out], label_values)

    all_scores = np.concatenate([scores(held_out) for held_out in held_out_folds])
    fitted = model.fit(X, y, threads=threads, seed=seed)
    scale, values = conformal_scale(all_scores), tuple(label_values.tolist())
    calibration = Calibration("cross-conformal, relative", days, FOLDS, len(all_scores), scale, values)
    return calibration.apply(fitted), calibration


def check_offered_orders(model: CustomQuantileModel, day: NDArray[np.int64]) -> None:
    """Raise `DataError` if there are too few orders to calibrate an offered graph, by their local day numbers [N]."""
    orders = int(_is_held_out(model, day).sum())
    if orders < MIN_CALIBRATION_ORDERS:
        raise DataError(
            f"Calibration needs {MIN_CALIBRATION_ORDERS} orders after {model.fitted_through}, the last day that "
            f"{model.code.path} was fitted on. Available: {orders}.",
            "Fit the graph on earlier days (--fitted-through), or choose a later date.",
        )


def _is_held_out(model: CustomQuantileModel, day: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which orders are of the latest days, and later than the days that an offered graph was fitted on."""
    first = day.min() if model.fitted_through is None else day_number(model.fitted_through) + 1
    is_held_out: NDArray[np.bool_] = (day >= first) & (day > day.max() - CALIBRATION_DAYS)
    return is_held_out


def _calibrate_offered(
    model: CustomQuantileModel, X: NDArray[np.float32], y: NDArray[np.float64], day: NDArray[np.int64], seed: int
) -> tuple[FittedQuantileModel, Calibration]:
    """Return an offered graph with its calibration on the latest days that it wasn't fitted on."""
    check_offered_orders(model, day)
    is_held_out = _is_held_out(model, day)
    fitted, label_values = model.fit(X, y, threads=1, seed=seed), few_label_values(y)
    scores = conformal_scores(fitted.predict(X[is_held_out]), y[is_held_out], label_values)
    days, values = len(np.unique(day[is_held_out])), tuple(label_values.tolist())
    calibration = Calibration("conformal, relative", days, 1, len(scores), conformal_scale(scores), values)
    return calibration.apply(fitted), calibration


def few_label_values(y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the values of labels, ascending, if they take few. Otherwise, return none.

    Companies that record whole or five minutes have few values. Then a quantile between two values misses all orders
    with one of them, so quantiles are snapped to values that occur.
    """
    values = np.unique(y)
    is_few = len(values) <= min(MAX_LABEL_VALUES, len(y) / MIN_ORDERS_PER_LABEL_VALUE)
    return values if is_few else np.empty(0)


def conformal_scores(
    predicted: NDArray[np.floating], y: NDArray[np.float64], label_values: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the shift of each predicted quantile at which the label is at or under it, [N, 4].

    A shift is relative to the quantile, or to `MIN_SCALED_SECONDS` if it's smaller. `predicted` is [N, 4] uncalibrated
    seconds. With few label values, a quantile reaches a label when it passes the border under it (`quantile.snap`). It
    never reaches a label above all values, whose score is that of a quantile that isn't snapped.
    """
    quantiles = predicted.astype(np.float64)
    reached = y
    if len(label_values):
        borders = np.concatenate([[-np.inf], snap_borders(label_values).astype(np.float64) + _BORDER_MARGIN_SECONDS])
        position = np.searchsorted(label_values, y)
        reached = np.where(position < len(borders), borders[np.minimum(position, len(borders) - 1)], y)
    scores = (reached[:, None] - quantiles) / np.maximum(quantiles, MIN_SCALED_SECONDS)
    return np.maximum(scores, MIN_SCORE)


def conformal_scale(scores: NDArray[np.float64]) -> tuple[float, ...]:
    """Return the calibration of each level for scores [N, 4]."""
    return tuple(_conformal_quantile(scores[:, k], level) for k, level in enumerate(QUANTILE_LEVELS))


def _conformal_quantile(scores: NDArray[np.float64], level: float) -> float:
    """Return the ⌈(n + 1)·level⌉-th smallest score. A new score is at most this with probability `level` or more."""
    # The tolerance keeps the rank of 140 · 0.1 = 14.000000000000002 at 14.
    rank = min(int(np.ceil((len(scores) + 1) * level - 1e-9)), len(scores))
    return float(np.partition(scores, rank - 1)[rank - 1])
