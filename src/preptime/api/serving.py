"""A champion with everything that reading orders for it needs, prepared once and shared by all requests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from preptime.api.cells import column_of_model
from preptime.bundle.bundle import Bundle
from preptime.bundle.champions import LogEntry
from preptime.domain.order import UNKNOWN_CODE
from preptime.domain.prediction import DEFAULT_MODEL
from preptime.domain.time_zones import load_time_zone, resolve_time_zone
from preptime.errors import DataError
from preptime.features.directory import RestaurantIndex
from preptime.features.history import History


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
