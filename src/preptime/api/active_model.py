"""The active model: a champion bundle with the lookups that requests need, and inference on rows of orders.

It's prepared once per champion and shared by all requests.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeVar
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from preptime.api.custom_features import CustomFeatureReader
from preptime.api.kitchen import KitchenRow
from preptime.api.parsing import Bounds, LocalTimestamp, integer_parser, number_parser, timestamp_parser
from preptime.api.request_types import RequestTypes
from preptime.api.schema import FieldDescription
from preptime.api.tracing import Part
from preptime.bundle.bundle import Bundle
from preptime.domain.cells import NumberFormat
from preptime.domain.orders import DEFAULT_MODEL, QUANTILE_LEVELS, UNKNOWN_CODE, OrderColumns
from preptime.domain.time_zones import load_time_zone, resolve_time_zone
from preptime.domain.validation_reasons import ValidationReason
from preptime.errors import DataError
from preptime.features.kitchen import KitchenStates
from preptime.features.restaurant_index import RestaurantIndex
from preptime.schema.schema import Schema

if TYPE_CHECKING:
    from preptime.bundle.champion_log import LogEntry

_Number = TypeVar("_Number", int, float)

SECONDS_DECIMALS = 4
"""Decimals of predicted seconds: the precision of a float32 of a few hundred seconds."""

PlainRow = tuple[int, int, float, int, int, int, int]
OrderRow = PlainRow | tuple[int, int, float, int, int, int, int, list[float], list[int]]
"""One row of `OrderColumns`. With custom features, their numbers and the codes of their categories come last."""

PredictionRow = tuple[int, list[float]]
"""The predictions of one order: its fallback level (an index into `FALLBACK_LEVELS`) and seconds.

The first number of seconds is the unrounded default prediction. The quantiles follow in the order of `QUANTILE_LEVELS`
and, if requested, the point models in the order of the bundle, both rounded to `SECONDS_DECIMALS`.
"""

NO_KITCHENS: Mapping[int, KitchenRow] = MappingProxyType({})
DEFAULT_COLUMN = 0
FIRST_QUANTILE_COLUMN = 1
FIRST_POINT_COLUMN = FIRST_QUANTILE_COLUMN + len(QUANTILE_LEVELS)
"""Indexes into the seconds of a `PredictionRow`."""


def rows_to_columns(rows: Sequence[OrderRow]) -> OrderColumns:
    """Return the rows as columns."""
    local_seconds, restaurant, order_value, items, country, city, food, *custom = (
        zip(*rows, strict=True) if rows else ((),) * 7
    )
    numbers, categories = custom or (None, None)
    return OrderColumns(
        np.array(local_seconds, np.int64),
        np.array(restaurant, np.int64),
        np.array(order_value, np.float64),
        np.array(items, np.int64),
        np.array(country, np.int32),
        np.array(city, np.int32),
        np.array(food, np.int32),
        np.array(numbers, np.float64) if numbers and numbers[0] else None,
        np.array(categories, np.int32) if categories and categories[0] else None,
    )


def run_inference(
    bundle: Bundle,
    rows: Sequence[OrderRow],
    with_point_models: bool,
    kitchens: Mapping[int, KitchenRow] = NO_KITCHENS,
    on_features: Callable[[], object] | None = None,
) -> list[PredictionRow]:
    """Return the bundle's predictions for these orders, with or without the point models.

    `kitchens` are the states of kitchens by index of the order. `on_features` is called before the graph runs.
    """
    models, columns = None if with_point_models else (), rows_to_columns(rows)
    states = kitchen_columns(kitchens, len(rows)) if kitchens else None
    predictions = bundle.predict(columns, models, states, on_features)
    # Not `np.empty`: rounding uninitialized values of the default column can overflow.
    seconds = np.zeros((len(rows), FIRST_POINT_COLUMN + len(predictions.points)))
    seconds[:, FIRST_QUANTILE_COLUMN:FIRST_POINT_COLUMN] = predictions.quantiles
    for column, model_seconds in enumerate(predictions.points.values(), FIRST_POINT_COLUMN):
        seconds[:, column] = model_seconds
    seconds = seconds.round(SECONDS_DECIMALS)  # one call for all: for a single order, the call costs more than the work
    seconds[:, DEFAULT_COLUMN] = predictions.default
    return list(zip(predictions.fallback_level.tolist(), seconds.tolist(), strict=True))


def timed_inference(traced: Sequence[list[Part]], batch_requests: int) -> Callable[..., list[PredictionRow]]:
    """Return `run_inference`, but with the features and the graph as parts of the sampled requests of a batch."""

    def run(*arguments: object) -> list[PredictionRow]:
        features_at: list[int] = []
        started_at = time.time_ns()
        predictions = inference(*arguments, on_features=lambda: features_at.append(time.time_ns()))
        ended_at = time.time_ns()
        for parts in traced:
            parts.append(Part("features", started_at, features_at[0], batch_requests))
            parts.append(Part("graph", features_at[0], ended_at, batch_requests))
        return predictions

    inference: Callable[..., list[PredictionRow]] = run_inference
    return run


def kitchen_columns(kitchens: Mapping[int, KitchenRow], row_count: int) -> tuple[NDArray[np.bool_], KitchenStates]:
    """Return a mask of the orders with a state of the kitchen, and these states, in order."""
    is_known = np.zeros(row_count, np.bool_)
    is_known[list(kitchens)] = True
    return is_known, KitchenStates.from_rows(kitchens.values())


def column_of_model(model: str, models: Sequence[str]) -> int:
    """Return the index of a model's seconds in a `PredictionRow` of a bundle with these point models."""
    if model == DEFAULT_MODEL:
        return FIRST_QUANTILE_COLUMN + QUANTILE_LEVELS.index(0.5)
    return FIRST_POINT_COLUMN + models.index(model)


