"""`rf`: the notebook's random forest, its leaves capped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from preptime.models.model import check_training_rows
from preptime.models.sklearn_trees import FittedTrees

MAX_LEAF_NODES = 500
"""Smaller (3.2 MB against 46 MB at 32,394 rows) and better (MAE 491 s against 503 s) than uncapped trees; four caps are
in docs/models.md, by `python -m benchmarks.forest_caps`."""


@dataclass(frozen=True, slots=True)
class Forest:
    """A random forest with the notebook's hyperparameters; only the cap is ours."""

    libraries: ClassVar[tuple[str, ...]] = ("sklearn",)

    name: str = "rf"
    trees: int = 100
    min_samples_split: int = 6
    max_features: Literal["log2"] = "log2"
    max_leaf_nodes: int | None = MAX_LEAF_NODES
    """None grows the notebook's own, uncapped."""

    def fit(self, X: NDArray[np.float32], y: NDArray[np.float64], *, threads: int, seed: int) -> FittedTrees:
        """Each tree has its own seed, so the number of threads changes nothing but the time."""
        from sklearn.ensemble import RandomForestRegressor

        check_training_rows(X, y)
        estimator = RandomForestRegressor(
            n_estimators=self.trees,
            min_samples_split=self.min_samples_split,
            max_features=self.max_features,
            max_leaf_nodes=self.max_leaf_nodes,
            n_jobs=threads,
            random_state=seed,
        ).fit(X, y)
        # With more threads the trees' answers are added up in the order they come in: other bits each time.
        estimator.n_jobs = 1
        return FittedTrees(estimator)
