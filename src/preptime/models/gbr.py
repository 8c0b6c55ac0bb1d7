"""`gbr`: the notebook's gradient boosting by scikit-learn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from preptime.models.model import check_training_rows
from preptime.models.rounding import round_to_ranks
from preptime.models.sklearn_trees import FittedSklearnTrees

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
