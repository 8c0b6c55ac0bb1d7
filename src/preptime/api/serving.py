"""A champion with everything that reading orders for it needs, prepared once and shared by all requests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from preptime.api.cells import place_of
from preptime.bundle.bundle import Bundle
from preptime.bundle.champions import Entry
from preptime.domain.order import UNKNOWN
from preptime.domain.prediction import DEFAULT_MODEL
from preptime.domain.time_zones import zone, zone_name
from preptime.errors import DataError
from preptime.features.directory import Directory
from preptime.features.history import History


@dataclass(frozen=True, slots=True)
class Lookup:
    """A directory, ready to be asked about one order at a time. A code of `UNKNOWN` is -1, the arrays' last place."""

    position: Callable[[int], int]
    """The directory's own: the position of a restaurant, `UNKNOWN` for one that it lacks."""
    zone_code: NDArray[np.int32]
    """[R + 1] position in `zones`; the last is the usual one, for strangers."""
    zones: tuple[ZoneInfo, ...]
    own: tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]
    """[R + 1] each: country, city, type of food of every restaurant; the last place is `UNKNOWN`."""
    codes: tuple[dict[str, int], dict[str, int], dict[str, int]]
    """The same three vocabularies: the position of each name."""
    countries: tuple[str, ...]
    """The name at each position of the first."""

    @classmethod
    def of(cls, directory: Directory) -> Lookup:
        """Copies one small integer array per category: 16 bytes a restaurant."""
        words = directory.vocabularies
        last = np.int32(UNKNOWN)
        return cls(
            directory.position,
            np.append(directory.time_zone, np.int32(directory.usual_zone)),
            tuple(zone(name) for name in words.time_zone or ("UTC",)),
            (
                np.append(directory.country, last),
                np.append(directory.city, last),
                np.append(directory.type_of_food, last),
            ),
            (_positions(words.country), _positions(words.city), _positions(words.type_of_food)),
            words.country,
        )


@dataclass(frozen=True, slots=True)
class Serving:
    """One champion in use."""

    bundle: Bundle
    entry: Entry
    loaded_at: str
    """UTC time at which this worker put it to use, as text."""
    lookup: Lookup
    models: tuple[str, ...]
    """Its point models, in the graph's order; `quantile` is not among them."""
    places: dict[str, int]
    """Where a model's seconds stand in what is told of an order, by name; `quantile` too."""

    @classmethod
    def of(cls, bundle: Bundle, entry: Entry, loaded_at: str) -> Serving:
        """Prepare a verified bundle. `entry` is the promotion that made it the champion."""
        models = tuple(name for name in bundle.manifest.models if name != DEFAULT_MODEL)
        history = _unwrapped(bundle.history)
        prepared = Bundle(bundle.folder, bundle.manifest, history, bundle.graph)
        places = {name: place_of(name, models) for name in bundle.manifest.models}
        return cls(prepared, entry, loaded_at, Lookup.of(history.directory), models, places)


@lru_cache(maxsize=1024)
def zone_of_country(country: str) -> ZoneInfo | None:
    """The zone of a country that a stranger's order names, or None: it is a courtesy, the usual zone stands in."""
    try:
        return zone(zone_name(country, None))
    except DataError:
        return None


def _unwrapped(history: History) -> History:
    """The same mapped memory as plain arrays: every step of `np.memmap` costs, 17 µs together for one order."""
    plain = {name: np.asarray(array) for name, array in history.arrays().items()}
    return History.from_arrays(history.date, history.vocabularies, plain)


def _positions(words: tuple[str, ...]) -> dict[str, int]:
    return {word: code for code, word in enumerate(words)}
