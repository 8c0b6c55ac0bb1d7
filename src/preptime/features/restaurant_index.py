"""The restaurants with their categories, which are known before the first order, and the category vocabularies."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from preptime.domain.orders import UNKNOWN_CODE

_MAX_ID_RANGE_RATIO = 16
"""Ids that fill at least 1/16 of their range are looked up in a table, which is several times faster than a search."""


@dataclass(frozen=True, slots=True)
class Vocabularies:
    """The sorted distinct values of each category in the restaurants file.

    The code of a value is its position in the vocabulary, as in the notebook.
    """

    country: tuple[str, ...]
    city: tuple[str, ...]
    type_of_food: tuple[str, ...]
    time_zone: tuple[str, ...]


@dataclass(frozen=True)
class RestaurantIndex:
    """R restaurants, sorted by id, as columns [R]."""

    vocabularies: Vocabularies
    restaurant_id: NDArray[np.int64]
    """Ascending and unique."""
    country: NDArray[np.int32]
    """Position in the vocabulary of countries, or `UNKNOWN_CODE` if empty. The same for the next three."""
    city: NDArray[np.int32]
    type_of_food: NDArray[np.int32]
    time_zone: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.restaurant_id)

    @cached_property
    def most_common_time_zone(self) -> int:
        """The time zone of most restaurants, as a position in the vocabulary.

        It applies to an unknown restaurant whose order doesn't name a country.
        """
        return int(np.bincount(self.time_zone).argmax()) if len(self) else 0

    @cached_property
    def _position_table(self) -> NDArray[np.int64] | None:
        """Position by `id - lowest id`, or None if ids are too sparse. The last entry is for ids outside the range."""
        if not len(self):
            return np.full(1, UNKNOWN_CODE, np.int64)
        low, high = int(self.restaurant_id[0]), int(self.restaurant_id[-1])
        if high - low > _MAX_ID_RANGE_RATIO * len(self):
            return None
        table = np.full(high - low + 2, UNKNOWN_CODE, np.int64)
        table[self.restaurant_id - low] = np.arange(len(self))
        return table

    def positions(self, restaurant_id: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the position of each restaurant in the columns, [N], or `UNKNOWN_CODE` for an unknown restaurant."""
        table = self._position_table
        if table is None:
            index = np.minimum(np.searchsorted(self.restaurant_id, restaurant_id), len(self) - 1)
            return np.where(self.restaurant_id[index] == restaurant_id, index, UNKNOWN_CODE)
        last = len(table) - 1
        if not last:
            return np.full(len(restaurant_id), UNKNOWN_CODE, np.int64)
        # As an unsigned integer, an id below the lowest one is larger than every entry of the table.
        offset = (restaurant_id - self.restaurant_id[0]).view(np.uint64)
        positions: NDArray[np.int64] = table.take(np.minimum(offset, np.uint64(last)).view(np.int64))
        return positions

    def position(self, restaurant_id: int) -> int:
        """Return the position of one restaurant: the same as `positions`, five times as fast."""
        table = self._position_table
        if table is None:
            index = bisect_left(self._id_view, restaurant_id)
            return index if index < len(self) and self._id_view[index] == restaurant_id else UNKNOWN_CODE
        offset = restaurant_id - self._lowest_id
        return table.item(offset) if 0 <= offset < len(table) else UNKNOWN_CODE

    @cached_property
    def _id_view(self) -> memoryview:
        """The ids for single lookups: three times as fast as an array, whose elements become NumPy scalars."""
        return self.restaurant_id.data

    @cached_property
    def _lowest_id(self) -> int:
        return int(self.restaurant_id[0]) if len(self) else 0

    def group_index(self, city: NDArray[np.int32], type_of_food: NDArray[np.int32]) -> NDArray[np.int64]:
        """Return the number [N] of each (city, food) pair, below `group_count`. The last city and food mean unknown."""
        cities, foods = len(self.vocabularies.city), len(self.vocabularies.type_of_food)
        city_number, food_number = np.where(city < 0, cities, city), np.where(type_of_food < 0, foods, type_of_food)
        return city_number.astype(np.int64) * (foods + 1) + food_number

    @property
    def group_count(self) -> int:
        """The number of (city, food) pairs that `group_index` distinguishes."""
        return (len(self.vocabularies.city) + 1) * (len(self.vocabularies.type_of_food) + 1)

    def recoded(self, vocabularies: Vocabularies) -> RestaurantIndex:
        """Return the same restaurants with the codes of other vocabularies. A value they lack becomes `UNKNOWN_CODE`.

        A refresh needs this: the champion's models know only the codes they were fitted with, and the restaurants file
        may have new categories. Time zones are unchanged, because no model reads them.
        """
        current, target = self.vocabularies, vocabularies
        return RestaurantIndex(
            Vocabularies(target.country, target.city, target.type_of_food, current.time_zone),
            self.restaurant_id,
            recode(self.country, current.country, target.country),
            recode(self.city, current.city, target.city),
            recode(self.type_of_food, current.type_of_food, target.type_of_food),
            self.time_zone,
        )


def recode(codes: NDArray[np.int32], source: tuple[str, ...], target: tuple[str, ...]) -> NDArray[np.int32]:
    """Return codes of the vocabulary `source` as codes of `target`. A value it lacks becomes `UNKNOWN_CODE`."""
    target_codes = {value: code for code, value in enumerate(target)}
    # UNKNOWN_CODE is -1, so it reads the last entry.
    table = np.array([*(target_codes.get(value, UNKNOWN_CODE) for value in source), UNKNOWN_CODE], np.int32)
    return table[codes]
