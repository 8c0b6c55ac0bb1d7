"""The explanations of N orders: a base value, contributions of features, and a rest, whose sum is the p50."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from preptime.explanations.groups import FeatureGroup
from preptime.features.spec import Feature


@dataclass(frozen=True, slots=True, eq=False)
class Explanations:
    """Why each of N orders has its p50. All numbers are seconds.

    p50 = base + the sum of all contributions + rounding, for every order, to 1e-3 s.
    """

    p50: NDArray[np.float32]
    """[N] the prediction that is explained: that of the live model where `is_live`."""
    base: NDArray[np.float64]
    """[N] the mean of the orders that the model was fitted on. The live model has its own."""
    contributions: NDArray[np.float64]
    """[N, F] what each of `features` adds."""
    features: tuple[Feature, ...]
    """F features. With a live model, the live features are the last ones."""
    groups: tuple[FeatureGroup, ...]
    """The groups for people, each feature in one of them."""
    is_live: NDArray[np.bool_]
    """[N] whether the live model predicted the order."""

    def __len__(self) -> int:
        return len(self.p50)

    @property
    def rounding(self) -> NDArray[np.float64]:
        """[N] what the steps after the trees add: the nearest label value, the limits, and the rounding of float32."""
        rest: NDArray[np.float64] = self.p50.astype(np.float64) - self.base - self.contributions.sum(axis=1)
        return rest

    def by_group(self) -> dict[str, NDArray[np.float64]]:
        """Return the sum of the contributions of each group, [N], by its name."""
        column = {feature.name: index for index, feature in enumerate(self.features)}
        return {
            group.name: self.contributions[:, [column[feature.name] for feature in group.features]].sum(axis=1)
            for group in self.groups
        }
