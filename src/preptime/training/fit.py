"""Fitting the catalogue on a window of days, and merging what comes out into one graph."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from preptime.bundle.graph import Graph
from preptime.domain.fence import upper_fence
from preptime.domain.prediction import DEFAULT_MODEL
from preptime.errors import DataError, FaultError
from preptime.models.catalogue import CATALOGUE
from preptime.models.export import check_parity, merge
from preptime.models.fitting import fit_all
from preptime.models.model import Fitted, Model
from preptime.models.quantile import FittedQuantile, Quantile
from preptime.training.calibration import Calibration, calibrate
from preptime.training.corpus import day_number
from preptime.training.mornings import Matrix
from preptime.training.progress import Progress, silent


@dataclass(frozen=True)
class FitPlan:
    """How to fit. The defaults are what ships."""

    models: Mapping[str, Model]
    threads: int
    seed: int = 12
    """The notebook's."""

    @classmethod
    def default(cls, threads: int) -> FitPlan:
        """The whole catalogue."""
        return cls(CATALOGUE, threads)


@dataclass(frozen=True)
class FittedWindow:
    """The catalogue, fitted on a window of days, as the one graph that predicts."""

    names: tuple[str, ...]
    graph: bytes
    fitted_through: dt.date
    calibration: Calibration
    fence_seconds: float
    """Upper outlier fence of the window's labels: what `inside_fence` means."""
    orders: int
    importance: dict[str, NDArray[np.float64]]
    parity: dict[str, float]
    """Largest |ONNX − estimator| over the training matrix, seconds by model."""

    def opened(self, n_features: int) -> Graph:
        """The graph, ready to run: the same path that a loaded bundle predicts by."""
        return Graph(self.graph, n_features, self.names)


def fit_window(days: Matrix, through: dt.date, plan: FitPlan, progress: Progress = silent) -> FittedWindow:
    """Fit on the orders of `days` that were ready by the end of `through`, calibrate, export, check parity.

    Raises `DataError` for too few orders, `FaultError` when the export differs from the estimators.
    """
    corpus, rows = days.corpus, days.rows
    kept = corpus.fitting[rows] & (corpus.ready_day[rows] <= day_number(through))
    if not kept.any():
        raise DataError(f"No order that can be fitted was ready by the end of {through}.", "Take a later date.")
    X = days.X[kept]
    y = corpus.label[rows][kept]
    steps = len(plan.models) + 3
    done = 0

    def step(name: str) -> None:
        nonlocal done
        done += 1
        progress(f"Models: {name}", done / steps)

    fitted = fit_all(plan.models, X, y, threads=plan.threads, seed=plan.seed, done=lambda name: step(f"{name} fitted"))
    acknowledged = corpus.acknowledged_day[rows][kept]
    fitted, calibration = _calibrated(fitted, plan, X, y, acknowledged)
    step("quantiles calibrated")
    graph = merge(fitted, X.shape[1])
    step("written as one graph")
    parity = check_parity(graph, fitted, X)
    step("graph checked against them")
    return FittedWindow(
        names=tuple(fitted),
        graph=graph,
        fitted_through=through,
        calibration=calibration,
        fence_seconds=upper_fence(y),
        orders=len(y),
        importance={name: model.importance() for name, model in fitted.items()},
        parity=parity,
    )


def _calibrated(
    fitted: dict[str, Fitted],
    plan: FitPlan,
    X: NDArray[np.float32],
    y: NDArray[np.float64],
    day: NDArray[np.int64],
) -> tuple[dict[str, Fitted], Calibration]:
    model, raw = plan.models[DEFAULT_MODEL], fitted[DEFAULT_MODEL]
    if not isinstance(model, Quantile) or not isinstance(raw, FittedQuantile):
        raise FaultError(f"The catalogue's {DEFAULT_MODEL} is a {type(model).__name__}, which cannot be calibrated.")
    calibration = calibrate(model, X, y, day, threads=plan.threads, seed=plan.seed)
    return fitted | {DEFAULT_MODEL: raw.calibrated(np.array(calibration.scale))}, calibration
