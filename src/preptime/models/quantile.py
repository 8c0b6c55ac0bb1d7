"""`quantile`: the default answer, p10, p50, p80 and p90.

One CatBoost model per level: its MultiQuantile learns no better (p50 MAE 445 s against 446 s) and exports a graph that
onnxruntime refuses.
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
"""Calibration moves a quantile by a share of itself, but of at least this: a share of nothing corrects nothing."""


@dataclass(frozen=True, slots=True)
class QuantileModel:
    """One CatBoost model per level, on the pinball loss.

    The hyperparameters are in this one place. They were chosen on the days before 17 June of the public data, by p50
    MAE over two cut-offs and three seeds: depth 6, rate 0.1, 200 trees 419.0 s; rate 0.05 and 300 trees 417.1; depth 5
    416.9; half of the columns for each split 416.8; 512 borders instead of 254 416.0 (the time of day wants fine ones:
    with 64 it is 419.8). The steps are near the noise of a seed (0.5 s), their sum is not.
    """

    libraries: ClassVar[tuple[str, ...]] = ("catboost",)

    name: str = "quantile"
    tree_count: int = 300
    learning_rate: float = 0.05
    depth: int = 5
    column_fraction: float = 0.5
    border_count: int = 512

    def fit(self, X: NDArray[np.float32], y: NDArray[np.float64], *, threads: int, seed: int) -> FittedQuantileModel:
        """Uncalibrated: `FittedQuantileModel.calibrated` comes after."""
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
    """A fitted model per level, and how far calibration moves each."""

    levels: tuple[FittedCatBoostTrees, ...]
    scale: NDArray[np.float64] = field(default_factory=lambda: np.zeros(len(QUANTILE_LEVELS)))
    """[4], the share of itself by which each level moves."""

    def calibrated(self, scale: NDArray[np.float64]) -> FittedQuantileModel:
        """The same, with level q moved to q + scale·max(q, `MIN_SCALED_SECONDS`), before levels are ordered and clipped."""
        return replace(self, scale=np.asarray(scale, dtype=np.float64))

    def predict(self, X: NDArray[np.float32]) -> NDArray[np.float32]:
        """Seconds, [N, 4], never crossing: outward from the median, which is never moved by its neighbours."""
        raw = [level.predict_raw(X).astype(np.float32) for level in self.levels]
        p10, p50, p80, p90 = (
            column + np.float32(shift) * np.maximum(column, np.float32(MIN_SCALED_SECONDS))
            for column, shift in zip(raw, self.scale, strict=True)
        )
        p10, p80 = np.minimum(p10, p50), np.maximum(p80, p50)
        return as_seconds(np.column_stack([p10, p50, p80, np.maximum(p90, p80)]))

    def importance(self) -> NDArray[np.float64]:
        """[F], that of the median."""
        return self.levels[MEDIAN_INDEX].importance()

    def to_onnx(self) -> ModelProto:
        """`predict`, line by line."""
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
