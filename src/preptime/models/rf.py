"""`rf`: the notebook's random forest, its leaves capped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from preptime.models.model import check_training_rows
from preptime.models.sklearn_trees import FittedSklearnTrees

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
