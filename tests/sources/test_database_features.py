"""Custom features in databases: types, completion of known rows, and databases that were loaded with another schema."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec
import polars as pl
import pytest

from preptime.errors import DataError
from preptime.schema.schema import Schema
from preptime.schema.toml_file import parse_schema
from preptime.sources.registry import open_database, open_source
from preptime.validation.audit import audit_orders
from tests.sources.loading import load_file, load_rows, prepare_database, stored_restaurants
from tests.sources.test_conformance import DATABASE_FIXTURES


def make_schema(*features: str) -> Schema:
    """Return a schema with orders of an ID and a time, and features."""
    text = """
[orders]
order_id = "id"
order_acknowledged_at = "at"
order_ready_at = "done"
restaurant_id = "store"
[restaurants]
restaurant_id = "store"
time_zone = "UTC"
[features]
"""
    return parse_schema(text + "\n".join(features))


DISTANCE, CHANNEL = 'distance = { column = "km", type = "number" }', 'channel = "category"'
SEATS = 'seats = { type = "number", of = "restaurant" }'
CHAIN = 'chain = { type = "category", of = "restaurant" }'
STORES = pl.DataFrame({"store": ["a", "b"]})


def make_rows(*cells: Mapping[str, str | None]) -> pl.DataFrame:
    """Return orders with an ID and with these cells."""
    first = {"id": "1", "at": "2015-06-01T12:00:00Z", "store": "a"}
    return pl.DataFrame([{**first, **row} for row in cells], infer_schema_length=None)


@pytest.fixture(params=DATABASE_FIXTURES)
def url(request: pytest.FixtureRequest) -> str:
    """The address of an empty database."""
    return str(request.getfixturevalue(DATABASE_FIXTURES[request.param]))


def read_features(url: str, schema: Schema) -> list[tuple[object, ...]]:
    """Return the custom features of the orders."""
    return open_source(url, schema).frame().sort("order_id").select(f.name for f in schema.order_features).rows()


def test_features_are_completed_by_later_loads(url: str) -> None:
    schema = make_schema(DISTANCE, CHANNEL)
    prepare_database(url, STORES, make_schema())
    loads = [
        ({"km": "1.5"}, make_schema(DISTANCE), (1.5, None)),
        ({"km": "", "channel": "app"}, schema, (1.5, "app")),
        ({"km": "2"}, make_schema(DISTANCE), (2.0, "app")),
        ({"done": "2015-06-01T12:10:00Z"}, schema, (2.0, "app")),
        ({"km": "far", "channel": " "}, schema, (2.0, "app")),
    ]
    for cells, load_schema, expected in loads:
        assert load_rows(url, make_rows(cells), schema=load_schema).rows == 1
        if cells.get("channel"):
            assert load_rows(url, make_rows(cells), schema=load_schema).unchanged == 1
        if "channel" in cells or expected[1]:
            assert read_features(url, schema) == [expected]
    assert open_source(url, schema).frame()["order_ready_at"].to_list() == ["2015-06-01T12:10:00Z"]


def test_feature_with_another_type_is_missing(url: str) -> None:
    prepare_database(url, STORES, make_schema())
    rows = make_rows({"id": "1", "km": "near"}, {"id": "2", "km": "7"})
    load_rows(url, rows, schema=make_schema('distance = { column = "km", type = "category" }'))
    assert read_features(url, make_schema(DISTANCE)) == [(None,), (None,)]
    load_rows(url, rows[1:], schema=make_schema(DISTANCE))
    assert read_features(url, make_schema(DISTANCE)) == [(None,), (7.0,)]


def test_undeclared_column_is_not_a_feature(url: str) -> None:
    prepare_database(url, STORES, make_schema())
    load_rows(url, make_rows({"channel": "app"}), schema=make_schema())
    schema = make_schema(CHANNEL)
    frame = open_source(url, schema).frame()
    assert "channel" not in frame.columns
    audited = audit_orders(frame, stored_restaurants(url, make_schema()), need_label=False, schema=schema.canonical())
    assert audited.frame["feature.channel"].to_list() == [""]
    assert open_source(url, make_schema()).frame()["channel"].to_list() == ["app"]


def test_missing_required_feature_raises_with_command(url: str) -> None:
    prepare_database(url, STORES, make_schema())
    load_rows(url, make_rows({}), schema=make_schema())
    required = make_schema('distance = { column = "km", type = "number", required = true }')
    with pytest.raises(DataError, match="has no feature distance, which the schema declares") as raised:
        open_source(url, required)
    assert ": preptime ingest ORDERS --schema FILE --to " in str(raised.value)
    restaurants = open_database(url).restaurants
    with pytest.raises(DataError, match="table=restaurants has no features seats, chain, which") as raised:
        open_source(restaurants, make_schema(SEATS, CHAIN))
    assert "preptime ingest --restaurants RESTAURANTS --schema FILE" in str(raised.value)


def test_restaurants_file_replaces_only_its_features(url: str) -> None:
    both = make_schema(SEATS, CHAIN)
    prepare_database(url, STORES.with_columns(seats=pl.lit("12"), chain=pl.lit("Nord")), both)
    prepare_database(url, STORES.with_columns(seats=pl.Series(["", "30.5"])), make_schema(SEATS))
    frame = open_source(open_database(url).restaurants, both).frame()
    assert frame.select("restaurant_id", "seats", "chain").rows() == [("a", None, "Nord"), ("b", 30.5, "Nord")]
    prepare_database(url, STORES[:1].with_columns(chain=pl.lit("Süd")), make_schema(CHAIN))
    index = stored_restaurants(url, both)
    assert index.vocabularies.custom == (("Nord", "Süd"),)


def test_derived_restaurants_are_only_added(url: str) -> None:
    prepare_database(url, STORES.with_columns(city=pl.lit("York")), make_schema())
    derived = pl.DataFrame({"restaurant_id": ["a", "c"], "city": ["Bath", "Bath"]})
    loaded = open_database(url).load_restaurants(derived, are_derived=True)
    assert (loaded.inserted, loaded.updated, loaded.unchanged) == (1, 0, 1)
    frame = open_source(open_database(url).restaurants, make_schema()).frame()
    assert frame.select("restaurant_id", "city").rows() == [("a", "York"), ("b", "York"), ("c", "Bath")]


def test_restaurant_and_time_identify_orders(database: str, tmp_path: Path) -> None:
    schema = msgspec.structs.replace(make_schema(), orders=make_schema().orders | {})
    del schema.orders["order_id"]
    prepare_database(database, STORES, schema)
    rows = make_rows({}, {"at": "2015-06-01T12:00:01Z"}, {"at": "2015-06-01 12:00:00+00:00"}, {"store": ""})
    rows.drop("id").write_csv(tmp_path / "orders.csv")
    loaded, rejected = load_file(database, tmp_path / "orders.csv", tmp_path / "rejects.csv", schema)
    assert (loaded.inserted, loaded.duplicates, rejected) == (2, 1, 1)
    (reject,) = pl.read_csv(tmp_path / "rejects.csv").rows(named=True)
    assert reject["reject_expected"].endswith("an order_id, or both restaurant and time")


def test_duplicates_in_a_file_are_completed(database: str) -> None:
    prepare_database(database, STORES, make_schema())
    rows = make_rows(
        {"km": "1.5", "channel": "", "note": "first", "other": "kept"},
        {"km": "", "channel": "app", "note": "last", "other": None},
    )
    schema = make_schema(DISTANCE, CHANNEL)
    assert load_rows(database, rows, schema=schema).duplicates == 1
    assert read_features(database, schema) == [(1.5, "app")]
    assert open_source(database, schema).frame().select("note", "other").rows() == [("last", "kept")]
