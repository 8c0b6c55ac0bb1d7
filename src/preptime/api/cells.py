"""Orders on their way through the bundle: what is asked of it, row by row, and what it tells of each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from preptime.bundle.bundle import Bundle
from preptime.domain.order import OrderColumns
from preptime.domain.prediction import DEFAULT_MODEL, LEVELS

DIGITS = 4
"""Digits of a second that are told: all that a float32 of some hundred seconds holds."""

Cells = tuple[int, int, float, int, int, int, int]
"""One row of `OrderColumns`."""

Told = tuple[int, list[float]]
"""Of one order: its basis (a position in `BASES`), and seconds: the default answer as it is, then, to `DIGITS`, the
quantiles in the order of `LEVELS` and, where they were asked for, the point models in the bundle's order."""

DEFAULT = 0
FIRST_QUANTILE = 1
FIRST_POINT = FIRST_QUANTILE + len(LEVELS)
"""Places among those seconds."""


def as_columns(cells: Sequence[Cells]) -> OrderColumns:
    """Rows as columns."""
    local, restaurant, value, items, country, city, food = zip(*cells, strict=True) if cells else ((),) * 7
    return OrderColumns(
        np.array(local, np.int64),
        np.array(restaurant, np.int64),
        np.array(value, np.float64),
        np.array(items, np.int64),
        np.array(country, np.int32),
        np.array(city, np.int32),
        np.array(food, np.int32),
    )


def tell(bundle: Bundle, cells: Sequence[Cells], points: bool) -> list[Told]:
    """What the bundle says of these orders, one by one; with the point models' answers or without."""
    found = bundle.predict(as_columns(cells), None if points else ())
    seconds = np.empty((len(cells), FIRST_POINT + len(found.points)))
    seconds[:, FIRST_QUANTILE:FIRST_POINT] = found.quantiles
    for place, of_model in enumerate(found.points.values(), FIRST_POINT):
        seconds[:, place] = of_model
    seconds = seconds.round(DIGITS)  # all at once: for one order a call costs more than the work
    seconds[:, DEFAULT] = found.default
    return list(zip(found.basis.tolist(), seconds.tolist(), strict=True))


def place_of(model: str, models: Sequence[str]) -> int:
    """Where a model's seconds stand, among those of a bundle with these point models."""
    if model == DEFAULT_MODEL:
        return FIRST_QUANTILE + LEVELS.index(0.5)
    return FIRST_POINT + models.index(model)
