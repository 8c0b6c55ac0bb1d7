"""Tests that every kind of data source must pass. To add a kind, add it to `KINDS` or `DATABASE_FIXTURES`."""

from __future__ import annotations

import datetime as dt
import gzip
import itertools
from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest

from preptime.domain.data_dictionary import FILE_COLUMN, READER_COLUMNS, ROW_COLUMN
from preptime.errors import DataError
from preptime.schema.schema import TAKE_HOME_SCHEMA, RestaurantColumns, Schema
from preptime.schema.toml_file import parse_schema
from preptime.sources.database import NoStorableRowsError
from preptime.sources.registry import is_database, open_database, open_prediction_store, open_source
from preptime.sources.source import DataSource
from preptime.validation.audit import audit_orders
from preptime.validation.restaurants import read_restaurants
from tests.sources.loading import load_rows, prepare_database, stored_restaurants
from tests.validation.factories import RESTAURANTS, make_month, make_order, make_orders, make_restaurant_index


def _sort_as_database(rows: pl.DataFrame) -> pl.DataFrame:
    """Sort by day and time, as a database does."""
    return rows[audit_orders(rows, make_restaurant_index(), need_label=False).frame["acknowledged_utc"].arg_sort()]


ROWS = _sort_as_database(make_month(days=5, per_day=50)).with_columns(
    note=pl.lit("kept, unchanged"), order_id=pl.int_range(pl.len()) + 1
)


COMPANY_SCHEMA = parse_schema("""
[source]
decimal = ","
[orders]
order_id = "Bestellung"
order_acknowledged_at = { column = "Angenommen", format = "%d.%m.%Y %H:%M:%S", time_zone = "UTC" }
order_ready_at = { column = "Fertig", format = "%d.%m.%Y %H:%M:%S" }
order_value = { column = "Betrag", unit = "cents", currency = "EUR" }
restaurant_id = "Filiale"
[restaurants]
restaurant_id = "Filiale"
time_zone = "Europe/Berlin"
[features]
distance = { column = "Entfernung", type = "number", range = [0, 20] }
channel = { column = "city", type = "category" }
seats = { column = "Plätze", type = "number", of = "restaurant" }
chain = { column = "Kette", type = "category", of = "restaurant" }
""")
"""Other formats and units, text identifiers, and custom features of both kinds."""
COMPANY_ROWS = pl.DataFrame(
    {
        "Bestellung": [f"B-{number:02}" for number in range(8)],
        "Angenommen": ["01.06.2015 16:30:00"] + [f"01.06.2015 17:{minute}:00" for minute in range(10, 17)],
        "Fertig": ["01.06.2015 18:45:30", None] + [f"01.06.2015 19:{minute}:09" for minute in range(30, 36)],
        "Betrag": ["2140", "0", "1999,5", "-1", "5", "6", "7", "8"],
        "Filiale": ["007", "Café ☕", "7", "unknown", "007", "007", "7", "7"],
        "Entfernung": ["1,5", None, "0,1", "25", "1e3", "0,30000000000000004", "-0", ""],
        "city": ["app", 'say "web":null,', None, "", " app ", "{}", "null", "web"],
        "distance": ["far", None, "near", "x", "x", "x", "x", "x"],
    }
)
"""Custom features include missing numbers and numbers outside the range, and texts that look like JSON."""
COMPANY_RESTAURANTS = pl.DataFrame(
    {
        "Filiale": ["007", "Café ☕", "7"],
        "Plätze": ["12,5", None, "40"],
        "Kette": ["Nord", "", "Süd"],
    }
)


def _write_csv(folder: Path, rows: pl.DataFrame) -> str:
    rows.write_csv(folder / "orders.csv")
    return str(folder / "orders.csv")


def _write_parquet(folder: Path, rows: pl.DataFrame) -> str:
    rows.write_parquet(folder / "orders.parquet", row_group_size=40)
    return str(folder / "orders.parquet")


