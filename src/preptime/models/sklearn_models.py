"""scikit-learn: the random forest `rf` and the gradient boosting `gbr`, with the notebook's hyperparameters.

The forest limits the leaves per tree, and gradient boosting is fitted on rounded feature values.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from preptime.models.model import as_seconds, check_training_rows, normalized_shares

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
