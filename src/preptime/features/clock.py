"""Parts of a local day."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SECONDS_PER_DAY = 86_400
EPOCH_WEEKDAY = 3
"""1970-01-01 was a Thursday; Monday is 0."""

TIME_SLOT_STARTS = np.array([0, 12.5, 14.5, 17, 19, 21, 22.5]) * 3600
"""Seconds of the day at which the time slots begin: before opening, lunch, afternoon, three of the evening, late."""
TIME_SLOT_COUNT = len(TIME_SLOT_STARTS)

DINNER_START_SECOND = 16 * 3600 + 2700
"""16:45. Food ready before it belongs to lunch, after it to dinner: the quietest quarter of an hour between both."""
NIGHT_END_SECOND = 5 * 3600
"""What is ready before 05:00 belongs to the dinner of the evening before."""


def local_day(local_seconds: NDArray[np.int64]) -> NDArray[np.int64]:
    """[N] local days since 1970-01-01."""
    return local_seconds // SECONDS_PER_DAY


def second_of_day(local_seconds: NDArray[np.int64]) -> NDArray[np.int64]:
    """[N] seconds since local midnight."""
    return local_seconds % SECONDS_PER_DAY


def weekday(local_seconds: NDArray[np.int64]) -> NDArray[np.int64]:
    """[N] 0 for Monday to 6 for Sunday."""
    return (local_day(local_seconds) + EPOCH_WEEKDAY) % 7


def time_slot(seconds_of_day: NDArray[np.int64]) -> NDArray[np.int64]:
    """[N] time slot of seconds of the day."""
    return TIME_SLOT_STARTS.searchsorted(seconds_of_day, side="right") - 1


def meal_period(seconds_of_day: NDArray[np.int64]) -> NDArray[np.int64]:
    """[N] 0 for lunch, 1 for dinner (the small hours included)."""
    return ((seconds_of_day >= DINNER_START_SECOND) | (seconds_of_day < NIGHT_END_SECOND)).astype(np.int64)
