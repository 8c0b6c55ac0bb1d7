"""What if: one order, asked again with one thing changed at a time."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from preptime.scoring.columns import SECONDS, quantile_column

Thing = Literal["items", "value", "hour", "day"]
THINGS: tuple[Thing, ...] = ("items", "value", "hour", "day")
_VALUE_STEPS = 25
_MINUTE = 60


@dataclass(frozen=True, slots=True)
class OneOrder:
    """An order as a person describes it."""

    restaurant_id: int
    acknowledged_at: dt.datetime
    """On the restaurant's clock, without zone."""
    order_value_gbp: float
    number_of_items: int
    city: str | None = None
    """Of a restaurant that is not listed; else nothing, and likewise the type of food."""
    type_of_food: str | None = None

    def cells(self) -> dict[str, str | None]:
        """The order as a table gives it."""
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
    """The answer to an order, and to its variations."""

    answer: dict[str, object]
    """The columns of `preptime.scoring.columns`."""
    curves: pl.DataFrame
    """`thing`, `at` (items, pounds, hour, day from 0 for Monday), `p10`, `p50`, `p80`, `p90` in minutes."""


def ask_what_if(order: OneOrder, ask: Callable[[pl.DataFrame], pl.DataFrame]) -> WhatIf:
    """Ask everything at once; `ask` gives the columns of `preptime.scoring.columns` for orders."""
    variations = [(thing, at, cells) for thing in THINGS for at, cells in _variations(order, thing)]
    rows = pl.DataFrame(
        [order.cells(), *(cells for _, _, cells in variations)], schema=dict.fromkeys(order.cells(), pl.String)
    )
    found = ask(rows)
    levels = {"p10": 0.1, "p50": 0.5, "p80": 0.8, "p90": 0.9}
    curves = found[1:].select(
        pl.Series("thing", [thing for thing, _, _ in variations]),
        pl.Series("at", [at for _, at, _ in variations]),
        *((pl.col(quantile_column(level)) / _MINUTE).cast(pl.Float64).alias(name) for name, level in levels.items()),
    )
    return WhatIf(found.row(0, named=True), curves.drop_nulls("p50"))


def seconds_of(answer: dict[str, object], level: float | None = None) -> float | None:
    """Seconds of an answer: the default one, or a quantile; None where there is no prediction."""
    found = answer[SECONDS if level is None else quantile_column(level)]
    return float(found) if isinstance(found, float | int) else None


def _variations(order: OneOrder, thing: Thing) -> list[tuple[float, dict[str, str | None]]]:
    cells = order.cells()
    if thing == "items":
        most = max(12, order.number_of_items + 3)
        return [(float(items), cells | {"number_of_items": str(items)}) for items in range(1, most + 1)]
    if thing == "value":
        most_pounds = max(80.0, 1.5 * order.order_value_gbp)
        values = np.linspace(0, most_pounds, _VALUE_STEPS).round(2).tolist()
        return [(value, cells | {"order_value_gbp": repr(value)}) for value in values]
    if thing == "hour":
        moments = [(float(hour), order.acknowledged_at.replace(hour=hour)) for hour in range(24)]
    else:
        monday = order.acknowledged_at - dt.timedelta(days=order.acknowledged_at.weekday())
        moments = [(float(day), monday + dt.timedelta(days=day)) for day in range(7)]
    return [(at, cells | {"order_acknowledged_at": f"{moment:%Y-%m-%d %H:%M:%S}"}) for at, moment in moments]
