"""scikit-learn: the random forest `rf`, the gradient boosting `gbr`, and `stacking`, as in the notebook.

The forest limits the leaves per tree, and gradient boosting is fitted on rounded feature values. Stacking is a ridge
regression on the predictions of the four point models.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from preptime.models.model import FittedModel, Model, as_seconds, check_training_rows, normalized_shares

if TYPE_CHECKING:
    from onnx import ModelProto
    from sklearn.ensemble import GradientBoostingRegressor, RandomForestRegressor


def round_to_ranks(X: NDArray[np.float32], max_values: int) -> NDArray[np.float32]:
    """Return X [N, F] with at most `max_values` (2 or more) distinct values per column.

    The kept values are evenly spaced in rank, and each value is replaced by the nearest of them. Minimum and maximum
    are kept, so no column becomes constant. A column with at most `max_values` distinct values doesn't change.

    Use it only for fitting. A threshold between two rounded values is halfway between them, and so is the boundary of
    rounding. Therefore, the fitted trees send the original rows to the same leaves.

    Example:
        >>> round_to_ranks(np.array([[1], [2], [4], [8]], np.float32), 2).ravel().tolist()
        [1.0, 1.0, 1.0, 8.0]
    """
    result = X.copy()
    rank_positions = np.linspace(0, len(X) - 1, max_values).astype(np.intp)
    for column in result.T:
        ordered = np.sort(column)
        if np.count_nonzero(np.diff(ordered)) >= max_values:
            kept = np.unique(ordered[rank_positions])
            # In float64 and downward at a tie, as scikit-learn computes thresholds and compares values with them.
            halfway = kept[:-1].astype(np.float64) / 2 + kept[1:].astype(np.float64) / 2
            column[:] = kept[np.searchsorted(halfway, column)]
    return result


@dataclass(frozen=True, slots=True)
class FittedSklearnTrees:
    """A fitted tree ensemble of scikit-learn, for `rf` and `gbr`."""

    estimator: RandomForestRegressor | GradientBoostingRegressor

    def predict(self, X: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return seconds, [N]."""
        return as_seconds(self.estimator.predict(X))

    def importance(self) -> NDArray[np.float64]:
        """Return how much the splits on each feature reduce the squared error, [F], as shares with the sum 1."""
        return normalized_shares(self.estimator.feature_importances_)

    def to_onnx(self) -> ModelProto:
        """Return the ONNX model.

        scikit-learn compares float32 values with float64 thresholds. skl2onnx finds the float32 thresholds that split
        the same.
        """
        from skl2onnx import to_onnx

        from preptime.models import onnx_export

        n_features = self.estimator.n_features_in_
        converted = to_onnx(self.estimator, np.zeros((1, n_features), np.float32), target_opset=onnx_export.OPSETS)
        return onnx_export.point_model(onnx_export.extract_tree_node(converted), n_features)


MAX_LEAF_NODES = 100
"""Chosen on the days before June 17 of the public data, over seven cutoffs from June 8 to 14. MAE and R² with 500
leaves: 492.9 s, .315; 350: 487.9 s, .318; 200: 478.6 s, .325; 100: 469.2 s, .330; 60: 465.1 s, .330; 30: 464.3 s, .323.
Below 100, no improvement is significant. For the memory, see docs/models.md (`python -m benchmarks.forest_caps`)."""


@dataclass(frozen=True, slots=True)
class RandomForestModel:
    """The model `rf`: a random forest with the notebook's hyperparameters, and with a limit on the leaves per tree."""

    libraries: ClassVar[tuple[str, ...]] = ("sklearn",)

    name: str = "rf"
    tree_count: int = 100
    min_samples_split: int = 6
    max_features: Literal["log2"] = "log2"
    max_leaf_nodes: int | None = MAX_LEAF_NODES
    """None: no limit, as in the notebook."""

    def fit(self, X: NDArray[np.float32], y: NDArray[np.float64], *, threads: int, seed: int) -> FittedSklearnTrees:
        """Return the fitted model. Each tree has its own seed, so the number of threads affects only the duration."""
        from sklearn.ensemble import RandomForestRegressor

        check_training_rows(X, y)
        estimator = RandomForestRegressor(
            n_estimators=self.tree_count,
            min_samples_split=self.min_samples_split,
            max_features=self.max_features,
            max_leaf_nodes=self.max_leaf_nodes,
            n_jobs=threads,
            random_state=seed,
        ).fit(X, y)
        # With several threads, `predict` sums the trees in the order in which they finish, so its bits would vary.
        estimator.n_jobs = 1
        return FittedSklearnTrees(estimator)


MAX_DISTINCT_VALUES = 128
"""Chosen on the days before June 17 of the public data, over seven cutoffs from June 8 to 14. MAE, R², and processor
time per fit with 128 values per feature: 471.8 s, .333, 2.7 s; 64: 473.6 s, .325, 2.4 s; 255: 472.5 s, .332, 3.1 s; all
values: 474.7 s, .320, 4.0 s. Thresholds between single orders follow their noise. The trees of `rf` average this noise
out, so it reads all values (R² .315 with all, .312 with 128 or 255)."""


@dataclass(frozen=True, slots=True)
class GradientBoostingModel:
    """The model `gbr`: gradient boosting with the notebook's hyperparameters. Depth 3 is the library's default."""

    libraries: ClassVar[tuple[str, ...]] = ("sklearn",)

    name: str = "gbr"
    tree_count: int = 100
    learning_rate: float = 0.1
    depth: int = 3
    max_distinct_values: int | None = MAX_DISTINCT_VALUES
    """Distinct values per feature for fitting. None: all, as in the notebook. Predictions read the original values."""

    def fit(self, X: NDArray[np.float32], y: NDArray[np.float64], *, threads: int, seed: int) -> FittedSklearnTrees:
        """Return the fitted model. It uses one thread, because each tree corrects the previous one."""
        from sklearn.ensemble import GradientBoostingRegressor

        del threads
        check_training_rows(X, y)
        estimator = GradientBoostingRegressor(
            n_estimators=self.tree_count, learning_rate=self.learning_rate, max_depth=self.depth, random_state=seed
        ).fit(X if self.max_distinct_values is None else round_to_ranks(X, self.max_distinct_values), y)
        return FittedSklearnTrees(estimator)


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
        with ThreadPoolExecutor(threads) as pool:
            jobs = [pool.submit(fill, column, block) for block in blocks for column in range(len(self.models))]
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
