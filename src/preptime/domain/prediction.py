"""What a prediction says: quantiles beside point predictions, and its basis."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

QUANTILE_LEVELS = (0.1, 0.5, 0.8, 0.9)
"""The quantiles every prediction carries."""

DEFAULT_MODEL = "quantile"
"""The default answer is always this model's p50 (D6)."""

FALLBACK_LEVELS = ("restaurant", "city_food", "food", "city", "global")
"""The level of history behind a prediction, finest first."""


@dataclass(frozen=True, slots=True)
class Predictions:
    """Predictions for N orders, in the orders' own places."""

    points: dict[str, NDArray[np.float32]]
    """Seconds, [N] per point model (`rf`, `gbr`, ...)."""
    quantiles: NDArray[np.float32]
    """Seconds, [N, 4] in the order of `QUANTILE_LEVELS`; never crossing, never negative."""
    fallback_level: NDArray[np.int8]
    """[N] positions in `FALLBACK_LEVELS`."""

    @property
    def default(self) -> NDArray[np.float32]:
        """The default answer, seconds [N]: the p50."""
        return self.quantiles[:, QUANTILE_LEVELS.index(0.5)]
