"""LightGBM as the default prediction: one ensemble for each quantile (docs/custom-models.md, "Quantiles").

challenger.toml names it as `quantile`, so preptime calibrates it, and the gate compares it with the champion.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from lightgbm import LGBMRegressor
    from onnx import ModelProto

LEVELS = (0.1, 0.5, 0.8, 0.9)


@dataclass(frozen=True)
class LightGBMQuantiles:
    """The fields are its hyperparameters."""

    tree_count: int = 100
    learning_rate: float = 0.05
    leaves: int = 7

    def fit(self, X: NDArray[np.float32], y: NDArray[np.float64], *, threads: int, seed: int) -> FittedQuantiles:
        """Return the fitted ensembles, one for each level."""
        from lightgbm import LGBMRegressor

        estimators = [
            LGBMRegressor(
                objective="quantile",
                alpha=level,
                n_estimators=self.tree_count,
                learning_rate=self.learning_rate,
                num_leaves=self.leaves,
                n_jobs=threads,
                random_state=seed,
                deterministic=True,
                force_row_wise=True,
                verbose=-1,
            )
            for level in LEVELS
        ]
        return FittedQuantiles([estimator.fit(X, y) for estimator in estimators])


@dataclass(frozen=True)
class FittedQuantiles:
    """The fitted ensembles."""

    estimators: list[LGBMRegressor]

    def predict(self, X: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return seconds, [N, 4]. preptime calibrates and orders them."""
        columns = [np.asarray(estimator.booster_.predict(X, num_threads=1)) for estimator in self.estimators]
        return np.column_stack(columns)

    def to_onnx(self) -> ModelProto:
        """Return the ensembles as one graph with four columns."""
        from onnx import helper
        from onnxmltools import convert_lightgbm
        from onnxmltools.convert.common.data_types import FloatTensorType

        from preptime.models import onnx_export

        n_features = self.estimators[0].n_features_in_
        inputs = [(onnx_export.INPUT_NAME, FloatTensorType([None, n_features]))]
        names = [f"p{level * 100:.0f}" for level in LEVELS]
        nodes = [helper.make_node("Concat", names, ["seconds"], axis=1)]
        for name, estimator in zip(reversed(names), reversed(self.estimators), strict=True):
            trees = onnx_export.extract_tree_node(convert_lightgbm(estimator, initial_types=inputs, target_opset=15))
            nodes.insert(0, onnx_export.with_output_name(trees, name))
        return onnx_export.make_model(
            nodes, [], [onnx_export.features_info(n_features)], [onnx_export.matrix_info("seconds", len(LEVELS))]
        )
