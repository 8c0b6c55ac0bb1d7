"""`cat`: the notebook's CatBoost; and the one place that knows this library, for `quantile` too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from preptime.models.model import as_seconds, check_training_rows, normalized_shares

if TYPE_CHECKING:
    from catboost import CatBoostRegressor
    from onnx import ModelProto, NodeProto

    from preptime.models.model import Estimator


@dataclass(frozen=True, slots=True)
class CatBoostTrees:
    """CatBoost's hyperparameters, for any of its losses that predict one number."""

    loss: str = "RMSE"
    tree_count: int = 100
    learning_rate: float = 0.1
    depth: int = 6
    column_fraction: float = 1.0
    """Share of the features that each split may choose from (CatBoost's `rsm`)."""
    border_count: int = 254
    """Thresholds a feature is cut at (the library's default on a CPU)."""

    def fit(self, X: NDArray[np.float32], y: NDArray[np.float64], *, threads: int, seed: int) -> FittedCatBoostTrees:
        """Fit without writing files, and with a constant label allowed (a fold of few rows may have one)."""
        from catboost import CatBoostRegressor

        check_training_rows(X, y)
        estimator = CatBoostRegressor(
            loss_function=self.loss,
            iterations=self.tree_count,
            learning_rate=self.learning_rate,
            depth=self.depth,
            rsm=self.column_fraction,
            border_count=self.border_count,
            thread_count=threads,
            random_seed=seed,
            allow_writing_files=False,
            allow_const_label=True,
            verbose=False,
        )
        return FittedCatBoostTrees(estimator.fit(X, y))


@dataclass(frozen=True, slots=True)
class FittedCatBoostTrees:
    """One fitted CatBoost model, before anything is made of its numbers."""

    estimator: CatBoostRegressor

    @property
    def n_features(self) -> int:
        """F of the matrix it was fitted on."""
        return self.estimator.n_features_in_

    def predict_raw(self, X: NDArray[np.float32]) -> NDArray[np.float64]:
        """What the trees add up to, [N]."""
        return self.estimator.predict(X, thread_count=1)

    def importance(self) -> NDArray[np.float64]:
        """[F], by how much the prediction changes with each feature; sums to 1."""
        return normalized_shares(self.estimator.get_feature_importance())

    def to_tree_node(self) -> NodeProto:
        """The trees as an ONNX node over `features`."""
        from catboost.utils import convert_to_onnx_object

        from preptime.models import onnx_export

        return onnx_export.extract_tree_node(convert_to_onnx_object(self.estimator))


@dataclass(frozen=True, slots=True)
class CatBoostModel:
    """CatBoost with the notebook's hyperparameters, on squared error."""

    libraries: ClassVar[tuple[str, ...]] = ("catboost",)

    name: str = "cat"
    trees: CatBoostTrees = CatBoostTrees()

    def fit(self, X: NDArray[np.float32], y: NDArray[np.float64], *, threads: int, seed: int) -> FittedCatBoostModel:
        """The number of threads changes nothing but the time."""
        return FittedCatBoostModel(self.trees.fit(X, y, threads=threads, seed=seed))


@dataclass(frozen=True, slots=True)
class FittedCatBoostModel:
    """Fitted CatBoost as a point model."""

    trees: FittedCatBoostTrees

    def predict(self, X: NDArray[np.float32]) -> NDArray[np.float32]:
        """Seconds, [N]."""
        return as_seconds(self.trees.predict_raw(X))

    def importance(self) -> NDArray[np.float64]:
        """[F], by how much the prediction changes with each feature."""
        return self.trees.importance()

    def to_onnx(self) -> ModelProto:
        """CatBoost's borders are float32 already: both sides compare the same numbers."""
        from preptime.models import onnx_export

        return onnx_export.point_model(self.trees.to_tree_node(), self.trees.n_features)


@contextmanager
def hold_catboost_logger() -> Iterator[None]:
    """Keep CatBoost's logger as it is while several threads use the library.

    Each of its calls sets the process's logger and takes it away again, unless another thread has it. When the thread
    that has it is done first, the others go on without: one of 935 small trainings, five at a time, died of calling
    nothing (SIGSEGV at address 0 in `_train`). While this thread has it, the others leave it alone.
    """
    from catboost.core import log_fixup

    with log_fixup():
        yield


def notebook_estimator() -> Estimator:
    """The notebook's CatBoost, unfitted, with the library's own seed as there; for `training.notebook`."""
    from catboost import CatBoostRegressor

    hyperparameters = CatBoostTrees()
    return CatBoostRegressor(
        iterations=hyperparameters.tree_count,
        learning_rate=hyperparameters.learning_rate,
        depth=hyperparameters.depth,
        thread_count=1,
        allow_writing_files=False,
        verbose=False,
    )
