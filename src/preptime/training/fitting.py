"""Fits the model catalogue on a window of days and exports the models as ONNX graphs."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count

import numpy as np
from numpy.typing import NDArray

from preptime.bundle.explanations_file import ExplanationTrees, encode_explanations
from preptime.bundle.graph import BundleGraphs
from preptime.bundle.manifest import EXPLANATIONS_FILE, LIVE_FILE, MODEL_FILE, QUANTILE_FILE
from preptime.domain.orders import DEFAULT_MODEL, upper_outlier_limit
from preptime.errors import DataError, OperationError
from preptime.features.feature_set import FeatureSet
from preptime.models.catalogue import CATALOGUE, left_out, models_of
from preptime.models.custom import CustomModel, CustomQuantileModel
from preptime.models.fitting import fit_all
from preptime.models.lookup import LookupModel
from preptime.models.model import FittedModel, Model
from preptime.models.model_check import check_models
from preptime.models.onnx_export import check_parity, merge_to_onnx
from preptime.models.quantile import FittedQuantileModel, QuantileModel
from preptime.progress import ProgressCallback, no_progress
from preptime.schema.schema import Schema
from preptime.training.as_of_features import FeatureMatrix
from preptime.training.calibration import MIN_CALIBRATION_ORDERS, Calibration, calibration_shortfall, fit_calibrated
from preptime.training.training_data import TrainingData, day_number
from preptime.validation.data_gate import Shortfall

LOOKUP_FEATURE = "restaurant_p50_seconds"
"""The feature that the restaurant lookup returns."""
SMALL_QUANTILE = QuantileModel(tree_count=60, depth=3)
"""`quantile` for the reduced set: few trees, so that a few hundred orders don't overfit it."""


@dataclass(frozen=True)
class FitPlan:
    """Which models to fit, and how."""

    models: Mapping[str, Model]
    threads: int
    seed: int = 12
    """The seed of the published notebook."""
    with_live_model: bool = True
    left_out: tuple[str, ...] = ()
    """Models that the user left out (`--models`). A champion with one of them isn't replaced without a user's decision.
    """

    @property
    def point_models(self) -> dict[str, Model]:
        """All models except `quantile`."""
        return {name: model for name, model in self.models.items() if name != DEFAULT_MODEL}

    @property
    def quantile_model(self) -> QuantileModel | CustomQuantileModel:
        """The model `quantile`. Raises `OperationError` if it's of a type that can't be calibrated."""
        model = self.models[DEFAULT_MODEL]
        if not isinstance(model, QuantileModel | CustomQuantileModel):
            raise OperationError(
                f"The catalogue's {DEFAULT_MODEL} is a {type(model).__name__}, which can't be calibrated."
            )
        return model

    @property
    def offered_through(self) -> dt.date | None:
        """The last day that an offered graph was fitted on, or None without one. The gate has only later days."""
        days = [
            model.fitted_through
            for model in self.models.values()
            if isinstance(model, CustomModel) and model.fitted_through is not None
        ]
        return max(days, default=None)

    def reduced(self, features: FeatureSet) -> FitPlan:
        """Return the plan for few orders: the restaurant lookup, a small `quantile`, and no live model."""
        lookup = LookupModel(features.names.index(LOOKUP_FEATURE))
        return replace(self, models={lookup.name: lookup, DEFAULT_MODEL: SMALL_QUANTILE}, with_live_model=False)

    @classmethod
    def default(cls, threads: int) -> FitPlan:
        """Return the plan for all models of the catalogue."""
        return cls(CATALOGUE, threads)

    @classmethod
    def from_schema(cls, schema: Schema, threads: int, names: Sequence[str] | None = None) -> FitPlan:
        """Return the plan for the models of a schema: the catalogue, the custom models, and their hyperparameters.

        `names` are the models to fit, and `quantile`. None means all. Raises `UsageError` as `models_of`.
        """
        if not schema.models and names is None:
            return cls.default(threads)
        models = models_of(schema.models, names=names)
        return cls(models, threads, left_out=left_out(schema.models, names))


@dataclass(frozen=True)
class FittedWindow:
    """The models fitted on a window of days, as ONNX graphs."""

    names: tuple[str, ...]
    features: FeatureSet
    graphs: dict[str, bytes]
    """The serialized ONNX graphs, by the name of their file in a bundle."""
    fitted_through: dt.date
    calibration: Calibration
    live_calibration: Calibration | None
    """None without a live model."""
    label_limit_seconds: float
    """Upper outlier limit of the window's labels, in seconds. Defines the label set `within_label_limit`."""
    orders: int
    importance: dict[str, NDArray[np.float64]]
    """[F] feature importance by model."""
    parity_seconds: dict[str, float]
    """Largest |ONNX − estimator| over the training matrix by model, in seconds."""
    quantile: FittedQuantileModel
    live: FittedQuantileModel | None
    """The live model, if there is one."""

    def model_files(self) -> dict[str, bytes]:
        """Return the graphs, and the explanations if `quantile` consists of trees that can be explained, by file."""
        trees, live = self.quantile.p50_trees(), self.live.p50_trees() if self.live else None
        if trees is None or (live is None and self.live is not None):
            return self.graphs
        return {**self.graphs, EXPLANATIONS_FILE: encode_explanations(ExplanationTrees(trees, live))}

    def load_graphs(self) -> BundleGraphs:
        """Return the graphs ready to run, as a loaded bundle runs them."""
        return BundleGraphs.from_files(self.graphs, len(self.features), self.names)


