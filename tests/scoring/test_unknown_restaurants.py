"""A restaurants file says where unknown restaurants are, in the codes of the bundle."""

from __future__ import annotations

import numpy as np
import polars as pl

from preptime.domain.orders import UNKNOWN_CODE
from preptime.features.restaurant_index import RestaurantIndex
from preptime.scoring.scorer import merge_restaurants
from preptime.validation.restaurants import read_restaurants


def directory(*rows: tuple[int, str, str, str]) -> RestaurantIndex:
    return read_restaurants(pl.DataFrame(rows, ["restaurant_id", "country", "city", "type_of_food"], orient="row"))


KNOWN = directory((10, "UK", "London", "thai"), (30, "France", "Paris", "sushi"))
GIVEN = directory(
    (5, "France", "Lyon", "sushi"),  # a city the bundle has never seen
    (10, "France", "Paris", "sushi"),  # a restaurant it knows elsewhere
    (20, "Germany", "Berlin", "thai"),
    (40, "UK", "London", "sushi"),
)


def words(of: RestaurantIndex, restaurant_id: int) -> list[str | None]:
    (place,) = of.positions(np.array([restaurant_id]))
    found = []
    for name in ("country", "city", "type_of_food", "time_zone"):
        code = int(getattr(of, name)[place])
        found.append(None if code == UNKNOWN_CODE else getattr(of.vocabularies, name)[code])
    return found


def test_merge_restaurants_uses_known_category_codes() -> None:
    both = merge_restaurants(KNOWN, GIVEN)
    assert both.restaurant_id.tolist() == [5, 10, 20, 30, 40]
    assert words(both, 40) == ["UK", "London", "sushi", "Europe/London"]
    assert words(both, 20) == [None, None, "thai", "Europe/Berlin"]
    assert words(both, 5) == ["France", None, "sushi", "Europe/Paris"]
    for name in ("country", "city", "type_of_food"):
        assert getattr(both.vocabularies, name) == getattr(KNOWN.vocabularies, name)


def test_merge_restaurants_keeps_known_restaurants() -> None:
    assert words(merge_restaurants(KNOWN, GIVEN), 10) == words(KNOWN, 10)


def test_merge_restaurants_with_itself_changes_nothing() -> None:
    same = merge_restaurants(KNOWN, KNOWN)
    assert same.vocabularies == KNOWN.vocabularies
    for name in ("restaurant_id", "country", "city", "type_of_food", "time_zone"):
        np.testing.assert_array_equal(getattr(same, name), getattr(KNOWN, name))
        assert getattr(same, name).dtype == getattr(KNOWN, name).dtype


def test_merge_restaurants_extends_empty_index() -> None:
    nobody = directory().recoded(KNOWN.vocabularies)
    assert words(merge_restaurants(nobody, KNOWN), 30) == ["France", "Paris", "sushi", "Europe/Paris"]
