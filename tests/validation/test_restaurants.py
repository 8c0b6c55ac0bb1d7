from __future__ import annotations

import polars as pl
import pytest

from preptime.domain.orders import UNKNOWN_CODE
from preptime.domain.restaurant_ids import restaurant_key
from preptime.errors import DataError
from preptime.schema.toml_file import parse_schema
from preptime.validation import restaurant_ids
from preptime.validation.restaurants import audit_restaurants, read_restaurants
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


def test_read_restaurants_keeps_identifiers_as_written() -> None:
    ids = pl.Series("restaurant_id", ["007", " 7", "store-7f3a", "10124420001034504343"])
    index = read_restaurants(RESTAURANTS.with_columns(ids))
    cities = {index.display_id(row): index.vocabularies.city[index.city[row]] for row in range(4)}
    assert cities == {"007": "Paris", "7": "London", "store-7f3a": "Leeds", "10124420001034504343": "Dublin"}
    assert index.restaurant_id.tolist() == sorted(map(restaurant_key, cities))


def test_read_restaurants_na_is_namibia_and_a_name() -> None:
    restaurants = RESTAURANTS.with_columns(
        country=pl.Series(["NA", "UK", "UK", "UK"]), city=pl.lit("null"), type_of_food=pl.lit("None")
    )
    index = read_restaurants(restaurants)
    assert index.vocabularies.time_zone == ("Africa/Windhoek", "Europe/London")
    assert (index.vocabularies.city, index.vocabularies.type_of_food) == (("null",), ("None",))


def test_read_restaurants_duplicate_id_raises_with_rows() -> None:
    with pytest.raises(DataError, match=r"1 restaurant more than once \(restaurant_id 10 in rows 2, 5\)"):
        read_restaurants(pl.concat([RESTAURANTS, RESTAURANTS[1:2]]))


def test_read_restaurants_equal_hashes_raise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restaurant_ids, "restaurant_key", lambda _: -5)
    ids = pl.Series("restaurant_id", ["10", "store-a", "store-b", "40"])
    with pytest.raises(DataError, match="'store-a' and 'store-b' have the same 64-bit hash"):
        read_restaurants(RESTAURANTS.with_columns(ids))


@pytest.mark.parametrize(
    ("column", "bad", "finding"),
    [
        ("restaurant_id", None, "row 2: restaurant_id is empty"),
        ("restaurant_id", " ", "row 2: restaurant_id is empty"),
        ("restaurant_id", "x" * 201, "isn't an identifier of 1 to 200 characters"),
        ("country", None, "row 2, restaurant '10': a restaurant has neither country nor time_zone"),
        ("country", "USA", "row 2, restaurant '10': the country 'USA' is unknown or has several time zones"),
        ("time_zone", "Mars/Olympus", "row 2, restaurant '10': the time zone 'Mars/Olympus' is unknown"),
    ],
)
def test_audit_leaves_out_only_the_invalid_row(column: str, bad: str | None, finding: str) -> None:
    restaurants = RESTAURANTS.with_columns(pl.col("restaurant_id").cast(pl.String), time_zone=pl.lit(None, pl.String))
    cells = restaurants[column].to_list()
    cells[1] = bad
    audit = audit_restaurants(restaurants.with_columns(pl.Series(column, cells)))
    assert audit.index.restaurant_id.tolist() == [20, 30, 40]
    assert audit.index.vocabularies.city == ("Dublin", "Leeds", "Paris"), "London was the invalid restaurant's"
    assert audit.usable_rows.tolist() == [0, 2, 3]
    assert audit.left_out == 1
    (message,) = audit.messages
    assert message.startswith("1 restaurant left out: row 2")
    assert finding in message


