"""Fits the model catalogue on a window of days and merges the models into one ONNX graph."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from preptime.bundle.graph import OnnxGraph
from preptime.domain.orders import DEFAULT_MODEL, upper_outlier_limit
from preptime.errors import DataError, OperationError
from preptime.features.feature_set import FeatureSet
from preptime.models.catalogue import CATALOGUE
from preptime.models.fitting import fit_all
from preptime.models.model import FittedModel, Model
from preptime.models.onnx_export import check_parity, merge_to_onnx
from preptime.models.quantile import FittedQuantileModel, QuantileModel
from preptime.progress import ProgressCallback, no_progress
from preptime.training.as_of_features import FeatureMatrix
from preptime.training.calibration import Calibration, calibrate, calibration_shortfall
from preptime.training.training_data import TrainingData, day_number
from preptime.validation.data_gate import Shortfall


@dataclass(frozen=True)
class FitPlan:
    """Which models to fit, and how."""

    models: Mapping[str, Model]
    threads: int
    seed: int = 12
    """The seed of the published notebook."""

    @classmethod
    def default(cls, threads: int) -> FitPlan:
        """Return the plan for all models of the catalogue."""
        return cls(CATALOGUE, threads)


@dataclass(frozen=True)
class FittedWindow:
    """The models fitted on a window of days, as one ONNX graph."""

    names: tuple[str, ...]
    features: FeatureSet
    graph: bytes
    """The serialized ONNX graph."""
    fitted_through: dt.date
    calibration: Calibration
    label_limit_seconds: float
    """Upper outlier limit of the window's labels, in seconds. Defines the label set `within_label_limit`."""
    orders: int
    importance: dict[str, NDArray[np.float64]]
    """[F] feature importance by model."""
    parity_seconds: dict[str, float]
    """Largest |ONNX − estimator| over the training matrix by model, in seconds."""

    def load_graph(self, n_features: int) -> OnnxGraph:
        """Return the graph ready to run, as a loaded bundle runs it."""
        return OnnxGraph(self.graph, n_features, self.names)


def fit_shortfall(data: TrainingData, through: dt.date) -> Shortfall | None:
    """Return what a fit on the orders that were ready by the end of `through` misses, or None if it can start."""
    is_fitted = data.is_fitting & (data.ready_day <= day_number(through))
    if not is_fitted.any():
        return Shortfall(
            f"No order that can be used for fitting was ready by the end of {through}.",
            "Provide earlier orders, or choose a later date.",
        )
    return calibration_shortfall(data.acknowledged_day[is_fitted])


def fit_window(
    features: FeatureMatrix, through: dt.date, plan: FitPlan, progress: ProgressCallback = no_progress
) -> FittedWindow:
    """Fit on the orders that were ready by the end of `through`, then calibrate, export, and check parity.

    Raises `DataError` if there are too few orders, and `OperationError` if the export differs from the estimators.
    """
    data, rows = features.data, features.rows
    shortfall = fit_shortfall(data, through)
    if shortfall is not None:
        raise DataError(shortfall.message, shortfall.remedy)
    is_fitted = (data.is_fitting & (data.ready_day <= day_number(through)))[rows]
    X = features.X[is_fitted]
    y = data.labels[rows][is_fitted]
    steps = len(plan.models) + 3
    steps_done = 0

    def step(name: str) -> None:
        nonlocal steps_done
        steps_done += 1
        progress(f"Models: {name}", steps_done / steps)

    fitted = fit_all(
        plan.models, X, y, threads=plan.threads, seed=plan.seed, on_fitted=lambda name: step(f"{name} fitted")
    )
    acknowledged_day = data.acknowledged_day[rows][is_fitted]
    fitted, calibration = _calibrate_quantiles(fitted, plan, X, y, acknowledged_day)
    step("quantiles calibrated")
    graph = merge_to_onnx(fitted, X.shape[1])
    step("exported as one graph")
    parity = check_parity(graph, fitted, X)
    step("parity checked")
    return FittedWindow(
        names=tuple(fitted),
        features=data.restaurants.feature_set,
        graph=graph,
        fitted_through=through,
        calibration=calibration,
        label_limit_seconds=upper_outlier_limit(y),
        orders=len(y),
        importance={name: model.importance() for name, model in fitted.items()},
        parity_seconds=parity,
    )


def _calibrate_quantiles(
    fitted: dict[str, FittedModel],
    plan: FitPlan,
    X: NDArray[np.float32],
    y: NDArray[np.float64],
    acknowledged_day: NDArray[np.int64],
) -> tuple[dict[str, FittedModel], Calibration]:
    model, uncalibrated = plan.models[DEFAULT_MODEL], fitted[DEFAULT_MODEL]
    if not isinstance(model, QuantileModel) or not isinstance(uncalibrated, FittedQuantileModel):
        raise OperationError(f"The catalogue's {DEFAULT_MODEL} is a {type(model).__name__}, which can't be calibrated.")
    calibration = calibrate(model, X, y, acknowledged_day, threads=plan.threads, seed=plan.seed)
    return fitted | {DEFAULT_MODEL: uncalibrated.calibrated(np.array(calibration.scale))}, calibration
