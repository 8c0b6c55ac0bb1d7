"""What-if charts: predictions for an order and for variations of one property at a time."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl

from preptime.domain.restaurant_ids import restaurant_key
from preptime.domain.time_zones import load_time_zone
from preptime.features.restaurant_index import RestaurantIndex
from preptime.schema.schema import CustomFeature, Schema, SchemaColumn
from preptime.scoring.field_values import FieldValues
from preptime.scoring.scorer import PREDICTED_SECONDS, quantile_column
from preptime.validation.restaurants import order_time_zones

VariableKind = Literal["hour", "weekday", "items", "number", "category"]
HOUR, WEEKDAY = "local hour", "local weekday"
"""The names of variables that aren't values of an order. The name of a feature has no space."""
MAX_CATEGORIES = 8
"""Bars of a category: its most frequent values, and that of the order."""
_NUMBER_STEPS = 25
_MINUTE_SECONDS = 60
_LEVELS = {"p10": 0.1, "p50": 0.5, "p80": 0.8, "p90": 0.9}
_UTC = ZoneInfo("UTC")


@dataclass(frozen=True, slots=True)
class OrderInput:
    """An order from the dashboard's form."""

    restaurant_id: str
    acknowledged_at: dt.datetime
    """Local time at the restaurant, without a time zone."""
    values: Mapping[str, float | str | None] = field(default_factory=dict)
    """By canonical name or name of a custom feature, in canonical units. None and absent values are missing."""

    def with_value(self, name: str, value: float | str | None) -> OrderInput:
        """Return the same order with another value."""
        return OrderInput(self.restaurant_id, self.acknowledged_at, {**self.values, name: value})

    def to_row(self, schema: Schema, zone: ZoneInfo | None) -> dict[str, str | None]:
        """Return the order as a row of text cells, as the company writes them.

        `zone` is the restaurant's time zone, or None if it isn't known. Then, the time is local time as written.
        """
        column = schema.column("order_acknowledged_at")
        row: dict[str, str | None] = {
            column.source: _time_text(self.acknowledged_at, column, zone),
            schema.orders["restaurant_id"].column: self.restaurant_id,
        }
        for name, source in schema.request_fields().items():
            if name in self.values:
                row[source] = _cell_text(self.values[name], name, schema)
        return row

    def to_frame(self, schema: Schema, restaurants: RestaurantIndex | None) -> pl.DataFrame:
        """Return the order as a frame with one row. `restaurants` are those of the bundle, if they're known."""
        row = self.to_row(schema, None if restaurants is None else restaurant_zone(self, restaurants))
        return pl.DataFrame([row], schema=dict.fromkeys(row, pl.String))


@dataclass(frozen=True, slots=True)
class Variable:
    """A property of an order that a chart varies."""

    name: str
    """`HOUR`, `WEEKDAY`, or the name in `OrderInput.values`."""
    kind: VariableKind
    title: str
    unit: str
    current: float | str | None
    """The order's own value."""
    points: tuple[float | str, ...]
    """The values of the curve."""


@dataclass(frozen=True)
class WhatIf:
    """The predictions for an order and its variations."""

    prediction: dict[str, object]
    """The prediction columns by name (see `preptime.scoring.scorer`)."""
    variables: tuple[Variable, ...]
    curves: pl.DataFrame
    """`variable` (its name), `at` (a number; null for a category), `value` (the category), and `p10`, `p50`, `p80`,
    `p90` in minutes. Variations that can't be predicted aren't included."""


def predict_what_if(
    order: OrderInput,
    predict: Callable[[pl.DataFrame], pl.DataFrame],
    schema: Schema,
    *,
    restaurants: RestaurantIndex | None = None,
    values: Mapping[str, FieldValues] | None = None,
) -> WhatIf:
    """Predict an order and its variations in one call of `predict`, which returns the prediction columns of orders.

    `values` are the values of other orders (`preptime.scoring.field_values`), which limit the curves.
    """
    zone = None if restaurants is None else restaurant_zone(order, restaurants)
    variables = list_variables(order, schema, values or {})
    variations = [(variable, point) for variable in variables for point in variable.points]
    orders = [order, *(vary(order, variable, point) for variable, point in variations)]
    rows = [varied.to_row(schema, zone) for varied in orders]
    columns = dict.fromkeys(name for row in rows for name in row)
    predictions = predict(pl.DataFrame(rows, schema=dict.fromkeys(columns, pl.String)))
    curves = predictions[1:].select(
        pl.Series("variable", [variable.name for variable, _ in variations], pl.String),
        pl.Series("at", [None if isinstance(point, str) else point for _, point in variations], pl.Float64),
        pl.Series("value", [point if isinstance(point, str) else None for _, point in variations], pl.String),
        *(
            (pl.col(quantile_column(level)) / _MINUTE_SECONDS).cast(pl.Float64).alias(name)
            for name, level in _LEVELS.items()
        ),
    )
    return WhatIf(predictions.row(0, named=True), variables, curves.drop_nulls("p50"))


def predicted_seconds(prediction: dict[str, object], level: float | None = None) -> float | None:
    """Return the default prediction or a quantile in seconds, or None without a prediction."""
    seconds = prediction[PREDICTED_SECONDS if level is None else quantile_column(level)]
    return float(seconds) if isinstance(seconds, float | int) else None


