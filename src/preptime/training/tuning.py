"""`preptime tune`: searches hyperparameters of one model on past days. It neither stores nor promotes a bundle.

Each trial walks forward through the latest days. The features are those as of each day and are computed once. A trial
fits the model on the orders that were ready before a block of days and predicts the block. The losses are those that
the gate of `preptime train` measures: for quantiles, calibrated on the other days.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from preptime.domain.orders import QUANTILE_LEVELS
from preptime.errors import DataError
from preptime.evaluation.metrics import MAE, quantile_scores
from preptime.evaluation.paired import PairedDifference, paired_difference_of_days
from preptime.features.restaurant_index import RestaurantIndex
from preptime.models.catalogue import hyperparameters
from preptime.models.custom import CustomModel
from preptime.models.model import FittedModel, Model
from preptime.models.model_check import check_models
from preptime.models.quantile import FittedQuantileModel, order_quantiles
from preptime.progress import ProgressCallback, no_progress
from preptime.schema.schema import ModelSettings
from preptime.training.as_of_features import FeatureMatrix, build_feature_matrix
from preptime.training.backtest import select_days
from preptime.training.calibration import few_label_values
from preptime.training.fitting import fitted_rows
from preptime.training.gate import calibrate_by_day
from preptime.training.requirements import MIN_FITTED_DAYS, choose_mode, first_counted_day, first_orders_text
from preptime.training.search_spaces import (
    Parameters,
    SearchSpace,
    default_parameters,
    model_with,
    search_space,
)
from preptime.training.training_data import ONE_DAY, TrainingData, day_number, rows_as_of
from preptime.training.tuning_study import (
    DailyLosses,
    Evaluate,
    Objective,
    Report,
    StudySettings,
    TrialRecord,
    TrialState,
    TuningStudy,
    open_study,
)
from preptime.validation.audit import AuditedOrders

FORMAT = 1
"""The format of `preptime tune --json`."""
DEFAULT_DAYS = 14
"""Two weeks, so that each weekday occurs twice."""
MIN_DAYS = 2
"""Quantiles of a day are calibrated on the other days, and a standard error needs two."""
DEFAULT_TRIALS = 30
DEFAULT_RETRAIN_EVERY = 7
"""A weekly fit takes a seventh of the time of a daily one. The rank correlation of their losses is 0.83 for `xgb` on
synthetic orders (`python -m benchmarks tuning`)."""
_MEDIAN = QUANTILE_LEVELS.index(0.5)

START = "start"
"""The hyperparameters that training used when the search started, as the reference of a comparison."""


class TrialResult(msgspec.Struct, frozen=True):
    """One finished trial."""

    number: int
    parameters: Parameters
    state: TrialState
    loss: float | None
    """The objective, in seconds. None unless the trial is complete."""
    mae: float | None
    """The mean absolute error, of p50 for quantiles, in seconds."""
    error: str = ""


class TuneDocument(msgspec.Struct, frozen=True):
    """The result of `tune`. It has no time of day and no path, so equal inputs give equal bytes."""

    model: str
    date: dt.date
    first_day: dt.date
    last_day: dt.date
    """The last predicted day: the day before `date`."""
    fitted_from: dt.date
    """The first day of the orders. The first fit has the days from it to the day before `first_day`."""
    retrain_every: int
    seed: int
    orders: int
    """Evaluated orders."""
    objective: Objective
    start: TrialResult
    """The first trial, with the hyperparameters that training used when the search started."""
    best: TrialResult
    """The complete trial with the lowest loss."""
    loss_difference: PairedDifference
    """The losses of `best` compared with those of `start`, paired by day."""
    mae_difference: PairedDifference
    """The same for absolute errors, which the gate of `preptime train` compares."""
    importance: dict[str, float]
    """Share of the differences between trials that each hyperparameter explains. Empty for few trials."""
    trials: tuple[TrialResult, ...]
    data_fingerprint: str
    format: int = FORMAT

    @property
    def is_better(self) -> bool:
        """Whether the best hyperparameters are significantly better than those at the start."""
        return self.loss_difference.is_better


@dataclass(frozen=True)
class TuningDays:
    """The days of a search with their features, and how the model is fitted on the days before them."""

    features: FeatureMatrix
    blocks: tuple[tuple[dt.date, dt.date], ...]
    """First and last day of each block. The model is fitted once for each."""
    threads: int
    seed: int

    @property
    def held_out(self) -> FeatureMatrix:
        """The rows of all blocks."""
        return select_days(self.features, self.blocks[0][0], self.blocks[-1][1])

    def evaluate(self, model: Model, report: Report) -> DailyLosses:
        """Return the losses of a model, which is fitted on the days before each block.

        `report` gets the mean loss after each block. Quantiles aren't calibrated at that time.
        """
        held_out = self.held_out
        data, rows = self.features.data, held_out.rows
        day, labels, is_evaluation = data.acknowledged_day[rows], data.labels[rows], data.is_evaluation[rows]
        predicted: list[NDArray[np.float32]] = []
        label_values: dict[int, NDArray[np.float64]] = {}
        for number, (start, end) in enumerate(self.blocks):
            block = select_days(self.features, start, end)
            if not len(block):
                continue
            X, y = self._fitted(start)
            predicted.append(_predict_raw(model.fit(X, y, threads=self.threads, seed=self.seed), block.X))
            label_values |= dict.fromkeys(data.acknowledged_day[block.rows].tolist(), few_label_values(y))
            seconds = np.concatenate(predicted)
            is_evaluated = is_evaluation[: len(seconds)]
            if number < len(self.blocks) - 1 and is_evaluated.any():
                ordered = seconds if seconds.ndim == 1 else order_quantiles(seconds)
                report(number, _mean_loss(labels[: len(seconds)][is_evaluated], ordered[is_evaluated]))
        seconds = np.concatenate(predicted)
        if seconds.ndim == 2:
            seconds = calibrate_by_day(seconds, labels, day, data.is_fitting[rows], label_values)
        return _daily_losses(labels[is_evaluation], seconds[is_evaluation], day[is_evaluation])

    def try_model(self, model: Model, name: str) -> None:
        """Fit and export a model on few orders. Raises the errors of `preptime.models.model_check.check_models`."""
        X, labels = self._fitted(self.blocks[0][0])
        check_models({name: model}, X, labels, seed=self.seed)

    def _fitted(self, start: dt.date) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """Return the features and the labels of the orders that were ready before a day."""
        features = self.features
        is_fitted = fitted_rows(features, start - ONE_DAY)
        return features.X[is_fitted], features.data.labels[features.rows][is_fitted]


@dataclass(frozen=True)
class SearchPlan:
    """The days and the trials of a search."""

    days: int = DEFAULT_DAYS
    """The number of days before the date on which each trial is evaluated, at least 2."""
    trials: int = DEFAULT_TRIALS
    """The number of trials in total, with those that are in the file."""
    retrain_every: int = DEFAULT_RETRAIN_EVERY
    """The number of days that are predicted with one fit."""
    seed: int = 12
    """Of the search and of the fits."""
    threads: int = 1
    """Number of cores for a fit."""


def tune(
    audited: AuditedOrders,
    restaurants: RestaurantIndex,
    date: dt.date,
    name: str,
    study: Path,
    *,
    plan: SearchPlan | None = None,
    models: Mapping[str, ModelSettings] | None = None,
    restart: bool = False,
    progress: ProgressCallback = no_progress,
    on_trial: Callable[[TrialResult], None] = lambda _: None,
) -> TuneDocument:
    """Search the hyperparameters of a model on the last days before a date.

    Args:
        audited: Completed orders with their validation results.
        restaurants: The restaurants of the orders.
        date: As-of date. Only orders that were ready before local midnight of this date are used.
        name: The model's name.
        study: The file of the trials. If it has some, the search continues.
        plan: The days and the trials.
        models: The section `[models]` of the schema, with the hyperparameters of the first trial.
        restart: Whether to discard the trials in the file.
        progress: Called with the number of trials and the lowest loss so far.
        on_trial: Called with each trial that finishes.

    Returns:
        The trials, and the comparison of the best one with the first one.

    Raises:
        DataError: There are too few days or orders. Nothing is fitted.
        UsageError: The model is unknown or has no ranges, or the file has trials of another search.
        OperationError: The file can't be written.
    """
    plan, models = plan or SearchPlan(), models or {}
    first_day = date - plan.days * ONE_DAY
    data = TrainingData.from_orders(rows_as_of(audited, restaurants, date), restaurants).as_of(date)
    _check_days(data, date, plan.days)
    data = data.with_common_categories(first_day)
    settings, start = _settings(models, name, data, date, plan)
    with open_study(study, settings, _given(models, name, start, settings.space), restart=restart) as opened:
        features = build_feature_matrix(data, data.first_day, settings.last_day, progress)
        blocks = _blocks(first_day, settings.last_day, plan.retrain_every)
        tuning_days = TuningDays(features, blocks, plan.threads, plan.seed)

        def evaluate(parameters: Parameters, report: Report) -> DailyLosses:
            return tuning_days.evaluate(model_with(models, name, parameters), report)

        if len(opened.records()) < plan.trials:  # a model that can't be exported isn't worth a search
            tuning_days.try_model(model_with(models, name, {}), name)
        _run_trials(opened, evaluate, plan.trials, progress, on_trial)
        return _document(opened, date, data.first_day)


def _settings(
    models: Mapping[str, ModelSettings], name: str, data: TrainingData, date: dt.date, plan: SearchPlan
) -> tuple[StudySettings, Parameters]:
    """Return what the trials depend on, and the current hyperparameters of the search space."""
    model = model_with(models, name, {})
    space, values = search_space(model, name), hyperparameters(model)
    settings = StudySettings(
        model=name,
        first_day=date - plan.days * ONE_DAY,
        last_day=date - ONE_DAY,
        retrain_every=plan.retrain_every,
        seed=plan.seed,
        data_fingerprint=data.fingerprint(),
        fixed={field: value for field, value in values.items() if field not in space},
        space=space,
        code=_code(model),
    )
    return settings, {field: values[field] for field in space}


def _run_trials(
    study: TuningStudy,
    evaluate: Evaluate,
    trials: int,
    progress: ProgressCallback,
    on_trial: Callable[[TrialResult], None],
) -> None:
    """Run trials until the study has `trials` of them."""
    finished = study.records()
    while len(finished) < trials:
        progress(_progress_text(finished, trials), len(finished) / trials)
        record = study.run_trial(evaluate)
        finished.append(record)
        on_trial(_result(record))
    progress(_progress_text(finished, trials), 1.0)


def _progress_text(finished: list[TrialRecord], trials: int) -> str:
    losses = [record.loss for record in finished if record.loss is not None]
    best = f", best {min(losses):.1f} s" if losses else ""
    return f"Trials: {len(finished)} of {trials}{best}"


def _document(study: TuningStudy, date: dt.date, fitted_from: dt.date) -> TuneDocument:
    """Return the result of the trials so far. The first one is complete."""
    records, settings = study.records(), study.settings
    complete = [(record, record.daily) for record in records if record.daily is not None]
    start, reference = complete[0]
    best, daily = min(complete, key=lambda found: found[1].mean_loss)
    return TuneDocument(
        model=settings.model,
        date=date,
        first_day=settings.first_day,
        last_day=settings.last_day,
        fitted_from=fitted_from,
        retrain_every=settings.retrain_every,
        seed=settings.seed,
        orders=sum(reference.orders),
        objective=reference.objective,
        start=_result(start),
        best=_result(best),
        loss_difference=paired_difference_of_days(START, daily.losses, reference.losses, reference.orders),
        mae_difference=paired_difference_of_days(START, daily.errors, reference.errors, reference.orders),
        importance=study.importance(),
        trials=tuple(_result(record) for record in records),
        data_fingerprint=settings.data_fingerprint,
    )


def _result(record: TrialRecord) -> TrialResult:
    mae = None if record.daily is None else sum(record.daily.errors) / sum(record.daily.orders)
    return TrialResult(record.number, record.parameters, record.state, record.loss, mae, record.error)


def _check_days(data: TrainingData, date: dt.date, days: int) -> None:
    """Raise `DataError` if there are too few days or orders for the search, before anything is fitted."""
    first_day = date - days * ONE_DAY
    earliest = first_day - MIN_FITTED_DAYS * ONE_DAY
    counted = first_counted_day(data)
    if counted > earliest:
        available = (date - counted).days - MIN_FITTED_DAYS
        fewer = f"Use --days {available}, or provide" if available >= MIN_DAYS else "Provide"
        raise DataError(
            f"A search on {days} days needs {days + MIN_FITTED_DAYS} days of orders, because the first fit needs "
            f"{MIN_FITTED_DAYS}. The date is {date}. {first_orders_text(data)}",
            f"{fewer} orders from {earliest} or earlier.",
        )
    mode = choose_mode(data, date)
    if mode.reduced_reason is not None:
        raise DataError(
            f"{mode.reduced_reason} With fewer, training uses a fixed small quantile, so there is nothing to tune.",
            "Provide more orders.",
        )
    if not data.is_evaluation[data.acknowledged_day >= day_number(first_day)].any():
        raise DataError(
            f"No order from {first_day} to {date - ONE_DAY} has a label for the evaluation.",
            "Provide the outcomes of those days, or choose an earlier date.",
        )


def _blocks(first_day: dt.date, last_day: dt.date, length: int) -> tuple[tuple[dt.date, dt.date], ...]:
    """Return the first and last day of consecutive blocks of days. The last block can be shorter."""
    starts = range(0, (last_day - first_day).days + 1, length)
    return tuple(
        (first_day + start * ONE_DAY, min(first_day + (start + length - 1) * ONE_DAY, last_day)) for start in starts
    )


def _predict_raw(fitted: FittedModel, X: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return predictions in seconds: [N], or uncalibrated quantiles [N, 4]."""
    return fitted.predict_raw(X) if isinstance(fitted, FittedQuantileModel) else fitted.predict(X)


