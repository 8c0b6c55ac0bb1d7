from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from preptime.domain.orders import UNKNOWN_CODE
from preptime.features.restaurant_index import RestaurantIndex, Vocabularies, recode
from tests.features.factories import VOCABULARIES, example_restaurants

LARGEST = 2**63 - 1
IDS = st.one_of(
    st.lists(st.integers(0, 60), min_size=0, max_size=30, unique=True),
    st.lists(st.integers(0, LARGEST), min_size=0, max_size=30, unique=True),
    st.lists(st.integers(LARGEST - 60, LARGEST), min_size=0, max_size=30, unique=True),
)


def index_of_ids(ids: list[int]) -> RestaurantIndex:
    codes = np.zeros(len(ids), np.int32)
    return RestaurantIndex(VOCABULARIES, np.array(sorted(ids), np.int64), codes, codes, codes, codes)


@given(IDS, st.lists(st.integers(-(2**63), LARGEST), max_size=20))
def test_positions_match_sorted_ids(ids: list[int], others: list[int]) -> None:
    queried = [*ids, *others, *(id_ + 1 for id_ in ids if id_ < LARGEST), *(id_ - 1 for id_ in ids)]
    position_of = {id_: position for position, id_ in enumerate(sorted(ids))}
    restaurants, expected = index_of_ids(ids), [position_of.get(id_, UNKNOWN_CODE) for id_ in queried]
    assert restaurants.positions(np.array(queried, np.int64)).tolist() == expected
    assert [restaurants.position(id_) for id_ in queried] == expected


def test_positions_of_no_ids_are_empty() -> None:
    assert len(index_of_ids([1, 2]).positions(np.array([], np.int64))) == 0
    assert len(index_of_ids([]).positions(np.array([], np.int64))) == 0


def test_group_index_numbers_every_pair_once() -> None:
    restaurants = example_restaurants()
    cities, foods = np.meshgrid(
        np.array([*range(3), UNKNOWN_CODE], np.int32), np.array([*range(3), UNKNOWN_CODE], np.int32), indexing="ij"
    )
    assert restaurants.group_index(cities.ravel(), foods.ravel()).tolist() == list(range(restaurants.group_count))
    assert restaurants.group_count == 16


def test_most_common_time_zone_is_that_of_most_restaurants() -> None:
    assert example_restaurants().most_common_time_zone == 0
    assert index_of_ids([]).most_common_time_zone == 0


def test_recoded_maps_missing_values_to_unknown() -> None:
    restaurants = example_restaurants()
    others = Vocabularies(("UK",), ("Bristol", "London", "Paris"), ("thai", "vegan"), ("Asia/Tokyo",))
    recoded = restaurants.recoded(others)
    assert recoded.city.tolist() == [1, 1, UNKNOWN_CODE, 2, UNKNOWN_CODE]
    assert recoded.type_of_food.tolist() == [UNKNOWN_CODE, UNKNOWN_CODE, 0, UNKNOWN_CODE, UNKNOWN_CODE]
    assert recoded.country.tolist() == [0, 0, 0, UNKNOWN_CODE, UNKNOWN_CODE]
    assert recoded.vocabularies == Vocabularies(
        others.country, others.city, others.type_of_food, VOCABULARIES.time_zone
    )
    assert np.array_equal(recoded.time_zone, restaurants.time_zone)
    assert np.array_equal(recoded.restaurant_id, restaurants.restaurant_id)


def test_recoded_with_own_vocabularies_is_equal() -> None:
    restaurants = example_restaurants()
    same = restaurants.recoded(restaurants.vocabularies)
    for name in ("country", "city", "type_of_food", "time_zone"):
        assert np.array_equal(getattr(same, name), getattr(restaurants, name))
        assert getattr(same, name).dtype == np.int32


@pytest.mark.parametrize("target", [(), ("b",), ("a", "b", "c")])
def test_recode_maps_by_value(target: tuple[str, ...]) -> None:
    source = ("a", "b")
    codes = recode(np.array([0, 1, UNKNOWN_CODE], np.int32), source, target)
    values = [target[code] if code != UNKNOWN_CODE else None for code in codes]
    assert values == [value if value in target else None for value in ("a", "b", None)]
    assert codes.dtype == np.int32
