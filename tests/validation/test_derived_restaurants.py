from __future__ import annotations

import polars as pl
import pytest

from preptime.domain.orders import UNKNOWN_CODE
from preptime.errors import DataError
from preptime.features.restaurant_index import RestaurantIndex
from preptime.schema.toml_file import parse_schema
from preptime.validation.derived_restaurants import derive_restaurants

_ORDERS_SECTION = """
[orders]
order_acknowledged_at = "created_at"
restaurant_id = "store_id"
city = "market"
type_of_food = "cuisine"
"""
SCHEMA = parse_schema(_ORDERS_SECTION + '[restaurants]\ntime_zone = "America/Los_Angeles"\n')
ORDERS = pl.DataFrame(
    {
        "store_id": ["007", "007 ", "007", "b", "b", "7", "7.0", "", None],
        "market": ["LA", "SF", "LA", "SF", "LA", None, "", "LA", "LA"],
        "cuisine": ["thai", "thai", None, "pizza", "pizza", "NA", "NA", "thai", "thai"],
    }
)


def _values(index: RestaurantIndex, name: str) -> dict[str, str | None]:
    vocabulary, codes = getattr(index.vocabularies, name), getattr(index, name)
    return {
        index.display_id(row): None if code == UNKNOWN_CODE else vocabulary[code]
        for row, code in enumerate(codes.tolist())
    }


def test_derive_uses_most_frequent_value_of_each_restaurant() -> None:
    audit = derive_restaurants(ORDERS, SCHEMA)
    assert _values(audit.index, "city") == {"007": "LA", "b": "LA", "7": None}, "LA sorts before SF"
    assert _values(audit.index, "type_of_food") == {"007": "thai", "b": "pizza", "7": "NA"}
    assert set(_values(audit.index, "time_zone").values()) == {"America/Los_Angeles"}
    assert set(_values(audit.index, "country").values()) == {None}
    assert audit.messages == (
        "market differs between the orders of 2 of 3 restaurants. The most frequent value is used.",
    )


def test_derive_without_values_of_an_attribute() -> None:
    audit = derive_restaurants(ORDERS.with_columns(market=pl.lit(" "), cuisine=pl.lit(None, pl.String)), SCHEMA)
    assert set(_values(audit.index, "city").values()) == set(_values(audit.index, "type_of_food").values()) == {None}
    assert audit.messages == ()


def test_derive_doesnt_depend_on_row_order() -> None:
    shuffled = derive_restaurants(ORDERS.sample(fraction=1, shuffle=True, seed=3), SCHEMA).index
    index = derive_restaurants(ORDERS, SCHEMA).index
    assert shuffled.vocabularies == index.vocabularies
    for name in ("restaurant_id", "city", "type_of_food", "country", "time_zone"):
        assert getattr(shuffled, name).tolist() == getattr(index, name).tolist()
    assert shuffled.names.texts() == index.names.texts()


def test_derive_takes_time_zone_from_country_of_orders() -> None:
    schema = parse_schema(_ORDERS_SECTION + 'country = "land"\n')
    countries = ["UK", "UK", "France", "USA", "USA", "NA", "NA", "", ""]
    audit = derive_restaurants(ORDERS.with_columns(land=pl.Series(countries)), schema)
    assert _values(audit.index, "time_zone") == {"007": "Europe/London", "7": "Africa/Windhoek"}
    left_out, *differences = audit.messages
    assert left_out == (
        "1 restaurant left out: restaurant 'b': the country 'USA' is unknown or has several time zones."
    )
    assert [note.split()[0] for note in differences] == ["land", "market"]


def test_derive_without_time_zone_raises_with_lines() -> None:
    with pytest.raises(DataError) as caught:
        derive_restaurants(ORDERS, parse_schema(_ORDERS_SECTION))
    assert caught.value.hint.endswith('[restaurants] and time_zone = "America/Los_Angeles".')
    with pytest.raises(DataError, match=r"column store_id is empty"):
        derive_restaurants(ORDERS.with_columns(store_id=pl.lit(" ")), SCHEMA)
    with pytest.raises(DataError, match="The column 'store_id' \\(restaurant_id\\) is missing from the orders"):
        derive_restaurants(ORDERS.rename({"store_id": "shop"}), SCHEMA)


def test_derive_reads_features_of_restaurants() -> None:
    features = (
        '[features]\nseats = { type = "number", of = "restaurant" }\nbrand = { type = "category", of = "restaurant" }\n'
    )
    schema = parse_schema(_ORDERS_SECTION + '[restaurants]\ntime_zone = "UTC"\n' + features)
    rows = ORDERS.with_columns(seats=pl.Series(["40", "40", "50", "", "", "x", "x", "1", "1"]), brand=pl.lit("Ace"))
    audit = derive_restaurants(rows, schema)
    assert audit.index.numbers is not None
    position = next(row for row in range(3) if audit.index.display_id(row) == "007")
    assert audit.index.numbers[position].tolist() == [40.0]
    assert audit.messages[-1] == "seats: 2 of 3 restaurants have no valid number."
    assert audit.index.vocabularies.custom == (("Ace",),)


def test_derive_counts_all_spellings_of_a_boolean_as_one_value() -> None:
    schema = parse_schema(
        _ORDERS_SECTION
        + '[restaurants]\ntime_zone = "UTC"\n[features]\nchain = { type = "category", of = "restaurant" }\n'
    )
    rows = pl.concat([ORDERS.filter(pl.col("store_id") == "b").head(1)] * 7)
    chains = ["True", "TRUE", "true", "other", "other", "", " "]
    audit = derive_restaurants(rows.with_columns(chain=pl.Series(chains)), schema)
    assert audit.index.vocabularies.custom == (("true",),)
    assert audit.messages == (
        "chain differs between the orders of 1 of 1 restaurant. The most frequent value is used.",
    )


def test_derive_typed_identifiers_equal_text() -> None:
    ids = [3, 1, 2, 3, 1, 2, 3, 1, 2]
    typed = derive_restaurants(ORDERS.with_columns(store_id=pl.Series(ids)), SCHEMA).index
    text = derive_restaurants(ORDERS.with_columns(store_id=pl.Series(map(str, ids))), SCHEMA).index
    assert typed.restaurant_id.tolist() == text.restaurant_id.tolist() == [1, 2, 3]
    assert typed.city.tolist() == text.city.tolist()
