"""The dispatch decision: when to send a courier, from the predicted distribution of the ready time.

A courier who arrives before the food waits, and food that is ready before the courier waits. With a cost per minute for
each, the expected cost is smallest if the courier arrives at a quantile of the ready time, the critical ratio
courier / (courier + food). It's the newsvendor problem (Arrow, Harris, and Marschak, "Optimal inventory policy", 1951).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from preptime.domain.orders import QUANTILE_LEVELS
from preptime.errors import UsageError

MIN_LEVEL, MAX_LEVEL = QUANTILE_LEVELS[0], QUANTILE_LEVELS[-1]
"""A prediction has no quantiles outside of these levels, so a cost ratio must be from 1:9 to 9:1."""

_LEVEL_TOLERANCE = 1e-9


def dispatch_level(courier_cost: float, food_cost: float) -> float:
    """Return the quantile level of the ready time at which the courier should arrive.

    Args:
        courier_cost: Cost of a minute that a courier waits, in any unit, more than 0.
        food_cost: Cost of a minute that ready food waits, in the same unit, more than 0.

    Raises:
        UsageError: The ratio of the costs is outside 1:9 to 9:1.

    Example:
        >>> dispatch_level(1, 1)
        0.5
    """
    total = courier_cost + food_cost
    level = courier_cost / total if 0 < total < np.inf else np.nan
    if not MIN_LEVEL - _LEVEL_TOLERANCE <= level <= MAX_LEVEL + _LEVEL_TOLERANCE:
        raise UsageError(
            f"The cost of a minute is {courier_cost:g} for a courier and {food_cost:g} for food. A prediction has "
            f"quantiles from {MIN_LEVEL:.0%} to {MAX_LEVEL:.0%}, so the ratio must be from 1:9 to 9:1.",
            "Use costs whose ratio is from 1:9 to 9:1.",
        )
    return float(min(max(level, MIN_LEVEL), MAX_LEVEL))


def quantile_at(
    quantiles: NDArray[np.floating], level: float, levels: Sequence[float] = QUANTILE_LEVELS
) -> NDArray[np.float64]:
    """Return the quantile of N distributions at one level, interpolated linearly between the given levels.

    Args:
        quantiles: [N, len(levels)] seconds, ascending in each row.
        level: From the first to the last of `levels`.
        levels: Ascending.

    Example:
        >>> quantile_at(np.array([[300.0, 600.0, 900.0, 1200.0]]), 0.65)
        array([750.])
    """
    upper = int(np.clip(np.searchsorted(levels, level), 1, len(levels) - 1))
    share = (level - levels[upper - 1]) / (levels[upper] - levels[upper - 1])
    lower_values = quantiles[:, upper - 1].astype(np.float64)
    return lower_values + share * (quantiles[:, upper] - lower_values)
