"""Labels that are not preparation times: "ready" tapped at once, or forgotten for hours."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from preptime.tables.synthetic.world import FORGOTTEN_SECONDS_QUANTILES, REFERENCE_ORDERS

ZERO_LABEL_SHARE = 103 / REFERENCE_ORDERS
FORGOTTEN_SHARE = 0.0047
"""With the honest labels over 3 hours (before opening, mostly) it makes 202 of 32,394."""

FORGOTTEN_HOURS = (13.0, 18.0)
FORGOTTEN_HOURS_WEIGHT = 10.0
"""An afternoon's order is forgotten that many times as often as another: nobody comes by until the evening."""

_LOG_TAP_SECONDS, _LOG_TAP_SPREAD = np.log(22.0), 0.75


def forgotten_weight(seconds_of_day: NDArray[np.floating]) -> NDArray[np.float64]:
    """[N] how likely an order acknowledged then is forgotten, relatively."""
    first, last = (hour * 3_600 for hour in FORGOTTEN_HOURS)
    return np.where((seconds_of_day >= first) & (seconds_of_day < last), FORGOTTEN_HOURS_WEIGHT, 1.0)


def forgotten_share_longer_than(seconds: NDArray[np.floating]) -> NDArray[np.float64]:
    """Share of forgotten orders whose label is larger."""
    share, label = zip(*FORGOTTEN_SECONDS_QUANTILES, strict=True)
    cumulative_share: NDArray[np.float64] = np.interp(np.log(np.maximum(seconds, 1.0)), np.log(label), share)
    return 1 - cumulative_share


def draw_label_noise(
    early_tap: NDArray[np.float64],
    seconds_of_day: NDArray[np.float64],
    before_opening: NDArray[np.bool_],
    rng: np.random.Generator,
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """[N] whether a label is dirty, and the seconds it then says.

    `early_tap` is the restaurant's probability of tapping at once. Orders before opening are clean. Zeros and forgotten
    orders are as many as their share says: of such rare ones chance would give another figure each time.
    """
    count = len(early_tap)
    noisy_seconds = np.exp(_LOG_TAP_SECONDS + _LOG_TAP_SPREAD * rng.standard_normal(count)).clip(3.0, 59.0)
    tapped_early = (rng.random(count) < early_tap) & ~before_opening
    zero_rows = rng.permutation(np.flatnonzero(tapped_early))[: _round_randomly(count, ZERO_LABEL_SHARE, rng)]
    noisy_seconds[zero_rows] = 0.5 * rng.random(len(zero_rows))

    forget_time = rng.standard_exponential(count) / forgotten_weight(seconds_of_day)
    forget_time[before_opening | tapped_early] = np.inf
    forgotten_count = min(_round_randomly(count, FORGOTTEN_SHARE, rng), int(np.isfinite(forget_time).sum()))
    forgotten_rows = rng.permutation(np.argsort(forget_time, kind="stable")[:forgotten_count])
    share, label = zip(*FORGOTTEN_SECONDS_QUANTILES, strict=True)
    noisy_seconds[forgotten_rows] = np.exp(
        np.interp(
            (np.arange(forgotten_count) + rng.random(forgotten_count)) / max(forgotten_count, 1), share, np.log(label)
        )
    )
    is_noisy = tapped_early
    is_noisy[forgotten_rows] = True
    return is_noisy, noisy_seconds


def _round_randomly(count: int, share: float, rng: np.random.Generator) -> int:
    """`count * share`, its fraction left to chance."""
    return int(count * share + rng.random())
