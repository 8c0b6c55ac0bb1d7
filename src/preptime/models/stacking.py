"""The model `stacking`: a ridge regression on the predictions of the four point models, as in the notebook."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from preptime.models.fitting import fitting_threads
from preptime.models.model import FittedModel, Model, as_seconds, check_training_rows, normalized_shares

if TYPE_CHECKING:
    from onnx import ModelProto


@dataclass(frozen=True, slots=True)
class StackingModel:
    """The notebook's stacking: the weights are fitted on out-of-fold predictions of the base models.

    A base model fitted on all rows is both an entry of the catalogue and part of this model. The notebook's five models
    therefore need four fits, plus four for each of three folds: 16, compared with 20 if each were fitted separately.
    """

    models: tuple[Model, ...]
    name: str = "stacking"
    alpha: float = 0.3
    folds: int = 3

    @property
    def libraries(self) -> tuple[str, ...]:
        """scikit-learn for the ridge regression, and the libraries of the base models."""
        return tuple(sorted({"sklearn"}.union(*(model.libraries for model in self.models))))

    def fit(self, X: NDArray[np.float32], y: NDArray[np.float64], *, threads: int, seed: int) -> FittedStackingModel:
        """Return the fitted model with its fitted base models."""
        return self.fit_with_bases({}, X, y, threads=threads, seed=seed)

    def fit_with_bases(
        self,
        fitted: Mapping[str, FittedModel],
        X: NDArray[np.float32],
        y: NDArray[np.float64],
        *,
        threads: int,
        seed: int,
    ) -> FittedStackingModel:
        """Return the fitted model, but reuse the base models in `fitted`, from the same X, y, and seed."""
        from sklearn.linear_model import Ridge

        check_training_rows(X, y, min_rows=self.folds)
        bases = {
            model.name: fitted[model.name] if model.name in fitted else model.fit(X, y, threads=threads, seed=seed)
            for model in self.models
        }
        out_of_fold = self._predict_out_of_fold(X, y, threads=threads, seed=seed)
        ridge = Ridge(alpha=self.alpha).fit(out_of_fold, y)
        return FittedStackingModel(bases, np.asarray(ridge.coef_, np.float32), float(np.float32(ridge.intercept_)))

    def _predict_out_of_fold(
        self, X: NDArray[np.float32], y: NDArray[np.float64], *, threads: int, seed: int
    ) -> NDArray[np.float64]:
        """Return each base model's prediction of each row by a fit on the other folds, [N, bases].

        A fold is a block of consecutive rows, as in scikit-learn. With rows sorted by time, it's a block of days.
        """
        out_of_fold = np.empty((len(X), len(self.models)))
        blocks = np.array_split(np.arange(len(X)), self.folds)

        def fill(column: int, block: NDArray[np.intp]) -> None:
            others = np.delete(np.arange(len(X)), block)
            fitted = self.models[column].fit(X[others], y[others], threads=1, seed=seed)
            out_of_fold[block, column] = fitted.predict(X[block])

        # One thread per fit and several fits concurrently: the slowest library can't use several threads.
        with fitting_threads(threads) as pool:
            jobs = [pool.submit(fill, column, block) for column in range(len(self.models)) for block in blocks]
            for job in jobs:
                job.result()
        return out_of_fold


@dataclass(frozen=True, slots=True)
class FittedStackingModel:
    """The fitted base models, their weights, and the intercept."""

    bases: Mapping[str, FittedModel]
    weights: NDArray[np.float32]
    """[bases] in the order of `bases`."""
    intercept: float
    """Seconds."""

    def predict(self, X: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return seconds, [N]."""
        total = np.full(len(X), self.intercept, dtype=np.float32)
        for weight, base in zip(self.weights, self.bases.values(), strict=True):
            total += weight * base.predict(X)
        return as_seconds(total)

    def importance(self) -> NDArray[np.float64]:
        """Return the mean importance of the base models, weighted by the size of their weights, [F]."""
        weights = normalized_shares(self.weights)
        return normalized_shares(weights @ np.array([base.importance() for base in self.bases.values()]))

    def to_onnx(self) -> ModelProto:
        """Return the ONNX model, which has one input float32 [N] per base model, with its name."""
        from onnx import helper

        from preptime.models import onnx_export

        weights = [
            onnx_export.float_constant(f"weight_{name}", [w]) for name, w in zip(self.bases, self.weights, strict=True)
        ]
        nodes = [helper.make_node("Mul", [name, f"weight_{name}"], [f"weighted_{name}"]) for name in self.bases]
        nodes.append(helper.make_node("Sum", ["intercept", *(f"weighted_{name}" for name in self.bases)], ["raw"]))
        nodes.append(helper.make_node("Relu", ["raw"], [onnx_export.OUTPUT_NAME]))
        inputs = [onnx_export.vector_info(name) for name in self.bases]
        return onnx_export.make_model(
            nodes,
            [onnx_export.float_constant("intercept", [self.intercept]), *weights],
            inputs,
            [onnx_export.vector_info(onnx_export.OUTPUT_NAME)],
        )
