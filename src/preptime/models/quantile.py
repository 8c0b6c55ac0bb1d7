"""The model `quantile`: p10, p50, p80, and p90. Its p50 is the default prediction.

One CatBoost ensemble predicts all levels (loss MultiQuantile), as one node of the ONNX graph.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from preptime.domain.orders import MEDIAN_INDEX, MIN_SCALED_SECONDS, QUANTILE_LEVELS
from preptime.explanations.p50_trees import P50Trees
from preptime.explanations.tree_shap import MAX_LEAVES
from preptime.models.catboost_models import CatBoostTrees, FittedCatBoostTrees
from preptime.models.model import as_seconds

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto


@dataclass(frozen=True, slots=True)
class QuantileModel:
    """One CatBoost ensemble for all levels, fitted on the sum of their pinball losses.

    `benchmarks/quantile_models.py` compares it with one ensemble per level and with a mean of two libraries.
    """

    libraries: ClassVar[tuple[str, ...]] = ("catboost",)

    name: str = "quantile"
    tree_count: int = 300
    learning_rate: float = 0.05
    depth: int = 4
    column_fraction: float = 0.5
    border_count: int = 512

    def fit(self, X: NDArray[np.float32], y: NDArray[np.float64], *, threads: int, seed: int) -> FittedQuantileModel:
        """Return the fitted model, uncalibrated. To calibrate it, call `FittedQuantileModel.calibrated`."""
        trees = CatBoostTrees(
            loss=f"MultiQuantile:alpha={','.join(map(str, QUANTILE_LEVELS))}",
            tree_count=self.tree_count,
            learning_rate=self.learning_rate,
            depth=self.depth,
            column_fraction=self.column_fraction,
            border_count=self.border_count,
        )
        return FittedQuantileModel(trees.fit(X, y, threads=threads, seed=seed))


class RawQuantiles(Protocol):
    """Fitted quantiles without calibration: `FittedCatBoostTrees`, or those of a custom model."""

    @property
    def n_features(self) -> int:
        """The number of feature columns, F."""
        ...

    def predict_raw(self, X: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return seconds, [N, 4]. They can cross and be negative."""
        ...

    def importance(self) -> NDArray[np.float64]:
        """Return the importance of each feature, [F], as shares with the sum 1."""
        ...

    def raw_nodes(self) -> tuple[list[NodeProto], list[TensorProto]]:
        """Return the ONNX nodes and constants that compute `raw`, float32 [N, 4], from `features`."""
        ...


