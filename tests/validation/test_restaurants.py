from __future__ import annotations

import polars as pl
import pytest

from preptime.domain.orders import UNKNOWN_CODE
from preptime.errors import DataError
from preptime.validation.restaurants import read_restaurants
from tests.validation.factories import RESTAURANTS, make_restaurant_index


def test_read_restaurants_sorts_ids_and_names() -> None:
    index = make_restaurant_index()
    assert index.restaurant_id.tolist() == [10, 20, 30, 40]
    assert index.vocabularies.country == ("France", "Ireland", "UK")
    assert index.country.tolist() == [2, 2, 0, 1]
    assert index.vocabularies.city == ("Dublin", "Leeds", "London", "Paris")
    assert index.city.tolist() == [2, 1, 3, 0]
    assert [index.vocabularies.time_zone[code] for code in index.time_zone] == [
        "Europe/London",
        "Europe/London",
        "Europe/Paris",
        "Europe/Dublin",
    ]


def test_read_restaurants_text_ids_equal_typed_ids() -> None:
    assert read_restaurants(RESTAURANTS.cast({"restaurant_id": pl.String})).restaurant_id.tolist() == [10, 20, 30, 40]


def test_read_restaurants_own_time_zone_takes_precedence() -> None:
    restaurants = RESTAURANTS.with_columns(time_zone=pl.Series(["", None, "Atlantic/Bermuda", None]))
    index = read_restaurants(restaurants)
    assert [index.vocabularies.time_zone[code] for code in index.time_zone] == [
        "Europe/London",
        "Atlantic/Bermuda",
        "Europe/Paris",
        "Europe/Dublin",
    ]


def test_read_restaurants_empty_category_is_unknown() -> None:
    index = read_restaurants(RESTAURANTS.with_columns(city=pl.Series(["Paris", " ", None, "Dublin"])))
    assert index.city.tolist() == [UNKNOWN_CODE, UNKNOWN_CODE, 1, 0]


def test_read_restaurants_duplicate_id_raises_with_rows() -> None:
    with pytest.raises(DataError, match=r"1 restaurants more than once \(restaurant_id 10 in rows 2, 5\)"):
        read_restaurants(pl.concat([RESTAURANTS, RESTAURANTS[1:2]]))


@pytest.mark.parametrize("bad", ["x", "", None, "-4", "1.5"])
def test_read_restaurants_invalid_id_raises_with_row(bad: str | None) -> None:
    ids = pl.Series("restaurant_id", ["30", bad, "20", "40"])
    with pytest.raises(DataError, match=r"1 rows with an invalid restaurant_id \(row 2"):
        read_restaurants(RESTAURANTS.with_columns(ids))


def test_read_restaurants_country_without_zone_raises() -> None:
    with pytest.raises(DataError, match=r"'USA'.*time_zone"):
        read_restaurants(RESTAURANTS.with_columns(country=pl.lit("USA")))


def test_read_restaurants_missing_column_raises_with_closest() -> None:
    with pytest.raises(DataError, match=r"type_of_food is missing.*'type_of_foods' is the closest"):
        read_restaurants(RESTAURANTS.rename({"type_of_food": "type_of_foods"}))
