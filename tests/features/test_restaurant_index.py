from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from preptime.domain.orders import UNKNOWN_CODE
from preptime.features.restaurant_index import RestaurantIndex, Vocabularies, recode
from tests.features.factories import VOCABULARIES, directory

LARGEST = 2**63 - 1
IDS = st.one_of(
    st.lists(st.integers(0, 60), min_size=0, max_size=30, unique=True),
    st.lists(st.integers(0, LARGEST), min_size=0, max_size=30, unique=True),
    st.lists(st.integers(LARGEST - 60, LARGEST), min_size=0, max_size=30, unique=True),
)


def of_ids(ids: list[int]) -> RestaurantIndex:
    codes = np.zeros(len(ids), np.int32)
    return RestaurantIndex(VOCABULARIES, np.array(sorted(ids), np.int64), codes, codes, codes, codes)


@given(IDS, st.lists(st.integers(-(2**63), LARGEST), max_size=20))
def test_positions_are_those_of_the_sorted_ids(ids: list[int], others: list[int]) -> None:
    asked = [*ids, *others, *(one + 1 for one in ids if one < LARGEST), *(one - 1 for one in ids)]
    place = {one: position for position, one in enumerate(sorted(ids))}
    restaurants, expected = of_ids(ids), [place.get(one, UNKNOWN_CODE) for one in asked]
    assert restaurants.positions(np.array(asked, np.int64)).tolist() == expected
    assert [restaurants.position(one) for one in asked] == expected


def test_nobody_is_asked_about() -> None:
    assert len(of_ids([1, 2]).positions(np.array([], np.int64))) == 0
    assert len(of_ids([]).positions(np.array([], np.int64))) == 0


def test_places_number_every_pair_once_the_unknown_last() -> None:
    of = directory()
    cities, foods = np.meshgrid(
        np.array([*range(3), UNKNOWN_CODE], np.int32), np.array([*range(3), UNKNOWN_CODE], np.int32), indexing="ij"
    )
    assert of.group_index(cities.ravel(), foods.ravel()).tolist() == list(range(of.group_count))
    assert of.group_count == 16


def test_the_usual_zone_is_the_one_of_most_restaurants() -> None:
    assert directory().most_common_time_zone == 0
    assert of_ids([]).most_common_time_zone == 0


def test_named_keeps_words_and_forgets_those_that_are_lacking() -> None:
    of = directory()
    others = Vocabularies(("UK",), ("Bristol", "London", "Paris"), ("thai", "vegan"), ("Asia/Tokyo",))
    named = of.recoded(others)
    assert named.city.tolist() == [1, 1, UNKNOWN_CODE, 2, UNKNOWN_CODE]
    assert named.type_of_food.tolist() == [UNKNOWN_CODE, UNKNOWN_CODE, 0, UNKNOWN_CODE, UNKNOWN_CODE]
    assert named.country.tolist() == [0, 0, 0, UNKNOWN_CODE, UNKNOWN_CODE]
    assert named.vocabularies == Vocabularies(others.country, others.city, others.type_of_food, VOCABULARIES.time_zone)
    assert np.array_equal(named.time_zone, of.time_zone)
    assert np.array_equal(named.restaurant_id, of.restaurant_id)


def test_named_by_its_own_words_is_the_same() -> None:
    of = directory()
    same = of.recoded(of.vocabularies)
    for name in ("country", "city", "type_of_food", "time_zone"):
        assert np.array_equal(getattr(same, name), getattr(of, name))
        assert getattr(same, name).dtype == np.int32


@pytest.mark.parametrize("theirs", [(), ("b",), ("a", "b", "c")])
def test_recode_goes_by_words(theirs: tuple[str, ...]) -> None:
    mine = ("a", "b")
    codes = recode(np.array([0, 1, UNKNOWN_CODE], np.int32), mine, theirs)
    words = [theirs[code] if code != UNKNOWN_CODE else None for code in codes]
    assert words == [word if word in theirs else None for word in ("a", "b", None)]
    assert codes.dtype == np.int32
