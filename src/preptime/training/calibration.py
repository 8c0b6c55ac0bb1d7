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

from preptime.domain.orders import QUANTILE_LEVELS
from preptime.errors import DataError
from preptime.formatting import format_count
from preptime.models.fitting import fitting_threads
from preptime.models.quantile import MIN_SCALED_SECONDS, QuantileModel
from preptime.training.training_data import date_from_day_number
from preptime.validation.data_gate import Shortfall

CALIBRATION_DAYS = 8
FOLDS = 4
MIN_CALIBRATION_ORDERS = 100
"""With 100 scores, the standard error of a 90% coverage is 3.0 percentage points. With fewer, it's larger."""


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


def calibration_days(day: NDArray[np.int64]) -> int:
    """Return the number of latest days that calibration uses, for the local day numbers of the fitted orders [N]."""
    window_days = int(day.max() - day.min()) + 1
    return max(min(CALIBRATION_DAYS, window_days // 2), 1)


def calibration_shortfall(day: NDArray[np.int64]) -> Shortfall | None:
    """Return what calibration misses, or None. `day` [N] has the local day numbers of the fitted orders, at least one.

    The check takes no fit, so callers make it before they fit anything.
    """
    days = calibration_days(day)
    orders = int((day > day.max() - days).sum())
    if orders >= MIN_CALIBRATION_ORDERS:
        return None
    first, last = (date_from_day_number(int(day.max()) - back) for back in (days - 1, 0))
    period = f"on {last}" if days == 1 else f"from {first} to {last}"
    missing = MIN_CALIBRATION_ORDERS - orders
    return Shortfall(
        f"Calibration needs {MIN_CALIBRATION_ORDERS} orders that can be used for fitting {period}, the latest "
        f"{'day' if days == 1 else f'{days} days'} of the fitted window. Available: {orders}.",
        f"Provide at least {format_count(missing, 'more order')} {period}, or choose a later date.",
        missing_orders=missing,
    )


def calibrate(
    model: QuantileModel,
    X: NDArray[np.float32],
    y: NDArray[np.float64],
    day: NDArray[np.int64],
    *,
    threads: int,
    seed: int,
) -> Calibration:
    """Return the correction for `model` fitted on all of X [N, F] and y [N], in seconds.

    `day` [N] has the local day numbers. Raises `DataError` if the latest days have too few orders.
    """
    days = calibration_days(day)
    is_latest = day > day.max() - days
    shortfall = calibration_shortfall(day)
    if shortfall is not None:
        raise DataError(shortfall.message, shortfall.remedy)
    # With enough days, a fold is whole days, so that a model can't learn a day's level from its other orders.
    fold_number = day % FOLDS if days >= FOLDS else np.arange(len(y)) % FOLDS
    held_out_folds = [is_latest & (fold_number == number) for number in range(FOLDS)]

    def scores(held_out: NDArray[np.bool_]) -> NDArray[np.float64]:
        if not held_out.any():
            return np.empty((0, len(QUANTILE_LEVELS)))
        predicted = model.fit(X[~held_out], y[~held_out], threads=1, seed=seed).predict(X[held_out]).astype(np.float64)
        return (y[held_out, None] - predicted) / np.maximum(predicted, MIN_SCALED_SECONDS)

    with fitting_threads(threads) as pool:
        all_scores = np.concatenate(list(pool.map(scores, held_out_folds)))
    scale = tuple(_conformal_quantile(all_scores[:, k], level) for k, level in enumerate(QUANTILE_LEVELS))
    return Calibration("cross-conformal, relative", days, FOLDS, len(all_scores), scale)


def _conformal_quantile(scores: NDArray[np.float64], level: float) -> float:
    """Return the ⌈(n + 1)·level⌉-th smallest score. A new score is at most this with probability `level` or more."""
    # The tolerance keeps the rank of 140 · 0.1 = 14.000000000000002 at 14.
    rank = min(int(np.ceil((len(scores) + 1) * level - 1e-9)), len(scores))
    return float(np.partition(scores, rank - 1)[rank - 1])