@dataclass(frozen=True, slots=True)
class ColumnParsers:
    """The parsers of canonical columns in the formats, units, and ranges of a schema."""

    acknowledged_at: Callable[[object, ZoneInfo], LocalTimestamp | None]
    order_value: Callable[[object], float | ValidationReason]
    number_of_items: Callable[[object], int | ValidationReason]
    open_orders: Callable[[object], int | ValidationReason]
    fields: dict[str, FieldDescription]
    """The description of each canonical column, for errors."""

    @classmethod
    def from_types(cls, types: RequestTypes) -> ColumnParsers:
        """Return the parsers. A column that the schema doesn't have is 0."""
        schema = types.schema
        return cls(
            timestamp_parser(schema.column("order_acknowledged_at").timestamp_format),
            _bind_parser(number_parser, schema, "order_value", 0.0),
            _bind_parser(integer_parser, schema, "number_of_items", 0),
            _bind_parser(integer_parser, schema, "open_orders", 0),
            types.described,
        )

    def described(self, name: str) -> tuple[str, str]:
        """Return the company's name of a canonical column, and its expected content."""
        return self.fields[name].name, self.fields[name].expected


def _bind_parser(
    make_parser: Callable[[Bounds, NumberFormat], Callable[[object], _Number | ValidationReason]],
    schema: Schema,
    name: str,
    default: _Number,
) -> Callable[[object], _Number | ValidationReason]:
    if not schema.has(name):
        return lambda _: default
    column = schema.column(name)
    bounds = (
        -math.inf if column.minimum is None else column.minimum,
        math.inf if column.maximum is None else column.maximum,
    )
    return make_parser(bounds, column.number_format)


@dataclass(frozen=True, slots=True)
class OrderLookup:
    """The restaurants, prepared for lookups of one order at a time.

    `UNKNOWN_CODE` is -1, which is the last index of each array.
    """

    restaurant_index: Callable[[int], int]
    """Returns the index of a restaurant, or `UNKNOWN_CODE` for an unknown restaurant."""
    zone_index: NDArray[np.int32]
    """[R + 1] index into `zones`. The last entry is the most common zone, for unknown restaurants."""
    zones: tuple[ZoneInfo, ...]
    restaurant_categories: tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]
    """[R + 1] each: country, city, and type of food of every restaurant. The last entry is `UNKNOWN_CODE`."""
    category_codes: tuple[dict[str, int], dict[str, int], dict[str, int]]
    """The vocabularies of country, city, and type of food: the code of each name."""
    country_names: tuple[str, ...]
    """The country name of each code."""
    parsers: ColumnParsers
    custom: CustomFeatureReader | None
    """Reads the custom features, if the schema has some."""

    @classmethod
    def from_restaurants(cls, restaurants: RestaurantIndex, types: RequestTypes) -> OrderLookup:
        """Return the lookup. Copies one small integer array per category: 16 bytes per restaurant."""
        vocabularies = restaurants.vocabularies
        unknown = np.int32(UNKNOWN_CODE)
        return cls(
            restaurants.position,
            np.append(restaurants.time_zone, np.int32(restaurants.most_common_time_zone)),
            tuple(load_time_zone(name) for name in vocabularies.time_zone or ("UTC",)),
            (
                np.append(restaurants.country, unknown),
                np.append(restaurants.city, unknown),
                np.append(restaurants.type_of_food, unknown),
            ),
            (
                _index_by_name(vocabularies.country),
                _index_by_name(vocabularies.city),
                _index_by_name(vocabularies.type_of_food),
            ),
            vocabularies.country,
            ColumnParsers.from_types(types),
            CustomFeatureReader.from_restaurants(restaurants, types) if restaurants.feature_set.custom else None,
        )


@dataclass(frozen=True, slots=True)
class ActiveModel:
    """A champion that a worker serves."""

    bundle: Bundle
    entry: LogEntry
    loaded_at: str
    """UTC time at which this worker loaded it, as text."""
    types: RequestTypes
    """The types of requests for the bundle's schema."""
    dispatch_types: RequestTypes
    """The types of dispatch requests."""
    lookup: OrderLookup
    models: tuple[str, ...]
    """Its point models in the order of the graph, without `quantile`."""
    model_columns: dict[str, int]
    """Index of each model's seconds in a `PredictionRow`, by model name, including `quantile`."""

    @classmethod
    def from_bundle(cls, bundle: Bundle, entry: LogEntry, loaded_at: str) -> ActiveModel:
        """Return the active model of a verified bundle. `entry` is the promotion that made it the champion."""
        models = tuple(name for name in bundle.manifest.models if name != DEFAULT_MODEL)
        model_columns = {name: column_of_model(name, models) for name in bundle.manifest.models}
        types = RequestTypes.from_schema(bundle.schema)
        lookup = OrderLookup.from_restaurants(bundle.history.restaurants, types)
        dispatch_types = RequestTypes.for_dispatch(bundle.schema)
        return cls(bundle, entry, loaded_at, types, dispatch_types, lookup, models, model_columns)


@lru_cache(maxsize=1024)
def time_zone_of_country(country: str) -> ZoneInfo | None:
    """Return the time zone of a country name, or None if the country is unknown or has several zones."""
    try:
        return load_time_zone(resolve_time_zone(country, None))
    except DataError:
        return None


def _index_by_name(names: tuple[str, ...]) -> dict[str, int]:
    return {name: code for code, name in enumerate(names)}
