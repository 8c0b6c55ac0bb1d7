"""LightGBM as a model: the worked example of CONTRIBUTING.md, "Add a model".

It works as a class of your own (`[models] lgbm = "lightgbm_model.py:LightGBMModel"` in schema.toml), and as a file of
`src/preptime/models` with a line in the catalogue.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from preptime.models.model import as_seconds, check_training_rows, normalized_shares

if TYPE_CHECKING:
    from lightgbm import Booster
    from onnx import ModelProto


@dataclass(frozen=True, slots=True)
class LightGBMModel:
    """The model `lgbm`: LightGBM with squared error. The fields are its hyperparameters."""

    libraries: ClassVar[tuple[str, ...]] = ("lightgbm",)

    name: str = "lgbm"
    tree_count: int = 200
    learning_rate: float = 0.05
    leaves: int = 15

    def fit(self, X: NDArray[np.float32], y: NDArray[np.float64], *, threads: int, seed: int) -> FittedLightGBM:
        """Return the fitted model. `deterministic`: the number of threads affects only the duration."""
        from lightgbm import LGBMRegressor

        check_training_rows(X, y)
        estimator = LGBMRegressor(
            n_estimators=self.tree_count,
            learning_rate=self.learning_rate,
            num_leaves=self.leaves,
            n_jobs=threads,
            random_state=seed,
            deterministic=True,
            force_row_wise=True,
            verbose=-1,
        )
        booster = _with_float32_thresholds(estimator.fit(X, y).booster_)
        return FittedLightGBM(booster, X.shape[1])


@dataclass(frozen=True, slots=True)
class FittedLightGBM:
    """The fitted trees."""

    booster: Booster
    n_features: int

    def predict(self, X: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return seconds, [N]."""
        return as_seconds(np.asarray(self.booster.predict(X, num_threads=1)))

    def importance(self) -> NDArray[np.float64]:
        """Return the number of splits on each feature, [F], as shares with the sum 1."""
        return normalized_shares(self.booster.feature_importance())

    def to_onnx(self) -> ModelProto:
        """Return the ONNX model. The converter adds an Identity after the trees, which `extract_tree_node` drops."""
        from onnxmltools import convert_lightgbm
        from onnxmltools.convert.common.data_types import FloatTensorType

        from preptime.models import onnx_export

        inputs = [(onnx_export.INPUT_NAME, FloatTensorType([None, self.n_features]))]
        converted = convert_lightgbm(self.booster, initial_types=inputs, target_opset=15)
        return onnx_export.point_model(onnx_export.extract_tree_node(converted), self.n_features)


def _with_float32_thresholds(booster: Booster) -> Booster:
    """Return the same trees with float32 thresholds, as ONNX has them.

    LightGBM's thresholds are float64. A float32 value is at most t exactly if it's at most the largest float32 up to t.
    The converter rounds to the nearest float32 instead, so a row on a threshold would go the other way.
    """
    from lightgbm import Booster

    lines = booster.model_to_string().splitlines()
    lines = [line for line in lines if not line.startswith("tree_sizes=")]  # the lengths of the texts change
    for number, line in enumerate(lines):
        name, _, values = line.partition("=")
        if name == "threshold":
            exact = np.array(values.split(), np.float64)
            rounded = exact.astype(np.float32)
            rounded = np.where(rounded > exact, np.nextafter(rounded, np.float32(-np.inf)), rounded)
            lines[number] = f"threshold={' '.join(repr(float(value)) for value in rounded)}"
    return Booster(model_str="\n".join(lines) + "\n")