def restaurant_zone(order: OrderInput, restaurants: RestaurantIndex) -> ZoneInfo:
    """Return the time zone of an order's restaurant, as scoring finds it."""
    country = order.values.get("country")
    cells = pl.DataFrame({"country": [country]}, schema={"country": pl.String})
    position = restaurants.positions(np.array([restaurant_key(order.restaurant_id)]))
    codes, names = order_time_zones(cells, position, restaurants)
    return load_time_zone(names[int(codes[0])])


def list_variables(order: OrderInput, schema: Schema, values: Mapping[str, FieldValues]) -> tuple[Variable, ...]:
    """Return what the charts vary: the hour, the weekday, value, items, and the custom features of orders."""
    time = order.acknowledged_at
    variables = [
        Variable(HOUR, "hour", "hour", "", float(time.hour), tuple(map(float, range(24)))),
        Variable(WEEKDAY, "weekday", "weekday", "", float(time.weekday()), tuple(map(float, range(7)))),
    ]
    if schema.has("number_of_items"):
        items = _number(order.values.get("number_of_items")) or 1
        points = tuple(map(float, range(1, max(12, int(items) + 3) + 1)))
        variables.append(Variable("number_of_items", "items", "number of items", "", items, points))
    if schema.has("order_value"):
        value = _number(order.values.get("order_value")) or 0.0
        seen = values.get("order_value", FieldValues(minimum=0.0, maximum=50.0))
        limits = 0.0, 1.5 * max(value, seen.maximum or 50.0)
        variables.append(
            Variable("order_value", "number", "order value", schema.currency, value, _steps(*limits, decimals=2))
        )
    features = (
        _feature_variable(feature, order, values.get(feature.name, FieldValues())) for feature in schema.order_features
    )
    return (*variables, *(variable for variable in features if len(variable.points) > 1))


def vary(order: OrderInput, variable: Variable, point: float | str) -> OrderInput:
    """Return an order with another value of one variable."""
    time = order.acknowledged_at
    if variable.kind == "hour":
        return OrderInput(order.restaurant_id, time.replace(hour=int(point)), order.values)
    if variable.kind == "weekday":
        moved = time + dt.timedelta(days=int(point) - time.weekday())
        return OrderInput(order.restaurant_id, moved, order.values)
    return order.with_value(variable.name, point)


def _feature_variable(feature: CustomFeature, order: OrderInput, seen: FieldValues) -> Variable:
    current = order.values.get(feature.name)
    if feature.type == "category":
        frequent = dict.fromkeys(seen.values[:MAX_CATEGORIES])
        points: tuple[float | str, ...] = tuple(frequent | ({str(current): None} if current else {}))
        return Variable(feature.name, "category", feature.display_name, "", current, points)
    number = _number(current)
    limits = _number_limits(feature, number, seen)
    points = () if limits is None else _steps(*limits)
    return Variable(feature.name, "number", feature.display_name, feature.unit, number, points)


def _number_limits(feature: CustomFeature, current: float | None, seen: FieldValues) -> tuple[float, float] | None:
    """Return the ends of a curve: of the values of other orders, or else of the declared range; with the current one.

    The declared range is often much wider than all orders, and a model doesn't change outside them.
    """
    low, high = (seen.minimum, seen.maximum)
    if (low is None or high is None or low == high) and feature.range is not None:
        low, high = feature.range
    if low is None or high is None:
        return None
    return (low, high) if current is None else (min(low, current), max(high, current))


def _steps(low: float, high: float, *, decimals: int | None = None) -> tuple[float, ...]:
    if low == high:
        return ()
    if float(low).is_integer() and float(high).is_integer() and high - low < _NUMBER_STEPS and decimals is None:
        return tuple(map(float, range(int(low), int(high) + 1)))
    steps = np.linspace(low, high, _NUMBER_STEPS)
    return tuple((steps if decimals is None else steps.round(decimals)).tolist())


def _number(value: float | str | None) -> float | None:
    return None if value is None or isinstance(value, str) else float(value)


def _time_text(local: dt.datetime, column: SchemaColumn, zone: ZoneInfo | None) -> str:
    """Return a local time at the restaurant as the company writes it."""
    pattern, written_zone = column.timestamp_format.pattern, column.timestamp_format.time_zone
    moment = local if zone is None else local.replace(tzinfo=zone)
    if zone is not None and written_zone:
        moment = moment.astimezone(load_time_zone(written_zone))
    if "%Z" in pattern and zone is not None:  # which only means UTC
        moment = moment.astimezone(_UTC)
    if pattern:
        return moment.strftime(pattern)
    return f"{moment:%Y-%m-%d %H:%M:%S%z}" if written_zone else f"{local:%Y-%m-%d %H:%M:%S}"


def _cell_text(value: float | str | None, name: str, schema: Schema) -> str | None:
    """Return a value as the company writes it: in its unit, and with its decimal mark."""
    if value is None or isinstance(value, str):
        return value or None
    number_format = schema.number_format if not schema.has(name) else None
    if number_format is None:
        number_format = schema.column(name).number_format
    scaled = value * number_format.divisor / number_format.multiplier
    text = str(int(scaled)) if name == "number_of_items" and float(scaled).is_integer() else repr(float(scaled))
    return text.replace(".", number_format.decimal)


def _feature(schema: Schema, name: str) -> CustomFeature:
    return next(feature for feature in schema.features if feature.name == name)


def text_of_other_value(values: Iterable[str]) -> str:
    """Return a category that isn't one of these values, so that it's treated like every unseen value."""
    text, known = "other", frozenset(values)
    while text in known:
        text += "_"
    return text