def test_audit_many_invalid_rows_make_a_short_message() -> None:
    rows = 10_000
    restaurants = pl.DataFrame({"restaurant_id": [str(row) if row % 2 else "" for row in range(rows)]}).with_columns(
        country=pl.lit("UK"), city=pl.lit("London"), type_of_food=pl.lit("thai"), _row=pl.int_range(pl.len()) + 1
    )
    audit = audit_restaurants(restaurants)
    assert (audit.left_out, len(audit.index), len(audit.findings)) == (5_000, 5_000, 100)
    (message,) = audit.messages
    assert message.startswith("5,000 restaurants left out: row 1: restaurant_id is empty; row 3: ")
    assert len(message) < 300


def test_audit_without_usable_row_raises() -> None:
    with pytest.raises(DataError, match=r"None of 4 restaurants can be used: row 1, restaurant '30'.*'USA'.*time_zone"):
        read_restaurants(RESTAURANTS.with_columns(country=pl.lit("USA")))
    with pytest.raises(DataError, match="There are no restaurants"):
        read_restaurants(RESTAURANTS.clear())


COMPANY_SCHEMA = parse_schema("""
[orders]
order_acknowledged_at = "created_at"
restaurant_id = "store_id"
[restaurants]
restaurant_id = "Store"
time_zone = "America/Los_Angeles"
[features]
seats = { type = "number", of = "restaurant", range = [1, 500] }
chain = { type = "category", of = "restaurant", column = "brand" }
weather = "category"
""")


def test_audit_with_schema_reads_mapped_columns_and_features() -> None:
    stores = pl.DataFrame(
        {"Store": ["b", "a", "3"], "seats": ["40", "many", "9000"], "brand": ["Zed", "", "Ace"], "city": ["LA"] * 3}
    )
    audit = audit_restaurants(stores, COMPANY_SCHEMA)
    index = audit.index
    names = [index.display_id(row) for row in range(3)]
    assert index.numbers is not None
    assert index.categories is not None
    assert dict(zip(names, index.numbers[:, 0].tolist(), strict=True)) == {
        "b": 40.0,
        "a": pytest.approx(float("nan"), nan_ok=True),
        "3": pytest.approx(float("nan"), nan_ok=True),
    }
    assert dict(zip(names, index.categories[:, 0].tolist(), strict=True)) == {"b": 1, "a": UNKNOWN_CODE, "3": 0}
    assert index.vocabularies.custom == (("Ace", "Zed"), ())
    assert index.vocabularies.time_zone == ("America/Los_Angeles",)
    assert index.country.tolist() == [UNKNOWN_CODE] * 3
    assert index.feature_set.restaurant_numbers[0].name == "seats"
    assert audit.messages == ("seats: 2 of 3 restaurants have no valid number.",)
    with pytest.raises(DataError, match=r"The column brand is missing from the restaurants file"):
        audit_restaurants(stores.drop("brand"), COMPANY_SCHEMA)


def test_audit_own_country_of_a_restaurant_precedes_schema() -> None:
    schema = parse_schema(
        '[orders]\norder_acknowledged_at = "at"\nrestaurant_id = "id"\n[restaurants]\ncountry = "UK"\n'
    )
    stores = pl.DataFrame({"restaurant_id": [1, 2], "country": ["France", None]})
    index = audit_restaurants(stores, schema).index
    assert [index.vocabularies.time_zone[code] for code in index.time_zone] == ["Europe/Paris", "Europe/London"]
    assert audit_restaurants(stores.drop("country"), schema).index.vocabularies.country == ("UK",)


def test_audit_without_country_and_zone_raises_with_line() -> None:
    schema = parse_schema('[orders]\norder_acknowledged_at = "at"\nrestaurant_id = "id"\n')
    with pytest.raises(DataError) as caught:
        audit_restaurants(pl.DataFrame({"restaurant_id": [1]}), schema)
    assert '[restaurants] and time_zone = "' in caught.value.hint


def test_read_restaurants_missing_column_raises_with_closest() -> None:
    with pytest.raises(DataError, match=r"type_of_food is missing.*'type_of_foods' is the closest"):
        read_restaurants(RESTAURANTS.rename({"type_of_food": "type_of_foods"}))
