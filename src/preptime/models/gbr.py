"""`gbr`: the notebook's gradient boosting by scikit-learn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from preptime.models.model import check_training_rows
from preptime.models.sklearn_trees import FittedTrees


@dataclass(frozen=True, slots=True)
class GradientBoosting:
    """Gradient boosting with the notebook's hyperparameters; depth 3 is the library's default, as there."""

    libraries: ClassVar[tuple[str, ...]] = ("sklearn",)

    name: str = "gbr"
    trees: int = 100
    rate: float = 0.1
    depth: int = 3

    def fit(self, X: NDArray[np.float32], y: NDArray[np.float64], *, threads: int, seed: int) -> FittedTrees:
        """One thread, whatever `threads`: each tree corrects the one before."""
        from sklearn.ensemble import GradientBoostingRegressor

        del threads
        check_training_rows(X, y)
        estimator = GradientBoostingRegressor(
            n_estimators=self.trees, learning_rate=self.rate, max_depth=self.depth, random_state=seed
        ).fit(X, y)
        return FittedTrees(estimator)
