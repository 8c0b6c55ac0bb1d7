"""`quantile`: the default answer, p10, p50, p80 and p90.

One CatBoost model per level: its MultiQuantile learns no better (p50 MAE 445 s against 446 s) and exports a graph that
onnxruntime refuses.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from preptime.domain.prediction import LEVELS
from preptime.models.cat import CatTrees, FittedCatTrees
from preptime.models.model import as_seconds, check_training_rows

if TYPE_CHECKING:
    from onnx import ModelProto

MEDIAN = LEVELS.index(0.5)


@dataclass(frozen=True, slots=True)
class Quantile:
    """One CatBoost model per level, on the pinball loss. The hyperparameters are in this one place."""

    libraries: ClassVar[tuple[str, ...]] = ("catboost",)

    name: str = "quantile"
    trees: int = 200
    """Measured p50 MAE with 100, 200, 500 trees: 433.8, 432.6, 433.7 s."""
    rate: float = 0.1
    depth: int = 6

    def fit(self, X: NDArray[np.float32], y: NDArray[np.float64], *, threads: int, seed: int) -> FittedQuantile:
        """Uncalibrated: `FittedQuantile.calibrated` comes after."""
        check_training_rows(X, y)
        levels = (
            CatTrees(loss=f"Quantile:alpha={level}", trees=self.trees, rate=self.rate, depth=self.depth)
            for level in LEVELS
        )
        return FittedQuantile(tuple(recipe.fit(X, y, threads=threads, seed=seed) for recipe in levels))


@dataclass(frozen=True, slots=True)
class FittedQuantile:
    """A fitted model per level, and how far calibration moves each."""

    levels: tuple[FittedCatTrees, ...]
    shift: NDArray[np.float64] = field(default_factory=lambda: np.zeros(len(LEVELS)))
    """[4], seconds added to each level."""

    def calibrated(self, shift: NDArray[np.float64]) -> FittedQuantile:
        """The same, with `shift` [4] seconds added to each level before they are put in order and clipped at 0."""
        return replace(self, shift=np.asarray(shift, dtype=np.float64))

    def predict(self, X: NDArray[np.float32]) -> NDArray[np.float32]:
        """Seconds, [N, 4], never crossing: outward from the median, which is never moved by its neighbours."""
        raw = [level.raw(X).astype(np.float32) for level in self.levels]
        p10, p50, p80, p90 = (column + np.float32(by) for column, by in zip(raw, self.shift, strict=True))
        p10, p80 = np.minimum(p10, p50), np.maximum(p80, p50)
        return as_seconds(np.column_stack([p10, p50, p80, np.maximum(p90, p80)]))

    def importance(self) -> NDArray[np.float64]:
        """[F], that of the median."""
        return self.levels[MEDIAN].importance()

    def to_onnx(self) -> ModelProto:
        """`predict`, line by line."""
        from onnx import helper

        from preptime.models import graph

        nodes = []
        for k, level in enumerate(self.levels):
            nodes.append(graph.trees_named(level.trees(), f"raw_{k}"))
            nodes.append(helper.make_node("Add", [f"raw_{k}", f"shift_{k}"], [f"level_{k}"]))
        nodes += [
            helper.make_node("Min", ["level_0", "level_1"], ["p10"]),
            helper.make_node("Max", ["level_2", "level_1"], ["p80"]),
            helper.make_node("Max", ["level_3", "p80"], ["p90"]),
            helper.make_node("Concat", ["p10", "level_1", "p80", "p90"], ["ordered"], axis=1),
            helper.make_node("Relu", ["ordered"], [graph.SECONDS]),
        ]
        shifts = [graph.constant(f"shift_{k}", [by]) for k, by in enumerate(self.shift)]
        inputs = [graph.features_info(self.levels[MEDIAN].n_features)]
        return graph.model(nodes, shifts, inputs, [graph.matrix_info(graph.SECONDS, len(LEVELS))])