def _mean_loss(actual: NDArray[np.float64], predicted: NDArray[np.float32]) -> float:
    """Return the mean pinball loss of quantiles [N, 4], or the mean absolute error of seconds [N]. NaN for no order."""
    if predicted.ndim == 1:
        losses = [MAE(actual, predicted)]
    else:
        losses = [score.pinball for score in quantile_scores(actual, predicted)]
    return float(np.mean([np.nan if loss is None else loss for loss in losses]))


def _daily_losses(actual: NDArray[np.float64], predicted: NDArray[np.float32], day: NDArray[np.int64]) -> DailyLosses:
    """Return the sums of the losses of N evaluated orders by day."""
    numbers, orders = np.unique(day, return_counts=True)
    point = predicted if predicted.ndim == 1 else predicted[:, _MEDIAN]
    rows = [day == number for number in numbers]
    losses = [_mean_loss(actual[row], predicted[row]) * int(count) for row, count in zip(rows, orders, strict=True)]
    errors = [float(np.abs(point[row] - actual[row]).sum()) for row in rows]
    objective: Objective = "mae" if predicted.ndim == 1 else "pinball"
    return DailyLosses(objective, tuple(numbers.tolist()), tuple(orders.tolist()), tuple(losses), tuple(errors))


def _given(models: Mapping[str, ModelSettings], name: str, current: Parameters, space: SearchSpace) -> list[Parameters]:
    """Return the parameters of the first trials: the current ones, and the defaults if they differ."""
    defaults = default_parameters(models, name, space)
    return [current] if defaults in (None, current) else [current, defaults]


def _code(model: Model) -> str:
    """Return the hash of a custom model's file. Empty for a model of the catalogue."""
    return model.sha256[:16] if isinstance(model, CustomModel) else ""
