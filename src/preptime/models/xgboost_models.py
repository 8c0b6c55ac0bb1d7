"""XGBoost: the model `xgb` with the notebook's hyperparameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from preptime.models.model import as_seconds, check_training_rows, normalized_shares

if TYPE_CHECKING:
    from onnx import ModelProto
    from xgboost import XGBRegressor

    from preptime.models.model import Estimator


@dataclass(frozen=True, slots=True)
class XGBoostModel:
    """The model `xgb`: XGBoost with squared error and the notebook's hyperparameters."""

    libraries: ClassVar[tuple[str, ...]] = ("xgboost",)

    name: str = "xgb"
    tree_count: int = 100
    learning_rate: float = 0.1
    depth: int = 4

    def fit(self, X: NDArray[np.float32], y: NDArray[np.float64], *, threads: int, seed: int) -> FittedXGBoostModel:
        """Return the fitted model. The number of threads affects only the duration."""
        from xgboost import XGBRegressor

        check_training_rows(X, y)
        estimator = XGBRegressor(
            n_estimators=self.tree_count,
            learning_rate=self.learning_rate,
            max_depth=self.depth,
            n_jobs=threads,
            random_state=seed,
        )
        estimator.fit(X, y)
        return FittedXGBoostModel(estimator)


@dataclass(frozen=True, slots=True)
class FittedXGBoostModel:
    """A fitted XGBoost model."""

    estimator: XGBRegressor

    def predict(self, X: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return seconds, [N]."""
        return as_seconds(self.estimator.predict(X))

    def importance(self) -> NDArray[np.float64]:
        """Return the mean gain of the splits on each feature, [F], as shares with the sum 1."""
        return normalized_shares(self.estimator.feature_importances_)

    def to_onnx(self) -> ModelProto:
        """Return the ONNX model. XGBoost's thresholds are float32, so both compare the same numbers."""
        from onnxmltools import convert_xgboost
        from onnxmltools.convert.common.data_types import FloatTensorType

        from preptime.models import onnx_export

        n_features = self.estimator.n_features_in_
        inputs = [(onnx_export.INPUT_NAME, FloatTensorType([None, n_features]))]
        converted = convert_xgboost(self.estimator, initial_types=inputs, target_opset=15)
        return onnx_export.point_model(onnx_export.extract_tree_node(converted), n_features)


def notebook_estimator() -> Estimator:
    """Return the notebook's XGBoost estimator, unfitted, for `training.notebook`.

    It uses one thread: with data this small, a second thread mostly waits for the first.
    """
    from xgboost import XGBRegressor

    hyperparameters = XGBoostModel()
    return XGBRegressor(
        n_estimators=hyperparameters.tree_count,
        learning_rate=hyperparameters.learning_rate,
        max_depth=hyperparameters.depth,
        n_jobs=1,
    )
