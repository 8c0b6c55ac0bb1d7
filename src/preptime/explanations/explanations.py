"""The explanations of N orders: a base value, contributions, and a rest, whose sum is the p50; and their sentences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from preptime.domain.time_units import MINUTES, TimeUnit
from preptime.explanations.groups import ROUNDING, FeatureGroup
from preptime.features.spec import Feature

MAX_CONTRIBUTIONS = 3
"""Contributions in a sentence."""


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


def explanation_sentences(explanations: Explanations, unit: TimeUnit = MINUTES) -> list[str]:
    """Return `explanation_sentence` for each of N orders."""
    titles = [*(group.title for group in explanations.groups), ROUNDING]
    columns = [*explanations.by_group().values(), explanations.rounding]
    rows = zip(*(column.tolist() for column in columns), strict=True)
    differences = (explanations.p50 - explanations.base).tolist()
    return [
        explanation_sentence(difference, list(zip(titles, row, strict=True)), unit)
        for difference, row in zip(differences, rows, strict=True)
    ]


def explanation_sentence(difference: float, parts: Sequence[tuple[str, float]], unit: TimeUnit = MINUTES) -> str:
    """Return the difference of a p50 from its base value, and the largest contributions, in a unit for people.

    `difference` is in seconds, and `parts` are titles with seconds. Parts that aren't visible in the unit aren't
    listed.

    Example:
        >>> explanation_sentence(720.0, [("the basket", 190.0), ("the restaurant's usual time", 500.0)])
        "12 min longer than the average order: the restaurant's usual time (+8 min), the basket (+3 min)."
    """
    nothing, amount = unit.text(0, 0), unit.text(abs(difference), 0)
    start = "About as long as the average order"
    if amount != nothing:
        start = f"{amount} {'longer' if difference > 0 else 'shorter'} than the average order"
    largest = sorted(parts, key=lambda part: -abs(part[1]))[:MAX_CONTRIBUTIONS]
    listed = [
        f"{title} ({'+' if seconds > 0 else '−'}{unit.text(abs(seconds), 0)})"
        for title, seconds in largest
        if unit.text(abs(seconds), 0) != nothing
    ]
    return f"{start}: {', '.join(listed)}." if listed else f"{start}."
