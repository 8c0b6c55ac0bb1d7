"""Tests of merging restaurants that a bundle doesn't know into its restaurants."""

from __future__ import annotations

import numpy as np
import polars as pl

from preptime.domain.orders import UNKNOWN_CODE
from preptime.features.restaurant_index import RestaurantIndex
from preptime.scoring.remote_scoring import NO_RESTAURANTS
from preptime.scoring.scorer import differing_restaurants, merge_restaurants
from preptime.validation.restaurants import read_restaurants


def make_restaurants(*rows: tuple[int, str, str, str]) -> RestaurantIndex:
    return read_restaurants(pl.DataFrame(rows, ["restaurant_id", "country", "city", "type_of_food"], orient="row"))


KNOWN = make_restaurants((10, "UK", "London", "thai"), (30, "France", "Paris", "sushi"))
EXTRA = make_restaurants(
    (5, "France", "Lyon", "sushi"),  # a city that isn't in the vocabulary
    (10, "France", "Paris", "sushi"),  # a known restaurant in another city
    (20, "Germany", "Berlin", "thai"),
    (40, "UK", "London", "sushi"),
)


def decode_restaurant(restaurants: RestaurantIndex, restaurant_id: int) -> list[str | None]:
    (position,) = restaurants.positions(np.array([restaurant_id]))
    values = []
    for name in ("country", "city", "type_of_food", "time_zone"):
        code = int(getattr(restaurants, name)[position])
        values.append(None if code == UNKNOWN_CODE else getattr(restaurants.vocabularies, name)[code])
    return values


def test_merge_restaurants_uses_known_category_codes() -> None:
    merged = merge_restaurants(KNOWN, EXTRA)
    assert merged.restaurant_id.tolist() == [5, 10, 20, 30, 40]
    assert decode_restaurant(merged, 40) == ["UK", "London", "sushi", "Europe/London"]
    assert decode_restaurant(merged, 20) == [None, None, "thai", "Europe/Berlin"]
    assert decode_restaurant(merged, 5) == ["France", None, "sushi", "Europe/Paris"]
    for name in ("country", "city", "type_of_food"):
        assert getattr(merged.vocabularies, name) == getattr(KNOWN.vocabularies, name)


def test_merge_restaurants_keeps_known_restaurants() -> None:
    assert decode_restaurant(merge_restaurants(KNOWN, EXTRA), 10) == decode_restaurant(KNOWN, 10)


def test_merge_restaurants_with_itself_changes_nothing() -> None:
    merged = merge_restaurants(KNOWN, KNOWN)
    assert merged.vocabularies == KNOWN.vocabularies
    for name in ("restaurant_id", "country", "city", "type_of_food", "time_zone"):
        np.testing.assert_array_equal(getattr(merged, name), getattr(KNOWN, name))
        assert getattr(merged, name).dtype == getattr(KNOWN, name).dtype


def test_merge_restaurants_extends_empty_index() -> None:
    empty = NO_RESTAURANTS.recoded(KNOWN.vocabularies)
    assert decode_restaurant(merge_restaurants(empty, KNOWN), 30) == ["France", "Paris", "sushi", "Europe/Paris"]


def test_differing_restaurants_have_another_place() -> None:
    extra = make_restaurants(
        (10, "New Zealand", "Auckland", "thai"),
        (30, "France", "Paris", "pizza"),
        (40, "New Zealand", "Auckland", "thai"),
    )
    assert differing_restaurants(KNOWN, extra).tolist() == [10]  # a type of food can change, and 40 is new
    assert differing_restaurants(KNOWN, KNOWN).tolist() == []
    assert differing_restaurants(KNOWN, None).tolist() == []
