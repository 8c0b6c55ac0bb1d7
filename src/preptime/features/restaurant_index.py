"""The restaurants as they are known before their first order, and the vocabularies that number their categories."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from preptime.domain.orders import UNKNOWN_CODE

_MAX_IDS_RANGE_RATIO = 16
"""Ids that fill at least one sixteenth of their range are looked up in a table, several times quicker than a search."""


@dataclass(frozen=True, slots=True)
class Vocabularies:
    """The sorted values of the restaurants file; a category's code is its position (the notebook's integer code)."""

    country: tuple[str, ...]
    city: tuple[str, ...]
    type_of_food: tuple[str, ...]
    time_zone: tuple[str, ...]


@dataclass(frozen=True)
class RestaurantIndex:
    """R restaurants by ascending id; categories and zones are positions in `vocabularies`, `UNKNOWN_CODE` where empty."""

    vocabularies: Vocabularies
    restaurant_id: NDArray[np.int64]
    country: NDArray[np.int32]
    city: NDArray[np.int32]
    type_of_food: NDArray[np.int32]
    time_zone: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.restaurant_id)

    @cached_property
    def most_common_time_zone(self) -> int:
        """The zone most restaurants live in: what a restaurant is read with that is not listed, when its order names no
        country either.
        """
        return int(np.bincount(self.time_zone).argmax()) if len(self) else 0

    @cached_property
    def _position_table(self) -> NDArray[np.int64] | None:
        """Position by id, where ids are dense enough; the last place stands for every id outside."""
        if not len(self):
            return np.full(1, UNKNOWN_CODE, np.int64)
        low, high = int(self.restaurant_id[0]), int(self.restaurant_id[-1])
        if high - low > _MAX_IDS_RANGE_RATIO * len(self):
            return None
        table = np.full(high - low + 2, UNKNOWN_CODE, np.int64)
        table[self.restaurant_id - low] = np.arange(len(self))
        return table

    def positions(self, restaurant_id: NDArray[np.int64]) -> NDArray[np.int64]:
        """[N] positions of restaurants in the directory, `UNKNOWN_CODE` for those that are not in it."""
        table = self._position_table
        if table is None:
            index = np.minimum(np.searchsorted(self.restaurant_id, restaurant_id), len(self) - 1)
            return np.where(self.restaurant_id[index] == restaurant_id, index, UNKNOWN_CODE)
        last = len(table) - 1
        if not last:
            return np.full(len(restaurant_id), UNKNOWN_CODE, np.int64)
        # Without a sign, what is below the lowest is beyond every last.
        offset = (restaurant_id - self.restaurant_id[0]).view(np.uint64)
        positions: NDArray[np.int64] = table.take(np.minimum(offset, np.uint64(last)).view(np.int64))
        return positions

    def position(self, restaurant_id: int) -> int:
        """One restaurant's position, the same as `positions` gives, in a fifth of the time."""
        table = self._position_table
        if table is None:
            index = bisect_left(self._id_view, restaurant_id)
            return index if index < len(self) and self._id_view[index] == restaurant_id else UNKNOWN_CODE
        offset = restaurant_id - self._lowest_id
        return table.item(offset) if 0 <= offset < len(table) else UNKNOWN_CODE

    @cached_property
    def _id_view(self) -> memoryview:
        """The ids for one look at a time: an element of an array is an object of NumPy's, three times as slow."""
        return self.restaurant_id.data

    @cached_property
    def _lowest_id(self) -> int:
        return int(self.restaurant_id[0]) if len(self) else 0

    def group_index(self, city: NDArray[np.int32], type_of_food: NDArray[np.int32]) -> NDArray[np.int64]:
        """[N] number of each (city, food) pair among (cities + 1) · (foods + 1), the last of each for the unknown."""
        cities, foods = len(self.vocabularies.city), len(self.vocabularies.type_of_food)
        return np.where(city < 0, cities, city).astype(np.int64) * (foods + 1) + np.where(
            type_of_food < 0, foods, type_of_food
        )

    @property
    def group_count(self) -> int:
        """How many (city, food) pairs `group_index` numbers."""
        return (len(self.vocabularies.city) + 1) * (len(self.vocabularies.type_of_food) + 1)

    def recoded(self, vocabularies: Vocabularies) -> RestaurantIndex:
        """The same restaurants with the codes of other vocabularies; a value they lack becomes `UNKNOWN_CODE`.

        A refresh needs it: the champion's models know the codes they were fitted with, whatever has been added to the
        restaurants file since. Zones stay as they are, since no model reads them.
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


def recode(codes: NDArray[np.int32], source_words: tuple[str, ...], target_words: tuple[str, ...]) -> NDArray[np.int32]:
    """Codes of one vocabulary as those of another; a word that it lacks becomes `UNKNOWN_CODE`."""
    target_codes = {word: code for code, word in enumerate(target_words)}
    # The last entry serves UNKNOWN_CODE, which is -1.
    table = np.array([*(target_codes.get(word, UNKNOWN_CODE) for word in source_words), UNKNOWN_CODE], np.int32)
    return table[codes]
