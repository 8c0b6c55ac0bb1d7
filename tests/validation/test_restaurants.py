from __future__ import annotations

import polars as pl
import pytest

from preptime.domain.orders import UNKNOWN_CODE
from preptime.errors import DataError
from preptime.validation.restaurants import read_restaurants
from tests.validation.factories import RESTAURANTS, directory


def test_restaurants_are_sorted_and_coded_by_sorted_names() -> None:
    read = directory()
    assert read.restaurant_id.tolist() == [10, 20, 30, 40]
    assert read.vocabularies.country == ("France", "Ireland", "UK")
    assert read.country.tolist() == [2, 2, 0, 1]
    assert read.vocabularies.city == ("Dublin", "Leeds", "London", "Paris")
    assert read.city.tolist() == [2, 1, 3, 0]
    assert [read.vocabularies.time_zone[code] for code in read.time_zone] == [
        "Europe/London",
        "Europe/London",
        "Europe/Paris",
        "Europe/Dublin",
    ]


def test_text_and_typed_ids_give_the_same_directory() -> None:
    assert read_restaurants(RESTAURANTS.cast({"restaurant_id": pl.String})).restaurant_id.tolist() == [10, 20, 30, 40]


def test_a_time_zone_of_its_own_wins_and_an_empty_one_does_not() -> None:
    own = RESTAURANTS.with_columns(time_zone=pl.Series(["", None, "Atlantic/Bermuda", None]))
    read = read_restaurants(own)
    assert [read.vocabularies.time_zone[code] for code in read.time_zone] == [
        "Europe/London",
        "Atlantic/Bermuda",
        "Europe/Paris",
        "Europe/Dublin",
    ]


def test_an_empty_city_or_food_is_unknown() -> None:
    read = read_restaurants(RESTAURANTS.with_columns(city=pl.Series(["Paris", " ", None, "Dublin"])))
    assert read.city.tolist() == [UNKNOWN_CODE, UNKNOWN_CODE, 1, 0]


def test_a_restaurant_listed_twice_is_refused_with_its_rows() -> None:
    with pytest.raises(DataError, match=r"1 restaurants more than once \(restaurant_id 10 in rows 2, 5\)"):
        read_restaurants(pl.concat([RESTAURANTS, RESTAURANTS[1:2]]))


@pytest.mark.parametrize("bad", ["x", "", None, "-4", "1.5"])
def test_an_id_that_cannot_be_read_is_refused_with_its_row(bad: str | None) -> None:
    ids = pl.Series("restaurant_id", ["30", bad, "20", "40"])
    with pytest.raises(DataError, match=r"1 rows with an invalid restaurant_id \(row 2"):
        read_restaurants(RESTAURANTS.with_columns(ids))


def test_a_country_without_a_zone_says_what_to_add() -> None:
    with pytest.raises(DataError, match=r"'USA'.*time_zone"):
        read_restaurants(RESTAURANTS.with_columns(country=pl.lit("USA")))


def test_a_missing_column_names_the_closest() -> None:
    with pytest.raises(DataError, match=r"type_of_food is missing.*'type_of_foods' is the closest"):
        read_restaurants(RESTAURANTS.rename({"type_of_food": "type_of_foods"}))
