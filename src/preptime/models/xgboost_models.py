"""`xgb`: the notebook's XGBoost; the one place that knows this library."""

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
    """XGBoost with the notebook's hyperparameters."""

    libraries: ClassVar[tuple[str, ...]] = ("xgboost",)

    name: str = "xgb"
    tree_count: int = 100
    learning_rate: float = 0.1
    depth: int = 4

    def fit(self, X: NDArray[np.float32], y: NDArray[np.float64], *, threads: int, seed: int) -> FittedXGBoostModel:
        """The number of threads changes nothing but the time."""
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
    """Fitted XGBoost."""

    estimator: XGBRegressor

    def predict(self, X: NDArray[np.float32]) -> NDArray[np.float32]:
        """Seconds, [N]."""
        return as_seconds(self.estimator.predict(X))

    def importance(self) -> NDArray[np.float64]:
        """[F], each feature's share of the gain that splits on it brought, on average."""
        return normalized_shares(self.estimator.feature_importances_)

    def to_onnx(self) -> ModelProto:
        """XGBoost's thresholds are float32 already: both sides compare the same numbers."""
        from onnxmltools import convert_xgboost
        from onnxmltools.convert.common.data_types import FloatTensorType

        from preptime.models import onnx_export

        n_features = self.estimator.n_features_in_
        inputs = [(onnx_export.INPUT_NAME, FloatTensorType([None, n_features]))]
        converted = convert_xgboost(self.estimator, initial_types=inputs, target_opset=15)
        return onnx_export.point_model(onnx_export.extract_tree_node(converted), n_features)


def notebook_estimator() -> Estimator:
    """The notebook's XGBoost, unfitted; for `training.notebook`. A second thread mostly waits for the first here."""
    from xgboost import XGBRegressor

    hyperparameters = XGBoostModel()
    return XGBRegressor(
        n_estimators=hyperparameters.tree_count,
        learning_rate=hyperparameters.learning_rate,
        max_depth=hyperparameters.depth,
        n_jobs=1,
    )
