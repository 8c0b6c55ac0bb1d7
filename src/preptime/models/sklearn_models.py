"""Fewer distinct values for a library that tries a split between every two of them.

What scikit-learn's tree ensembles leave behind: the fitted half of `rf` and `gbr`.

`rf`: the notebook's random forest, its leaves capped.

`gbr`: the notebook's gradient boosting by scikit-learn.
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
    """X [N, F], each column at the nearest of at most `max_values` (2 or more) of its own values, evenly spaced in rank.

    A column with no more distinct values stays as it is, and none becomes constant: its least and greatest are kept.
    For fitting only. A split of rounded rows lies halfway between two of the values, and so does the rounding: trees
    send each of these rows as it stood before the way they sent it when they were fitted.
    """
    result = X.copy()
    rank_positions = np.linspace(0, len(X) - 1, max_values).astype(np.intp)
    for column in result.T:
        ordered = np.sort(column)
        if np.count_nonzero(np.diff(ordered)) >= max_values:
            kept = np.unique(ordered[rank_positions])
            # In float64 and downward at a tie, as scikit-learn places its thresholds and compares with them.
            halfway = kept[:-1].astype(np.float64) / 2 + kept[1:].astype(np.float64) / 2
            column[:] = kept[np.searchsorted(halfway, column)]
    return result


@dataclass(frozen=True, slots=True)
class FittedSklearnTrees:
    """A fitted tree ensemble of scikit-learn."""

    estimator: RandomForestRegressor | GradientBoostingRegressor

    def predict(self, X: NDArray[np.float32]) -> NDArray[np.float32]:
        """Seconds, [N]."""
        return as_seconds(self.estimator.predict(X))

    def importance(self) -> NDArray[np.float64]:
        """[F], each feature's share of the squared error that splits took away."""
        return normalized_shares(self.estimator.feature_importances_)

    def to_onnx(self) -> ModelProto:
        """scikit-learn compares float32 to float64 thresholds; skl2onnx finds the float32 that splits alike."""
        from skl2onnx import to_onnx

        from preptime.models import onnx_export

        n_features = self.estimator.n_features_in_
        converted = to_onnx(self.estimator, np.zeros((1, n_features), np.float32), target_opset=onnx_export.OPSETS)
        return onnx_export.point_model(onnx_export.extract_tree_node(converted), n_features)


MAX_LEAF_NODES = 100
"""Chosen on the days before 17 June of the public data, over seven cut-offs from 8 to 14 June. MAE and R² with 500
leaves 492.9 s, .315; 350: 487.9, .318; 200: 478.6, .325; 100: 469.2, .330; 60: 465.1, .330; 30: 464.3, .323: below 100
nothing is gained for sure. What a cap costs in memory is in docs/models.md, by `python -m benchmarks.forest_caps`."""


@dataclass(frozen=True, slots=True)
class RandomForestModel:
    """A random forest with the notebook's hyperparameters; only the cap is ours."""

    libraries: ClassVar[tuple[str, ...]] = ("sklearn",)

    name: str = "rf"
    tree_count: int = 100
    min_samples_split: int = 6
    max_features: Literal["log2"] = "log2"
    max_leaf_nodes: int | None = MAX_LEAF_NODES
    """None grows the notebook's own, uncapped."""

    def fit(self, X: NDArray[np.float32], y: NDArray[np.float64], *, threads: int, seed: int) -> FittedSklearnTrees:
        """Each tree has its own seed, so the number of threads changes nothing but the time."""
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
        # With more threads the trees' answers are added up in the order they come in: other bits each time.
        estimator.n_jobs = 1
        return FittedSklearnTrees(estimator)


MAX_DISTINCT_VALUES = 128
"""Chosen on the days before 17 June of the public data, over seven cut-offs from 8 to 14 June. With 128 values a
feature: MAE 471.8 s, R² .333, 2.7 s of processor time a fit; 64 values: 473.6 s, .325, 2.4 s; 255: 472.5 s, .332,
3.1 s; all of them: 474.7 s, .320, 4.0 s. Thresholds between single orders follow their noise. `rf`, whose trees average
that out, gains nothing (R² .315 with all values, .312 with 128 or 255) and reads them all."""


@dataclass(frozen=True, slots=True)
class GradientBoostingModel:
    """Gradient boosting with the notebook's hyperparameters; depth 3 is the library's default, as there."""

    libraries: ClassVar[tuple[str, ...]] = ("sklearn",)

    name: str = "gbr"
    tree_count: int = 100
    learning_rate: float = 0.1
    depth: int = 3
    max_distinct_values: int | None = MAX_DISTINCT_VALUES
    """How many values of each feature it is fitted on; None for all, as in the notebook. Predicting reads all."""

    def fit(self, X: NDArray[np.float32], y: NDArray[np.float64], *, threads: int, seed: int) -> FittedSklearnTrees:
        """One thread, whatever `threads`: each tree corrects the one before."""
        from sklearn.ensemble import GradientBoostingRegressor

        del threads
        check_training_rows(X, y)
        estimator = GradientBoostingRegressor(
            n_estimators=self.tree_count, learning_rate=self.learning_rate, max_depth=self.depth, random_state=seed
        ).fit(X if self.max_distinct_values is None else round_to_ranks(X, self.max_distinct_values), y)
        return FittedSklearnTrees(estimator)