def _write_partitions(folder: Path, rows: pl.DataFrame, suffix: str) -> list[Path]:
    cuts = (0, len(rows) // 3, len(rows) // 2, len(rows))
    paths = []
    for index, (start, end) in enumerate(itertools.pairwise(cuts)):
        path = folder / f"day-{index}" / f"part.{suffix}"
        path.parent.mkdir()
        part = rows[start:end]
        part.write_csv(path) if suffix == "csv" else part.write_parquet(path)
        paths.append(path)
    return paths


def _csv_glob(folder: Path, rows: pl.DataFrame) -> str:
    _write_partitions(folder, rows, "csv")
    return str(folder / "day-*" / "*.csv")


def _parquet_glob(folder: Path, rows: pl.DataFrame) -> str:
    _write_partitions(folder, rows, "parquet")
    return str(folder / "**" / "*.parquet")


def _parquet_folder(folder: Path, rows: pl.DataFrame) -> str:
    _write_partitions(folder, rows, "parquet")
    (folder / "_SUCCESS").touch()
    (folder / ".part.parquet.tmp").touch()
    return str(folder)


def _csv_of_a_spreadsheet(folder: Path, rows: pl.DataFrame) -> str:
    content = rows.write_csv(separator=";", line_terminator="\r\n", quote_style="always", include_bom=True)
    mark, content = content[:1], content[1:]
    (folder / "orders.csv").write_bytes(f"{mark}sep=;\r\n{content}".encode())
    return str(folder / "orders.csv")


def _folder_of_gzip(folder: Path, rows: pl.DataFrame) -> str:
    for path in _write_partitions(folder, rows, "csv"):
        path.with_name("part.csv.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.write_bytes(b"")
    return str(folder)


def _file_url(folder: Path, rows: pl.DataFrame) -> str:
    return f"file://{_write_csv(folder, rows)}"


def _load_database(url: str, folder: Path, rows: pl.DataFrame) -> str:
    if "Bestellung" in rows.columns:
        prepare_database(url, COMPANY_RESTAURANTS, COMPANY_SCHEMA)
        load_rows(url, rows, "parquet", COMPANY_SCHEMA)
        return url
    prepare_database(url)
    if len(rows):
        load_rows(url, rows, "parquet")
    return url


Kind = Callable[[Path, pl.DataFrame], str]
KINDS: dict[str, Kind] = {
    "csv": _write_csv,
    "parquet": _write_parquet,
    "glob of csv": _csv_glob,
    "glob of parquet": _parquet_glob,
    "folder of parquet": _parquet_folder,
    "csv of a spreadsheet": _csv_of_a_spreadsheet,
    "folder of csv.gz": _folder_of_gzip,
    "file url": _file_url,
}
DATABASE_FIXTURES = {"postgres": "database", "fake bigquery": "dataset"}
"""Databases, each with the fixture that returns the address of an empty one."""


@pytest.fixture(params=[*KINDS, *DATABASE_FIXTURES])
def kind(request: pytest.FixtureRequest) -> Kind:
    if request.param in KINDS:
        return KINDS[request.param]
    return partial(_load_database, request.getfixturevalue(DATABASE_FIXTURES[request.param]))


@pytest.fixture
def source(kind: Kind, tmp_path: Path) -> DataSource:
    return open_source(kind(tmp_path, ROWS))


def _texts(rows: pl.DataFrame) -> list[tuple[object, ...]]:
    """Return the rows as text, without reader columns."""
    data = rows.select(name for name in rows.columns if name not in READER_COLUMNS)
    return data.with_columns(pl.col(pl.Datetime).dt.strftime("%Y-%m-%dT%H:%M:%S%.6f")).cast(pl.String).rows()


def test_frame_has_all_rows_and_columns_in_order(source: DataSource) -> None:
    frame = source.frame()
    columns = {TAKE_HOME_SCHEMA.orders[name].column: mapping.column for name, mapping in source.schema.orders.items()}
    columns = {old: new for old, new in columns.items() if old in ROWS.columns}
    assert source.columns == tuple(ROWS.rename(columns).columns), "canonical in a database"
    assert _texts(frame) == _texts(ROWS.rename(columns))


def test_frame_has_file_and_row_of_each_row(source: DataSource) -> None:
    frame = source.frame()
    for (file,), rows in frame.group_by([FILE_COLUMN], maintain_order=True):
        assert rows[ROW_COLUMN].to_list() == list(range(1, len(rows) + 1))
        assert open_source(str(file)).frame().height == len(rows)


@pytest.mark.parametrize("rows", [1_000_000, 97, 7])
def test_batches_are_bounded_and_equal_the_frame(source: DataSource, rows: int) -> None:
    batches = list(source.batches(rows))
    assert all(0 < len(batch) <= rows for batch in batches)
    assert pl.concat(batches).equals(source.frame())


def test_partitions_together_equal_the_source(source: DataSource) -> None:
    frames = [partition.frame() for partition in source.partitions()]
    assert [row for frame in frames for row in _texts(frame)] == _texts(ROWS)
    assert all(partition.columns == source.columns for partition in source.partitions())


def test_frame_twice_returns_the_same(source: DataSource) -> None:
    assert source.frame().equals(source.frame())


def test_source_and_partitions_have_the_schema(kind: Kind, tmp_path: Path) -> None:
    schema = msgspec.structs.replace(TAKE_HOME_SCHEMA, restaurants=RestaurantColumns(time_zone="Europe/London"))
    location = kind(tmp_path, ROWS)
    source = open_source(location, schema)
    assert source.schema == (schema.canonical() if is_database(location) else schema)
    assert {part.schema == source.schema for part in source.partitions()} == {True}


def test_audit_of_every_kind_is_equal(source: DataSource) -> None:
    expected = audit_orders(ROWS, make_restaurant_index(), need_label=True).frame.drop("order_id")
    assert (
        audit_orders(source.frame(), make_restaurant_index(), need_label=True, schema=source.schema)
        .frame.drop("order_id", ROW_COLUMN, FILE_COLUMN)
        .equals(expected)
    )


def test_company_rows_of_every_kind_are_equal(kind: Kind, tmp_path: Path) -> None:
    restaurants = read_restaurants(COMPANY_RESTAURANTS, COMPANY_SCHEMA)
    expected = audit_orders(COMPANY_ROWS, restaurants, need_label=True, schema=COMPANY_SCHEMA).frame
    assert expected["feature.distance"].null_count() == 4
    location = kind(tmp_path, COMPANY_ROWS)
    source = open_source(location, COMPANY_SCHEMA)
    if is_database(location):
        restaurants = stored_restaurants(location, COMPANY_SCHEMA)
        rows = source.frame()
        assert rows.schema["distance"] == pl.Float64
        assert rows["distance"].to_list() == [1.5, None, 0.1, 25, 1000, 0.30000000000000004, 0, None]
        assert rows["distance_other"].to_list() == COMPANY_ROWS["distance"].to_list()
    audited = audit_orders(source.frame(), restaurants, need_label=True, schema=source.schema).frame
    differing = [name for name in expected.columns if not audited[name].equals(expected[name])]
    assert differing == []
    assert restaurants.numbers is not None
    seats = {restaurants.display_id(row): restaurants.numbers[row, 0] for row in range(3)}
    assert {name: seat for name, seat in seats.items() if not np.isnan(seat)} == {"007": 12.5, "7": 40.0}
    assert restaurants.vocabularies.custom == ((), ("Nord", "Süd"))


def test_source_without_rows_raises(kind: Kind, tmp_path: Path) -> None:
    source = open_source(kind(tmp_path, ROWS[:0]))
    with pytest.raises(DataError, match="no rows"):
        source.frame()
    with pytest.raises(DataError, match="no rows"):
        list(source.batches(10))


@pytest.fixture(params=DATABASE_FIXTURES.values())
def empty_database(request: pytest.FixtureRequest) -> str:
    """The address of an empty database with the restaurants, of each kind."""
    return prepare_database(request.getfixturevalue(request.param))


LATE_SCHEMAS = {
    "ISO": TAKE_HOME_SCHEMA,
    "format": parse_schema("""
[orders]
order_id = "order_id"
order_acknowledged_at = "order_acknowledged_at"
order_ready_at = { column = "order_ready_at", format = "%Y-%m-%d %H:%M:%S.%f%z" }
order_value = "order_value_gbp"
restaurant_id = "restaurant_id"
number_of_items = "number_of_items"
prep_time = "prep_time_seconds"
country = "country"
city = "city"
type_of_food = "type_of_food"
"""),
}


@pytest.mark.parametrize("schema", LATE_SCHEMAS.values(), ids=LATE_SCHEMAS)
def test_load_missing_cells_erase_nothing(empty_database: str, schema: Schema) -> None:
    names = {"country": "UK", "city": "NA", "type_of_food": "null"}
    known = make_order(order_id="A", **names)
    load_rows(empty_database, make_orders(known), schema=schema)
    stored = open_source(empty_database).frame()
    assert stored.select(*names).row(0, named=True) == names, "NA and null can be names"
    for missing in ("NULL", "NaN", " ", " N/A ", "<NA>", "NaT", "none", ""):
        outcomes = {"order_ready_at": missing, "prep_time_seconds": missing}
        again = known | outcomes | dict.fromkeys(names, "  ")
        loaded = load_rows(empty_database, make_orders(again, again), schema=schema)
        assert (loaded.updated, loaded.unchanged, loaded.duplicates) == (0, 1, 1), repr(missing)
        load_rows(empty_database, make_orders(again | {"order_id": f"B{missing}"}), schema=schema)
    assert open_source(empty_database).frame().filter(order_id="A").equals(stored)
    others = open_source(empty_database).frame().filter(pl.col("order_id") != "A")
    assert others.select("order_ready_at", "prep_time_seconds", *names).null_count().row(0) == (len(others),) * 5


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_load_float_order_ids_equal_the_integers(empty_database: str, suffix: str) -> None:
    ids = pl.int_range(1, 4).alias("order_id")
    early = make_orders(*[make_order(order_ready_at=None, prep_time_seconds=None)] * 3).with_columns(ids)
    load_rows(empty_database, early.with_columns(pl.col("order_id").cast(pl.Float64)), suffix)
    assert open_source(empty_database).frame()["order_id"].to_list() == ["1", "2", "3"]
    loaded = load_rows(empty_database, make_orders(*[make_order()] * 3).with_columns(ids), suffix)
    assert (loaded.inserted, loaded.updated) == (0, 3)


def test_load_column_without_a_name_is_kept(empty_database: str) -> None:
    """The index that pandas writes has no name. Another column can have the name that Polars would choose."""
    extra = {"": ["0", "1"], "column_0": ["a", "b"]}
    rows = make_orders(make_order(order_id="A"), make_order(order_id="B"))
    load_rows(empty_database, pl.concat([pl.DataFrame(extra), rows], how="horizontal"))
    assert open_source(empty_database).frame().sort("order_id").select(*extra).to_dict(as_series=False) == extra
    prepare_database(empty_database, RESTAURANTS.select(pl.lit("0").alias(""), pl.lit("a").alias("column_0"), pl.all()))
    restaurants = open_source(open_database(empty_database).restaurants).frame()
    assert restaurants.select(*extra).unique().rows() == [("0", "a")]
    keyed = pl.DataFrame({"order_key": ["A", "B"]} | extra)
    predictions = open_prediction_store(empty_database)
    predictions.write(dt.date(2015, 6, 1), "b1", keyed)
    assert predictions.read(dt.date(2015, 6, 1)).select(*extra).to_dict(as_series=False) == extra


def test_load_restaurants_with_nul_replaces_it(empty_database: str) -> None:
    """Restaurants can be derived from an order that is rejected because of the character."""
    prepare_database(empty_database, RESTAURANTS.with_columns(city=pl.lit("x\0"), note=pl.lit("y\0")))
    restaurants = open_source(open_database(empty_database).restaurants).frame()
    assert restaurants.select("city", "note").unique().rows() == [("x\ufffd", "y\ufffd")]


def test_load_rejects_a_date_without_clock_time(empty_database: str) -> None:
    rows = make_orders(make_order(order_id="A")).with_columns(order_ready_at=pl.date(2015, 6, 2))
    with pytest.raises(NoStorableRowsError):
        load_rows(empty_database, rows, "parquet")
