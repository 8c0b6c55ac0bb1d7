from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from preptime.domain.orders import UNKNOWN_CODE
from preptime.domain.restaurant_ids import restaurant_key
from preptime.features.restaurant_index import RestaurantIndex, Vocabularies, recode
from preptime.features.restaurant_names import NO_NAMES, RestaurantNames
from tests.features.factories import VOCABULARIES, example_restaurants

LARGEST = 2**63 - 1
TEXT_KEYS = st.integers(-(2**63), -2) | st.integers(-40, -2)
IDS = st.one_of(
    st.lists(st.integers(0, 60), min_size=0, max_size=30, unique=True),
    st.lists(st.integers(0, LARGEST), min_size=0, max_size=30, unique=True),
    st.lists(st.integers(LARGEST - 60, LARGEST), min_size=0, max_size=30, unique=True),
    st.lists(TEXT_KEYS, min_size=0, max_size=30, unique=True),
    st.lists(TEXT_KEYS | st.integers(0, 60), min_size=0, max_size=30, unique=True),
    st.lists(TEXT_KEYS | st.integers(0, LARGEST), min_size=0, max_size=30, unique=True),
)


def index_of_ids(ids: list[int]) -> RestaurantIndex:
    codes = np.zeros(len(ids), np.int32)
    return RestaurantIndex(VOCABULARIES, np.array(sorted(ids), np.int64), codes, codes, codes, codes)


@given(IDS, st.lists(st.integers(-(2**63), LARGEST), max_size=20))
def test_positions_match_sorted_ids(ids: list[int], others: list[int]) -> None:
    queried = [
        *ids,
        *others,
        *(id_ + 1 for id_ in ids if id_ < LARGEST),
        *(id_ - 1 for id_ in ids if id_ > -(2**63)),
        -1,
    ]
    position_of = {id_: position for position, id_ in enumerate(sorted(ids))}
    restaurants, expected = index_of_ids(ids), [position_of.get(id_, UNKNOWN_CODE) for id_ in queried]
    assert restaurants.positions(np.array(queried, np.int64)).tolist() == expected
    assert [restaurants.position(id_) for id_ in queried] == expected


TEXTS = ["store-7", "007", "é ☕", "\U0001f355", "x" * 200, "10124420001034504343", "-7"]


def index_with_names(texts: list[str], ids: list[int]) -> RestaurantIndex:
    sorted_texts, codes = sorted(texts, key=restaurant_key), np.zeros(len(texts) + len(ids), np.int32)
    keys = np.array([*map(restaurant_key, sorted_texts), *sorted(ids)], np.int64)
    names = RestaurantNames.from_texts(sorted_texts)
    return RestaurantIndex(VOCABULARIES, keys, codes, codes, codes, codes, names=names)


def test_display_id_returns_every_identifier() -> None:
    restaurants = index_with_names(TEXTS, [0, 7, LARGEST])
    for identifier in (*TEXTS, "0", "7", str(LARGEST)):
        assert restaurants.display_id(restaurants.position(restaurant_key(identifier))) == identifier
    recoded = restaurants.recoded(VOCABULARIES)
    assert [recoded.display_id(row) for row in range(len(recoded))] == [
        restaurants.display_id(row) for row in range(len(restaurants))
    ]


def test_names_survive_as_arrays() -> None:
    names = index_with_names(TEXTS, []).names
    arrays = names.arrays()
    assert {name: array.dtype.str for name, array in arrays.items()} == {
        "restaurant_name_bytes": "|u1",
        "restaurant_name_ends": "<i8",
    }
    assert RestaurantNames.from_arrays(arrays).texts() == names.texts() == sorted(TEXTS, key=restaurant_key)
    assert names.select(np.array([2, 0])).texts() == [names[2], names[0]]
    assert NO_NAMES.arrays() == {}
    assert RestaurantNames.from_arrays({}) is NO_NAMES


def test_invalid_names_are_found() -> None:
    restaurants = index_with_names(TEXTS, [5])
    names, keys = restaurants.names, restaurants.restaurant_id[:-1]
    assert not names.invalid_ends(len(keys)).any()
    assert not names.invalid_texts(keys).any()
    other_byte = names.utf8.copy()
    other_byte[names.ends[2]] = 0xFF
    assert RestaurantNames(other_byte, names.ends).invalid_texts(keys).tolist() == [row == 3 for row in range(7)]
    assert names.invalid_texts(keys[::-1]).sum() == 6, "only the one in the middle has its own key"
    assert names.invalid_ends(6).tolist() == [False] * 6 + [True]
    assert RestaurantNames(names.utf8[:-1], names.ends).invalid_ends(7).tolist() == [False] * 6 + [True]
    assert RestaurantNames(np.append(names.utf8, np.uint8(65)), names.ends).invalid_ends(7).any()
    for value in (-1, 0, names.ends[3], names.ends[5], 2**40):
        ends = names.ends.copy()
        ends[4] = value
        assert RestaurantNames(names.utf8, ends).invalid_ends(7)[4:6].any()


@pytest.mark.parametrize("text", [" 007", "7.0", "x" * 201])
def test_invalid_names_include_other_spellings(text: str) -> None:
    """A name is stored as it's compared: without spaces and .0."""
    key = np.array([restaurant_key(text)], np.int64)
    invalid = RestaurantNames.from_texts([text]).invalid_texts(key)
    assert invalid.tolist() == [True]


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


def test_recode_maps_every_spelling_of_a_boolean() -> None:
    codes = np.array([0, 1, UNKNOWN_CODE], np.int32)
    for source, target in ((("false", "true"), ("False", "True")), (("False", "True"), ("false", "true"))):
        assert recode(codes, source, target).tolist() == codes.tolist()
    assert recode(codes, ("TRUE", "true"), ("True", "true")).tolist() == [1, 1, UNKNOWN_CODE]
    assert recode(codes, ("True", "true"), ("True", "true")).tolist() == codes.tolist()
