"""The restaurants as they are known before their first order, and the vocabularies that number their categories."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from preptime.domain.order import UNKNOWN

_DENSE = 16
"""Ids that fill at least one sixteenth of their range are looked up in a table, several times quicker than a search."""


@dataclass(frozen=True, slots=True)
class Vocabularies:
    """The sorted values of the restaurants file; a category's code is its position (the notebook's integer code)."""

    country: tuple[str, ...]
    city: tuple[str, ...]
    type_of_food: tuple[str, ...]
    time_zone: tuple[str, ...]


@dataclass(frozen=True)
class Directory:
    """R restaurants by ascending id; categories and zones are positions in `vocabularies`, `UNKNOWN` where empty."""

    vocabularies: Vocabularies
    restaurant_id: NDArray[np.int64]
    country: NDArray[np.int32]
    city: NDArray[np.int32]
    type_of_food: NDArray[np.int32]
    time_zone: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.restaurant_id)

    @cached_property
    def usual_zone(self) -> int:
        """The zone most restaurants live in: what a restaurant is read with that is not listed, when its order names no
        country either.
        """
        return int(np.bincount(self.time_zone).argmax()) if len(self) else 0

    @cached_property
    def _table(self) -> NDArray[np.int64] | None:
        """Position by id, where ids are dense enough; the last place stands for every id outside."""
        if not len(self):
            return np.full(1, UNKNOWN, np.int64)
        low, high = int(self.restaurant_id[0]), int(self.restaurant_id[-1])
        if high - low > _DENSE * len(self):
            return None
        table = np.full(high - low + 2, UNKNOWN, np.int64)
        table[self.restaurant_id - low] = np.arange(len(self))
        return table

    def positions(self, restaurant_id: NDArray[np.int64]) -> NDArray[np.int64]:
        """[N] positions of restaurants in the directory, `UNKNOWN` for those that are not in it."""
        table = self._table
        if table is None:
            found = np.minimum(np.searchsorted(self.restaurant_id, restaurant_id), len(self) - 1)
            return np.where(self.restaurant_id[found] == restaurant_id, found, UNKNOWN)
        last = len(table) - 1
        if not last:
            return np.full(len(restaurant_id), UNKNOWN, np.int64)
        # Without a sign, what is below the lowest is beyond every last.
        away = (restaurant_id - self.restaurant_id[0]).view(np.uint64)
        positions: NDArray[np.int64] = table.take(np.minimum(away, np.uint64(last)).view(np.int64))
        return positions

    def position(self, restaurant_id: int) -> int:
        """One restaurant's position, the same as `positions` gives, in a fifth of the time."""
        table = self._table
        if table is None:
            place = bisect_left(self._ids, restaurant_id)
            return place if place < len(self) and self._ids[place] == restaurant_id else UNKNOWN
        away = restaurant_id - self._lowest
        return table.item(away) if 0 <= away < len(table) else UNKNOWN

    @cached_property
    def _ids(self) -> memoryview:
        """The ids for one look at a time: an element of an array is an object of NumPy's, three times as slow."""
        return self.restaurant_id.data

    @cached_property
    def _lowest(self) -> int:
        return int(self.restaurant_id[0]) if len(self) else 0

    def place(self, city: NDArray[np.int32], type_of_food: NDArray[np.int32]) -> NDArray[np.int64]:
        """[N] number of each (city, food) pair among (cities + 1) · (foods + 1), the last of each for the unknown."""
        cities, foods = len(self.vocabularies.city), len(self.vocabularies.type_of_food)
        return np.where(city < 0, cities, city).astype(np.int64) * (foods + 1) + np.where(
            type_of_food < 0, foods, type_of_food
        )

    @property
    def places(self) -> int:
        """How many (city, food) pairs `place` numbers."""
        return (len(self.vocabularies.city) + 1) * (len(self.vocabularies.type_of_food) + 1)

    def named(self, vocabularies: Vocabularies) -> Directory:
        """The same restaurants with the codes of other vocabularies; a value they lack becomes `UNKNOWN`.

        A refresh needs it: the champion's models know the codes they were fitted with, whatever has been added to the
        restaurants file since. Zones stay as they are, since no model reads them.
        """
        mine, theirs = self.vocabularies, vocabularies
        return Directory(
            Vocabularies(theirs.country, theirs.city, theirs.type_of_food, mine.time_zone),
            self.restaurant_id,
            recode(self.country, mine.country, theirs.country),
            recode(self.city, mine.city, theirs.city),
            recode(self.type_of_food, mine.type_of_food, theirs.type_of_food),
            self.time_zone,
        )


def recode(codes: NDArray[np.int32], mine: tuple[str, ...], theirs: tuple[str, ...]) -> NDArray[np.int32]:
    """Codes of one vocabulary as those of another; a word that it lacks becomes `UNKNOWN`."""
    position = {word: code for code, word in enumerate(theirs)}
    # The last entry serves UNKNOWN, which is -1.
    table = np.array([*(position.get(word, UNKNOWN) for word in mine), UNKNOWN], np.int32)
    return table[codes]
