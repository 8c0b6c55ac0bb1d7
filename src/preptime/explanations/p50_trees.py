"""The trees of a p50, and the steps after them: calibration, the nearest label value, and the limit of 0 s."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from preptime.domain.orders import MIN_SCALED_SECONDS
from preptime.explanations.tree_shap import TreeEnsemble, TreeExplainer


@dataclass(frozen=True, eq=False)
class P50Trees:
    """The trees whose sum is the p50 before calibration, and the calibration. Threads can share it.

    With r as the sum of the trees, the p50 is max(0, snap(r + scale · max(r, 60))): `snap` returns the nearest label
    value if labels take few values, otherwise its argument. From 60 s, r is multiplied by 1 + scale, so contributions
    are multiplied by it too. The rest is `Explanations.rounding`.

    Raises `ValueError` for an invalid calibration, or for trees with a feature that a row doesn't have.
    """

    ensemble: TreeEnsemble
    n_features: int
    """F, the columns of a row."""
    scale: float
    """The share of itself by which calibration shifts the p50. At least -1."""
    label_values: tuple[float, ...] = ()
    """The values of labels, ascending, if they take few. Otherwise empty."""

    def __post_init__(self) -> None:
        values = np.array(self.label_values)
        if not (np.isfinite(self.scale) and self.scale >= -1):
            raise ValueError(f"the scale {self.scale}")
        if not (np.isfinite(values).all() and (np.diff(values) > 0).all()):
            raise ValueError("label values that aren't ascending")
        if self.n_features < self.ensemble.min_features:
            raise ValueError(f"feature {self.ensemble.min_features - 1} of {self.n_features} features")

    @cached_property
    def explainer(self) -> TreeExplainer:
        """The prepared trees. The first use takes tens of milliseconds."""
        return TreeExplainer(self.ensemble, self.n_features)

    @property
    def base_seconds(self) -> float:
        """The mean p50 of the orders that the trees were fitted on, before the steps that aren't linear."""
        return (1 + self.scale) * self.explainer.base_value

    def contributions(self, X: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return how many seconds each feature adds to the p50, [N, F], for rows X [N, F]."""
        seconds: NDArray[np.float64] = (1 + self.scale) * self.explainer.contributions(X)
        return seconds

    def distance(self, X: NDArray[np.float32], p50: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return how far each p50 [N] is from the one that follows from the trees for rows X [N, F], in seconds.

        A sum of the trees close to the border between two label values can give either of them, so the distance is
        how much farther the p50 is from the sum than the nearest label value.
        """
        raw = self.explainer.base_value + self.explainer.contributions(X).sum(axis=1)
        shifted = raw + self.scale * np.maximum(raw, MIN_SCALED_SECONDS)
        if not self.label_values:
            distance: NDArray[np.float64] = np.abs(np.maximum(shifted, 0.0) - p50)
            return distance
        values = np.maximum(np.array(self.label_values), 0.0).astype(np.float32).astype(np.float64)
        is_value = (p50[:, None].astype(np.float64) == values).any(axis=1)
        nearest = np.abs(shifted[:, None] - values).min(axis=1)
        return np.where(is_value, np.abs(shifted - p50) - nearest, np.inf)
