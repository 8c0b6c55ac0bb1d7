"""The restaurants with their categories, which are known before the first order, and the category vocabularies."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from preptime.domain.cells import category_codes, category_name
from preptime.domain.orders import UNKNOWN_CODE, OrderColumns
from preptime.features.feature_set import TAKE_HOME_FEATURES, FeatureSet
from preptime.features.restaurant_names import NO_NAMES, RestaurantNames
from preptime.schema.schema import CustomFeature

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
    custom: tuple[tuple[str, ...], ...] = field(default=(), repr=False)
    """The values of each custom category, in the order of the schema. Rare values aren't included after a training."""

    @property
    def category_cells(self) -> int:
        """The number of cells of all custom categories: one for each code, and one for other values."""
        return sum(len(values) + 1 for values in self.custom)

    @property
    def category_starts(self) -> NDArray[np.int64]:
        """The cell of code 0 of each custom category, [C]. The cell before it is that of `UNKNOWN_CODE`."""
        sizes = [len(values) + 1 for values in self.custom]
        return np.cumsum([0, *sizes[:-1]], dtype=np.int64) + 1 if sizes else np.empty(0, np.int64)


@dataclass(frozen=True)
class RestaurantIndex:
    """R restaurants, sorted by key, as columns [R]."""

    vocabularies: Vocabularies
    restaurant_id: NDArray[np.int64]
    """Keys (`preptime.domain.restaurant_ids`), ascending and unique. Those of text are negative, so they are first."""
    country: NDArray[np.int32]
    """Position in the vocabulary of countries, or `UNKNOWN_CODE` if empty. The same for the next three."""
    city: NDArray[np.int32]
    type_of_food: NDArray[np.int32]
    time_zone: NDArray[np.int32]
    feature_set: FeatureSet = field(default=TAKE_HOME_FEATURES, kw_only=True)
    """The features that are computed for orders of these restaurants."""
    numbers: NDArray[np.float64] | None = field(default=None, kw_only=True)
    """[R, K] custom numbers of the restaurants, in the order of the schema. NaN means missing."""
    categories: NDArray[np.int32] | None = field(default=None, kw_only=True)
    """[R, C] codes of the custom categories of the restaurants, in the order of the schema."""
    names: RestaurantNames = field(default=NO_NAMES, kw_only=True)
    """[M] the identifiers of the M restaurants with a negative key, in order."""

    def __len__(self) -> int:
        return len(self.restaurant_id)

    @cached_property
    def most_common_time_zone(self) -> int:
        """The time zone of most restaurants, as a position in the vocabulary.

        It applies to an unknown restaurant whose order doesn't name a country.
        """
        return int(np.bincount(self.time_zone).argmax()) if len(self) else 0

    def display_id(self, position: int) -> str:
        """Return the identifier of a restaurant as text."""
        key = int(self.restaurant_id[position])
        return str(key) if key >= 0 else self.names[position]

    @cached_property
    def _text_count(self) -> int:
        """The number of restaurants with a negative key. They precede the others."""
        return int(np.searchsorted(self.restaurant_id, 0))

    @cached_property
    def _position_table(self) -> NDArray[np.int64] | None:
        """Position by `id - lowest id`, or None if ids are too sparse. The last entry is for ids outside the range."""
        ids = self.restaurant_id[self._text_count :]
        if not len(ids):
            return np.full(1, UNKNOWN_CODE, np.int64)
        low, high = int(ids[0]), int(ids[-1])
        if high - low > _MAX_ID_RANGE_RATIO * len(ids):
            return None
        table = np.full(high - low + 2, UNKNOWN_CODE, np.int64)
        table[ids - low] = np.arange(self._text_count, len(self))
        return table

    def positions(self, restaurant_id: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the position of each restaurant in the columns, [N], or `UNKNOWN_CODE` for an unknown restaurant."""
        table = self._position_table
        if table is None or self._text_count:
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
        if restaurant_id < 0:
            # Search the few keys that have the same leading bits.
            shift, starts = self._key_ranges
            prefix = restaurant_id >> shift
            index, end = starts[prefix - 1], starts[prefix]
            while index < end and self._id_view[index] < restaurant_id:
                index += 1
            return index if index < end and self._id_view[index] == restaurant_id else UNKNOWN_CODE
        table = self._position_table
        if table is not None:
            offset = restaurant_id - self._lowest_id
            return table.item(offset) if 0 <= offset < len(table) else UNKNOWN_CODE
        index = bisect_left(self._id_view, restaurant_id)
        return index if index < len(self) and self._id_view[index] == restaurant_id else UNKNOWN_CODE

    @cached_property
    def _key_ranges(self) -> tuple[int, memoryview]:
        """(S, the end of the negative keys whose bits above S are P, by P). P is negative and counts from the end.

        The keys of text are hashes, so each range has about one key, and a search is twice as fast as in all keys.
        """
        bits = self._text_count.bit_length()
        shift = 63 - bits
        first_keys = np.arange(-(2**bits), 0, dtype=np.int64) << shift
        starts = np.searchsorted(self.restaurant_id[: self._text_count], first_keys)
        return shift, np.append(starts, self._text_count).astype(np.int32).data

    @cached_property
    def _id_view(self) -> memoryview:
        """The ids for single lookups: three times as fast as an array, whose elements become NumPy scalars."""
        return self.restaurant_id.data

    @cached_property
    def _lowest_id(self) -> int:
        return int(self.restaurant_id[self._text_count]) if len(self) > self._text_count else 0

    def group_index(self, city: NDArray[np.int32], type_of_food: NDArray[np.int32]) -> NDArray[np.int64]:
        """Return the number [N] of each (city, food) pair, below `group_count`. The last city and food mean unknown."""
        cities, foods = len(self.vocabularies.city), len(self.vocabularies.type_of_food)
        city_number, food_number = np.where(city < 0, cities, city), np.where(type_of_food < 0, foods, type_of_food)
        return city_number.astype(np.int64) * (foods + 1) + food_number

    @property
    def group_count(self) -> int:
        """The number of (city, food) pairs that `group_index` distinguishes."""
        return (len(self.vocabularies.city) + 1) * (len(self.vocabularies.type_of_food) + 1)

    def recoded(self, vocabularies: Vocabularies, feature_set: FeatureSet | None = None) -> RestaurantIndex:
        """Return the same restaurants with the codes of other vocabularies. A value they lack becomes `UNKNOWN_CODE`.

        A refresh needs this: the champion's models know only the codes they were fitted with, and the restaurants file
        may have new categories. Time zones are unchanged, because no model reads them. With `feature_set`, the custom
        features are those of another schema. The vocabularies must belong to it.
        """
        current, features = self.vocabularies, feature_set or self.feature_set
        return replace(
            self,
            vocabularies=replace(vocabularies, time_zone=current.time_zone),
            country=recode(self.country, current.country, vocabularies.country),
            city=recode(self.city, current.city, vocabularies.city),
            type_of_food=recode(self.type_of_food, current.type_of_food, vocabularies.type_of_food),
            feature_set=features,
            numbers=select_numbers(
                self.numbers, self.feature_set.restaurant_numbers, features.restaurant_numbers, len(self)
            ),
            categories=_recode_categories(
                self.categories, self._own_vocabularies, _restaurant_vocabularies(features, vocabularies), len(self)
            ),
        )

    def slice_restaurants(self, rows: slice) -> RestaurantIndex:
        """Return consecutive restaurants, without names, to count their orders."""
        columns = ("restaurant_id", "country", "city", "type_of_food", "time_zone")
        return replace(
            self,
            **{name: getattr(self, name)[rows] for name in columns},
            numbers=None if self.numbers is None else self.numbers[rows],
            categories=None if self.categories is None else self.categories[rows],
            names=NO_NAMES,
        )

    def with_custom_features(self, vocabularies: Vocabularies, feature_set: FeatureSet) -> RestaurantIndex:
        """Return the same restaurants and codes, with the custom features and custom vocabularies of a bundle."""
        own = self.vocabularies
        return self.recoded(replace(own, custom=vocabularies.custom), feature_set)

    @property
    def _own_vocabularies(self) -> CustomVocabularies:
        return _restaurant_vocabularies(self.feature_set, self.vocabularies)


CustomVocabularies = tuple[tuple[str, tuple[str, ...]], ...]
"""The name and the values of custom categories, in the order of their columns."""


def recode_orders(orders: OrderColumns, source: RestaurantIndex, target: RestaurantIndex) -> OrderColumns:
    """Return the orders with the category codes, and the custom features, of another index.

    A bundle needs this for orders that were read with newer restaurants or with another schema. A custom feature that
    the orders don't have is missing.
    """
    before, after = source.vocabularies, target.vocabularies
    return replace(
        orders,
        country=recode(orders.country, before.country, after.country),
        city=recode(orders.city, before.city, after.city),
        type_of_food=recode(orders.type_of_food, before.type_of_food, after.type_of_food),
        numbers=select_numbers(
            orders.numbers, source.feature_set.order_numbers, target.feature_set.order_numbers, len(orders)
        ),
        categories=_recode_categories(
            orders.categories,
            _all_vocabularies(source.feature_set, before),
            _all_vocabularies(target.feature_set, after),
            len(orders),
        ),
    )


def select_numbers(
    numbers: NDArray[np.float64] | None,
    source: tuple[CustomFeature, ...],
    target: tuple[CustomFeature, ...],
    row_count: int,
) -> NDArray[np.float64] | None:
    """Return the columns of `target` from `numbers` [N, source] by name. A feature that `source` lacks is missing."""
    if source == target or not target:
        return numbers if target else None
    columns = {feature.name: column for column, feature in enumerate(source)}
    selected = np.full((row_count, len(target)), np.nan)
    for column, feature in enumerate(target):
        if numbers is not None and feature.name in columns:
            selected[:, column] = numbers[:, columns[feature.name]]
    return selected


def _all_vocabularies(features: FeatureSet, vocabularies: Vocabularies) -> CustomVocabularies:
    return tuple(
        (feature.name, values) for feature, values in zip(features.categories, vocabularies.custom, strict=False)
    )


def _restaurant_vocabularies(features: FeatureSet, vocabularies: Vocabularies) -> CustomVocabularies:
    owned = {feature.name for feature in features.categories if feature.of == "restaurant"}
    return tuple(pair for pair in _all_vocabularies(features, vocabularies) if pair[0] in owned)


def _recode_categories(
    codes: NDArray[np.int32] | None, source: CustomVocabularies, target: CustomVocabularies, row_count: int
) -> NDArray[np.int32] | None:
    """Return the codes of `target` from `codes` [N, source] by name and value."""
    if not target:
        return None
    columns = {name: column for column, (name, _) in enumerate(source)}
    recoded = np.full((row_count, len(target)), UNKNOWN_CODE, np.int32)
    for column, (name, values) in enumerate(target):
        if codes is not None and name in columns:
            recoded[:, column] = recode(codes[:, columns[name]], source[columns[name]][1], values)
    return recoded


def recode(codes: NDArray[np.int32], source: tuple[str, ...], target: tuple[str, ...]) -> NDArray[np.int32]:
    """Return codes of the vocabulary `source` as codes of `target`. A value it lacks becomes `UNKNOWN_CODE`.

    A value that `target` has only in another spelling (`category_name`) is the same value.
    """
    by_spelling = category_codes(target)
    target_codes = (by_spelling.get(value, by_spelling.get(category_name(value), UNKNOWN_CODE)) for value in source)
    # UNKNOWN_CODE is -1, so it reads the last entry.
    return np.array([*target_codes, UNKNOWN_CODE], np.int32)[codes]
