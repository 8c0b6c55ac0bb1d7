"""Orders on their way through the bundle: what is asked of it, row by row, and what it tells of each.

A champion with everything that reading orders for it needs, prepared once and shared by all requests.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from preptime.bundle.bundle import Bundle
from preptime.bundle.champion_log import LogEntry
from preptime.domain.orders import DEFAULT_MODEL, QUANTILE_LEVELS, UNKNOWN_CODE, OrderColumns
from preptime.domain.time_zones import load_time_zone, resolve_time_zone
from preptime.errors import DataError
from preptime.features.history import History
from preptime.features.restaurant_index import RestaurantIndex

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


@dataclass(frozen=True, slots=True)
class OrderLookup:
    """A directory, ready to be asked about one order at a time. A code of `UNKNOWN_CODE` is -1, the arrays' last place."""

    restaurant_index: Callable[[int], int]
    """The directory's own: the position of a restaurant, `UNKNOWN_CODE` for one that it lacks."""
    zone_index: NDArray[np.int32]
    """[R + 1] position in `zones`; the last is the usual one, for strangers."""
    zones: tuple[ZoneInfo, ...]
    restaurant_categories: tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]
    """[R + 1] each: country, city, type of food of every restaurant; the last place is `UNKNOWN_CODE`."""
    category_codes: tuple[dict[str, int], dict[str, int], dict[str, int]]
    """The same three vocabularies: the position of each name."""
    country_names: tuple[str, ...]
    """The name at each position of the first."""

    @classmethod
    def from_restaurants(cls, restaurants: RestaurantIndex) -> OrderLookup:
        """Copies one small integer array per category: 16 bytes a restaurant."""
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
        )


@dataclass(frozen=True, slots=True)
class ActiveModel:
    """One champion in use."""

    bundle: Bundle
    entry: LogEntry
    loaded_at: str
    """UTC time at which this worker put it to use, as text."""
    lookup: OrderLookup
    models: tuple[str, ...]
    """Its point models, in the graph's order; `quantile` is not among them."""
    model_columns: dict[str, int]
    """Where a model's seconds stand in what is told of an order, by name; `quantile` too."""

    @classmethod
    def from_bundle(cls, bundle: Bundle, entry: LogEntry, loaded_at: str) -> ActiveModel:
        """Prepare a verified bundle. `entry` is the promotion that made it the champion."""
        models = tuple(name for name in bundle.manifest.models if name != DEFAULT_MODEL)
        history = _as_plain_history(bundle.history)
        prepared_bundle = Bundle(bundle.folder, bundle.manifest, history, bundle.graph)
        model_columns = {name: column_of_model(name, models) for name in bundle.manifest.models}
        return cls(
            prepared_bundle, entry, loaded_at, OrderLookup.from_restaurants(history.restaurants), models, model_columns
        )


@lru_cache(maxsize=1024)
def time_zone_of_country(country: str) -> ZoneInfo | None:
    """The zone of a country that a stranger's order names, or None: it is a courtesy, the usual zone stands in."""
    try:
        return load_time_zone(resolve_time_zone(country, None))
    except DataError:
        return None


def _as_plain_history(history: History) -> History:
    """The same mapped memory as plain arrays: every step of `np.memmap` costs, 17 µs together for one order."""
    plain_arrays = {name: np.asarray(array) for name, array in history.arrays().items()}
    return History.from_arrays(history.date, history.vocabularies, plain_arrays)


def _index_by_name(names: tuple[str, ...]) -> dict[str, int]:
    return {name: code for code, name in enumerate(names)}
