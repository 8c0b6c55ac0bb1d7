"""The model `quantile`: p10, p50, p80, and p90. Its p50 is the default prediction.

It fits one CatBoost model per level. CatBoost's MultiQuantile loss isn't more accurate (MAE of the p50 445 s compared
with 446 s), and ONNX Runtime rejects the graph that it exports.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from preptime.domain.orders import QUANTILE_LEVELS
from preptime.models.catboost_models import CatBoostTrees, FittedCatBoostTrees
from preptime.models.model import as_seconds, check_training_rows

if TYPE_CHECKING:
    from onnx import ModelProto

MEDIAN_INDEX = QUANTILE_LEVELS.index(0.5)

MIN_SCALED_SECONDS = 60.0
"""Calibration shifts a quantile by a share of itself or of this value, if larger: a share of 0 s would have no effect.
"""


@dataclass(frozen=True, slots=True)
class QuantileModel:
    """One CatBoost model per level, fitted on the pinball loss.

    The hyperparameters were chosen on the days before June 17 of the public data, by the MAE of the p50 over two
    cutoffs and three seeds. Depth 6, rate 0.1, and 200 trees give 419.0 s; rate 0.05 and 300 trees 417.1 s; depth 5
    416.9 s; half of the columns for each split 416.8 s; 512 borders instead of 254 416.0 s (the time of day needs many:
    with 64, it's 419.8 s). Each step is close to the noise of a seed (0.5 s), but their sum isn't.
    """

    libraries: ClassVar[tuple[str, ...]] = ("catboost",)

    name: str = "quantile"
    tree_count: int = 300
    learning_rate: float = 0.05
    depth: int = 5
    column_fraction: float = 0.5
    border_count: int = 512

    def fit(self, X: NDArray[np.float32], y: NDArray[np.float64], *, threads: int, seed: int) -> FittedQuantileModel:
        """Return the fitted model, uncalibrated. To calibrate it, call `FittedQuantileModel.calibrated`."""
        check_training_rows(X, y)
        levels = (
            CatBoostTrees(
                loss=f"Quantile:alpha={level}",
                tree_count=self.tree_count,
                learning_rate=self.learning_rate,
                depth=self.depth,
                column_fraction=self.column_fraction,
                border_count=self.border_count,
            )
            for level in QUANTILE_LEVELS
        )
        return FittedQuantileModel(tuple(level_trees.fit(X, y, threads=threads, seed=seed) for level_trees in levels))


@dataclass(frozen=True, slots=True)
class FittedQuantileModel:
    """One fitted model per level, and the calibration of each level."""

    levels: tuple[FittedCatBoostTrees, ...]
    """In the order of `QUANTILE_LEVELS`."""
    scale: NDArray[np.float64] = field(default_factory=lambda: np.zeros(len(QUANTILE_LEVELS)))
    """[4] the share of itself by which calibration shifts each level."""

    def calibrated(self, scale: NDArray[np.float64]) -> FittedQuantileModel:
        """Return the model with another calibration [4], which replaces the current one.

        A quantile q becomes q + scale * max(q, `MIN_SCALED_SECONDS`), before the levels are sorted and clipped.
        """
        return replace(self, scale=np.asarray(scale, dtype=np.float64))

    def predict(self, X: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return seconds, [N, 4], never crossing: p50 stays, and the others are limited outward from it."""
        raw = [level.predict_raw(X).astype(np.float32) for level in self.levels]
        p10, p50, p80, p90 = (
            column + np.float32(shift) * np.maximum(column, np.float32(MIN_SCALED_SECONDS))
            for column, shift in zip(raw, self.scale, strict=True)
        )
        p10, p80 = np.minimum(p10, p50), np.maximum(p80, p50)
        return as_seconds(np.column_stack([p10, p50, p80, np.maximum(p90, p80)]))

    def importance(self) -> NDArray[np.float64]:
        """Return the importance of each feature for the p50, [F], as shares with the sum 1."""
        return self.levels[MEDIAN_INDEX].importance()

    def to_onnx(self) -> ModelProto:
        """Return `predict` as an ONNX model."""
        from onnx import helper

        from preptime.models import onnx_export

        nodes = []
        for index, level in enumerate(self.levels):
            nodes.append(onnx_export.with_output_name(level.to_tree_node(), f"raw_{index}"))
            nodes += [
                helper.make_node("Max", [f"raw_{index}", "floor"], [f"base_{index}"]),
                helper.make_node("Mul", [f"base_{index}", f"scale_{index}"], [f"move_{index}"]),
                helper.make_node("Add", [f"raw_{index}", f"move_{index}"], [f"level_{index}"]),
            ]
        nodes += [
            helper.make_node("Min", ["level_0", "level_1"], ["p10"]),
            helper.make_node("Max", ["level_2", "level_1"], ["p80"]),
            helper.make_node("Max", ["level_3", "p80"], ["p90"]),
            helper.make_node("Concat", ["p10", "level_1", "p80", "p90"], ["ordered"], axis=1),
            helper.make_node("Relu", ["ordered"], [onnx_export.OUTPUT_NAME]),
        ]
        constants = [onnx_export.float_constant(f"scale_{index}", [shift]) for index, shift in enumerate(self.scale)]
        constants.append(onnx_export.float_constant("floor", [MIN_SCALED_SECONDS]))
        inputs = [onnx_export.features_info(self.levels[MEDIAN_INDEX].n_features)]
        return onnx_export.make_model(
            nodes, constants, inputs, [onnx_export.matrix_info(onnx_export.OUTPUT_NAME, len(QUANTILE_LEVELS))]
        )