def fit_shortfall(
    data: TrainingData, through: dt.date, min_calibration_orders: int = MIN_CALIBRATION_ORDERS
) -> Shortfall | None:
    """Return what a fit on the orders that were ready by the end of `through` misses, or None if it can start."""
    is_fitted = data.is_fitting & (data.ready_day <= day_number(through))
    if not is_fitted.any():
        return Shortfall(
            f"No order that can be used for fitting was ready by the end of {through}.",
            "Provide earlier orders, or choose a later date.",
        )
    return calibration_shortfall(data.acknowledged_day[is_fitted], min_calibration_orders)


def fitted_rows(features: FeatureMatrix, through: dt.date) -> NDArray[np.bool_]:
    """Return the rows of a matrix, as a mask, that can be used for fitting and were ready by the end of `through`."""
    data = features.data
    is_fitted: NDArray[np.bool_] = (data.is_fitting & (data.ready_day <= day_number(through)))[features.rows]
    return is_fitted


def check_plan(
    plan: FitPlan, features: FeatureMatrix, through: dt.date, progress: ProgressCallback = no_progress
) -> None:
    """Fit and export each model of a plan on few of the orders that were ready by the end of `through`.

    A custom `quantile` is also checked as the live model. Raises the errors of `models.model_check.check_models`.
    """
    progress("Models: check on few orders", 0.0)
    is_fitted = fitted_rows(features, through)
    labels = features.data.labels[features.rows][is_fitted]
    check_models(plan.models, features.X[is_fitted], labels, seed=plan.seed)
    if plan.with_live_model and isinstance(plan.quantile_model, CustomQuantileModel):
        check_models({DEFAULT_MODEL: plan.quantile_model}, features.live_matrix[is_fitted], labels, seed=plan.seed)
    progress("Models: check on few orders", 1.0)


def fit_window(
    features: FeatureMatrix,
    through: dt.date,
    plan: FitPlan,
    progress: ProgressCallback = no_progress,
    *,
    min_calibration_orders: int = MIN_CALIBRATION_ORDERS,
) -> FittedWindow:
    """Fit on the orders that were ready by the end of `through`, then calibrate, export, and check parity.

    Raises `DataError` if there are too few orders, and `OperationError` if the export differs from the estimators.
    """
    data, rows = features.data, features.rows
    shortfall = fit_shortfall(data, through, min_calibration_orders)
    if shortfall is not None:
        raise DataError(shortfall.message, shortfall.remedy)
    is_fitted = fitted_rows(features, through)
    X, y, day = features.X[is_fitted], data.labels[rows][is_fitted], data.acknowledged_day[rows][is_fitted]
    step = _step_counter(progress, len(plan.point_models) + 2 + plan.with_live_model)
    point_models = fit_all(
        plan.point_models, X, y, threads=plan.threads, seed=plan.seed, on_fitted=lambda name: step(f"{name} fitted")
    )
    quantile, calibration = fit_calibrated(plan.quantile_model, X, y, day, threads=plan.threads, seed=plan.seed)
    step("quantile fitted and calibrated")
    fitted: dict[str, FittedModel] = {
        name: quantile if name == DEFAULT_MODEL else point_models[name] for name in plan.models
    }
    exports: dict[str, tuple[dict[str, FittedModel], NDArray[np.float32]]] = {
        MODEL_FILE: (fitted, X),
        QUANTILE_FILE: ({DEFAULT_MODEL: quantile}, X),
    }
    live, live_calibration = None, None
    if plan.with_live_model:
        live_X = features.live_matrix[is_fitted]
        live, live_calibration = fit_calibrated(
            plan.quantile_model, live_X, y, day, threads=plan.threads, seed=plan.seed
        )
        exports[LIVE_FILE] = ({DEFAULT_MODEL: live}, live_X)
        step("live model fitted and calibrated")
    graphs = {file: merge_to_onnx(models, columns.shape[1]) for file, (models, columns) in exports.items()}
    parity = [check_parity(graphs[file], models, columns) for file, (models, columns) in exports.items()]
    step("exported with equal predictions")
    return FittedWindow(
        names=tuple(fitted),
        features=data.restaurants.feature_set,
        graphs=graphs,
        fitted_through=through,
        calibration=calibration,
        live_calibration=live_calibration,
        label_limit_seconds=upper_outlier_limit(y),
        orders=len(y),
        importance={name: model.importance() for name, model in fitted.items()},
        parity_seconds=parity[0],
        quantile=quantile,
        live=live,
    )


def _step_counter(progress: ProgressCallback, steps: int) -> Callable[[str], None]:
    """Return a function that reports the next of `steps` steps by its name."""
    numbers = count(1)
    return lambda name: progress(f"Models: {name}", min(next(numbers) / steps, 1.0))
