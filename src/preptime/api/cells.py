"""Orders on their way through the bundle: what is asked of it, row by row, and what it tells of each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from preptime.bundle.bundle import Bundle
from preptime.domain.order import OrderColumns
from preptime.domain.prediction import DEFAULT_MODEL, QUANTILE_LEVELS

SECONDS_DECIMALS = 4
"""Digits of a second that are told: all that a float32 of some hundred seconds holds."""

OrderRow = tuple[int, int, float, int, int, int, int]
"""One row of `OrderColumns`."""

PredictionRow = tuple[int, list[float]]
"""Of one order: its basis (a position in `FALLBACK_LEVELS`), and seconds: the default answer as it is, then, to `SECONDS_DECIMALS`, the
quantiles in the order of `QUANTILE_LEVELS` and, where they were asked for, the point models in the bundle's order."""

DEFAULT_COLUMN = 0
FIRST_QUANTILE_COLUMN = 1
FIRST_POINT_COLUMN = FIRST_QUANTILE_COLUMN + len(QUANTILE_LEVELS)
"""Places among those seconds."""


def rows_to_columns(rows: Sequence[OrderRow]) -> OrderColumns:
    """Rows as columns."""
    local_seconds, restaurant, order_value, items, country, city, food = zip(*rows, strict=True) if rows else ((),) * 7
    return OrderColumns(
        np.array(local_seconds, np.int64),
        np.array(restaurant, np.int64),
        np.array(order_value, np.float64),
        np.array(items, np.int64),
        np.array(country, np.int32),
        np.array(city, np.int32),
        np.array(food, np.int32),
    )


def run_inference(bundle: Bundle, rows: Sequence[OrderRow], with_point_models: bool) -> list[PredictionRow]:
    """What the bundle says of these orders, one by one; with the point models' answers or without."""
    predictions = bundle.predict(rows_to_columns(rows), None if with_point_models else ())
    seconds = np.empty((len(rows), FIRST_POINT_COLUMN + len(predictions.points)))
    seconds[:, FIRST_QUANTILE_COLUMN:FIRST_POINT_COLUMN] = predictions.quantiles
    for column, model_seconds in enumerate(predictions.points.values(), FIRST_POINT_COLUMN):
        seconds[:, column] = model_seconds
    seconds = seconds.round(SECONDS_DECIMALS)  # all at once: for one order a call costs more than the work
    seconds[:, DEFAULT_COLUMN] = predictions.default
    return list(zip(predictions.fallback_level.tolist(), seconds.tolist(), strict=True))


def column_of_model(model: str, models: Sequence[str]) -> int:
    """Where a model's seconds stand, among those of a bundle with these point models."""
    if model == DEFAULT_MODEL:
        return FIRST_QUANTILE_COLUMN + QUANTILE_LEVELS.index(0.5)
    return FIRST_POINT_COLUMN + models.index(model)
