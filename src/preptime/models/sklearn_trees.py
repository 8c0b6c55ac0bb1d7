"""What scikit-learn's tree ensembles leave behind: the fitted half of `rf` and `gbr`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from preptime.models.model import as_seconds, normalized_shares

if TYPE_CHECKING:
    from onnx import ModelProto
    from sklearn.ensemble import GradientBoostingRegressor, RandomForestRegressor


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

        from preptime.models import graph

        n_features = self.estimator.n_features_in_
        converted = to_onnx(self.estimator, np.zeros((1, n_features), np.float32), target_opset=graph.OPSETS)
        return graph.point_model(graph.extract_tree_node(converted), n_features)
