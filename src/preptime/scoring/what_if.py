"""What-if charts: predictions for an order and for variations of one property at a time."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from preptime.scoring.scorer import PREDICTED_SECONDS, quantile_column

Variable = Literal["items", "value", "hour", "day"]
VARIABLES: tuple[Variable, ...] = ("items", "value", "hour", "day")
_VALUE_STEPS = 25
_MINUTE_SECONDS = 60


@dataclass(frozen=True, slots=True)
class OrderInput:
    """An order from the dashboard's form."""

    restaurant_id: int
    acknowledged_at: dt.datetime
    """Local time at the restaurant, without a time zone."""
    order_value_gbp: float
    number_of_items: int
    city: str | None = None
    """City and type of food of an unknown restaurant. None for a known one."""
    type_of_food: str | None = None

    def to_row(self) -> dict[str, str | None]:
        """Return the order as a row of text cells."""
        return {
            "order_acknowledged_at": f"{self.acknowledged_at:%Y-%m-%d %H:%M:%S}",
            "order_value_gbp": repr(self.order_value_gbp),
            "restaurant_id": str(self.restaurant_id),
            "number_of_items": str(self.number_of_items),
            "city": self.city,
            "type_of_food": self.type_of_food,
        }


@dataclass(frozen=True)
class WhatIf:
    """The predictions for an order and its variations."""

    prediction: dict[str, object]
    """The prediction columns by name (see `preptime.scoring.scorer`)."""
    curves: pl.DataFrame
    """`variable`, `at` (items, GBP, hour, or weekday from 0 for Monday), and `p10`, `p50`, `p80`, `p90` in minutes."""


def predict_what_if(order: OrderInput, predict: Callable[[pl.DataFrame], pl.DataFrame]) -> WhatIf:
    """Predict an order and its variations in one call of `predict`, which returns the prediction columns of orders."""
    variations = [(variable, at, row) for variable in VARIABLES for at, row in _vary_order(order, variable)]
    rows = pl.DataFrame(
        [order.to_row(), *(row for _, _, row in variations)], schema=dict.fromkeys(order.to_row(), pl.String)
    )
    predictions = predict(rows)
    levels = {"p10": 0.1, "p50": 0.5, "p80": 0.8, "p90": 0.9}
    curves = predictions[1:].select(
        pl.Series("variable", [variable for variable, _, _ in variations]),
        pl.Series("at", [at for _, at, _ in variations]),
        *(
            (pl.col(quantile_column(level)) / _MINUTE_SECONDS).cast(pl.Float64).alias(name)
            for name, level in levels.items()
        ),
    )
    return WhatIf(predictions.row(0, named=True), curves.drop_nulls("p50"))


def predicted_seconds(prediction: dict[str, object], level: float | None = None) -> float | None:
    """Return the default prediction or a quantile in seconds, or None without a prediction."""
    seconds = prediction[PREDICTED_SECONDS if level is None else quantile_column(level)]
    return float(seconds) if isinstance(seconds, float | int) else None


def _vary_order(order: OrderInput, variable: Variable) -> list[tuple[float, dict[str, str | None]]]:
    row = order.to_row()
    if variable == "items":
        max_items = max(12, order.number_of_items + 3)
        return [(float(items), row | {"number_of_items": str(items)}) for items in range(1, max_items + 1)]
    if variable == "value":
        max_value = max(80.0, 1.5 * order.order_value_gbp)
        values = np.linspace(0, max_value, _VALUE_STEPS).round(2).tolist()
        return [(value, row | {"order_value_gbp": repr(value)}) for value in values]
    if variable == "hour":
        times = [(float(hour), order.acknowledged_at.replace(hour=hour)) for hour in range(24)]
    else:
        monday = order.acknowledged_at - dt.timedelta(days=order.acknowledged_at.weekday())
        times = [(float(day), monday + dt.timedelta(days=day)) for day in range(7)]
    return [(at, row | {"order_acknowledged_at": f"{time:%Y-%m-%d %H:%M:%S}"}) for at, time in times]