@dataclass(frozen=True, slots=True)
class FittedQuantileModel:
    """The fitted trees of all levels, the calibration of each level, and the label values that occur."""

    trees: RawQuantiles
    """The trees, or the quantiles of a custom model."""
    scale: NDArray[np.float64] = field(default_factory=lambda: np.zeros(len(QUANTILE_LEVELS)))
    """[4] the share of itself by which calibration shifts each level."""
    label_values: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    """[K] ascending seconds. If labels take few values, each quantile is the nearest of these. Otherwise empty."""

    def calibrated(
        self, scale: NDArray[np.float64], label_values: NDArray[np.float64] | None = None
    ) -> FittedQuantileModel:
        """Return the model with another calibration [4], which replaces the current one.

        A quantile q becomes q + scale * max(q, `MIN_SCALED_SECONDS`), and then the nearest of `label_values`, before
        the levels are sorted and clipped.
        """
        values = self.label_values if label_values is None else label_values
        return replace(self, scale=np.asarray(scale, dtype=np.float64), label_values=values)

    def predict_raw(self, X: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return seconds, [N, 4], without calibration. They can cross and be negative."""
        return self.trees.predict_raw(X).astype(np.float32)

    def predict(self, X: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return seconds, [N, 4], never crossing: p50 stays, and the others are limited outward from it."""
        return self._finish(self.predict_raw(X))

    def predict_moved(self, X: NDArray[np.float32], seconds: float) -> NDArray[np.float32]:
        """Return the predictions [N, 4] if each uncalibrated quantile were larger by `seconds`.

        A quantile close to the border between two label values becomes the other value. Another order of summation,
        as in ONNX Runtime, has the same effect.
        """
        return self._finish(self.predict_raw(X) + np.float32(seconds))

    def _finish(self, raw: NDArray[np.float32]) -> NDArray[np.float32]:
        return order_quantiles(snap(shift_quantiles(raw, self.scale), self.label_values))

    def importance(self) -> NDArray[np.float64]:
        """Return the importance of each feature, [F], as shares with the sum 1."""
        return self.trees.importance()

    def p50_trees(self) -> P50Trees | None:
        """Return the trees of the p50 for explanations, or None if they aren't those of CatBoost, or too many."""
        trees = self.trees
        if not isinstance(trees, FittedCatBoostTrees) or trees.leaf_count >= MAX_LEAVES:
            return None
        scale, label_values = float(self.scale[MEDIAN_INDEX]), tuple(self.label_values.tolist())
        return P50Trees(trees.to_ensemble(MEDIAN_INDEX), trees.n_features, scale, label_values)

    def to_onnx(self) -> ModelProto:
        """Return `predict` as an ONNX model."""
        from onnx import helper

        from preptime.models import onnx_export

        raw_nodes, raw_constants = self.trees.raw_nodes()
        nodes = [
            *raw_nodes,
            helper.make_node("Max", ["raw", "floor"], ["base"]),
            helper.make_node("Mul", ["base", "scale"], ["move"]),
            helper.make_node("Add", ["raw", "move"], ["scaled"]),
        ]
        constants = [
            *raw_constants,
            onnx_export.float_constant("floor", [MIN_SCALED_SECONDS]),
            onnx_export.float_constant("scale", self.scale.tolist()),
        ]
        values = "scaled"
        if len(self.label_values):
            snap_nodes, snap_constants = onnx_export.snap_nodes(
                values, "snapped", self.label_values, snap_borders(self.label_values)
            )
            nodes, constants, values = nodes + snap_nodes, constants + snap_constants, "snapped"
        nodes += [
            helper.make_node("Split", [values], ["low", "p50", "high", "highest"], axis=1),
            helper.make_node("Min", ["low", "p50"], ["p10"]),
            helper.make_node("Max", ["high", "p50"], ["p80"]),
            helper.make_node("Max", ["highest", "p80"], ["p90"]),
            helper.make_node("Concat", ["p10", "p50", "p80", "p90"], ["ordered"], axis=1),
            helper.make_node("Relu", ["ordered"], [onnx_export.OUTPUT_NAME]),
        ]
        inputs = [onnx_export.features_info(self.trees.n_features)]
        return onnx_export.make_model(
            nodes, constants, inputs, [onnx_export.matrix_info(onnx_export.OUTPUT_NAME, len(QUANTILE_LEVELS))]
        )


def shift_quantiles(raw: NDArray[np.float32], scale: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return quantiles [N, 4], each shifted by a share [4] of itself, or of `MIN_SCALED_SECONDS` if it's smaller."""
    shifted: NDArray[np.float32] = raw + scale.astype(np.float32) * np.maximum(raw, np.float32(MIN_SCALED_SECONDS))
    return shifted


def snap(seconds: NDArray[np.float32], label_values: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the nearest of K ascending label values for each number, or the numbers if K is 0.

    Example:
        >>> snap(np.array([200.0, 470.0, 2000.0], np.float32), np.array([300.0, 600.0, 900.0])).tolist()
        [300.0, 600.0, 900.0]
    """
    if not len(label_values):
        return seconds
    position = np.searchsorted(snap_borders(label_values), seconds)
    nearest: NDArray[np.float32] = label_values.astype(np.float32)[position]
    return nearest


def snap_borders(label_values: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the numbers [K - 1] halfway between K ascending values. A number on a border belongs to the lower one."""
    return ((label_values[1:] + label_values[:-1]) / 2).astype(np.float32)


def order_quantiles(seconds: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return quantiles [N, 4] that are never negative and never cross: p50 stays, and the others move outward."""
    p10, p50, p80, p90 = seconds.T
    p10, p80 = np.minimum(p10, p50), np.maximum(p80, p50)
    return as_seconds(np.column_stack([p10, p50, p80, np.maximum(p90, p80)]))
