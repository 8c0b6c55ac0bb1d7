"""`preptime spark state`: the same state, field by field, as on one machine, and the same bundle."""

from __future__ import annotations

import datetime as dt
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from preptime.bundle.bundle import Bundle
from preptime.bundle.champion_log import ChampionLog
from preptime.bundle.store import Store
from preptime.features.feature_set import FeatureSet
from preptime.features.restaurant_index import RestaurantIndex
from preptime.schema.schema import TAKE_HOME_SCHEMA, Schema
from preptime.sources.files import open_files
from preptime.spark.addresses import Address, parse_address, read_rows
from preptime.spark.duplicates import without_duplicates
from preptime.spark.state import count_rows, count_state, stage_rows, with_places
from preptime.spark.state_workers import RowJudge
from preptime.training.history_rows import audit_batch, history_rows
from preptime.training.refresh import stream_history
from preptime.training.saved_state import STATE_FILE, SavedState, encode_restaurants, read_state
from preptime.validation.restaurants import read_restaurants
from tests.cli.run_command import preptime
from tests.scoring.delivery import delivery_frames
from tests.training.factories import june, make_synthetic_data, run_training

AS_OF = dt.date(2015, 7, 16)
"""After 45 days of orders: 17 of them are older than the latest 28 days."""
RESTAURANTS = 40
_FIRST = dt.datetime(2015, 6, 1, 12)


def make_restaurants() -> RestaurantIndex:
    ids = range(1, RESTAURANTS + 1)
    cells = {"country": "UK", "city": "London", "type_of_food": "thai"}
    return read_restaurants(
        pl.DataFrame({"restaurant_id": ids}).with_columns(**{k: pl.lit(v) for k, v in cells.items()})
    )


def make_order(number: int, *, restaurant: int, day: int, **cells: object) -> dict[str, object]:
    time = _FIRST + dt.timedelta(days=day, minutes=number % 400)
    return {
        "order_id": number,
        "order_acknowledged_at": str(time),
        "restaurant_id": restaurant,
        "order_value_gbp": 10 + number % 7 / 4,
        "number_of_items": 1 + number % 5,
        "prep_time_seconds": 300 + 37 * number % 2_000,
    } | cells


def make_files(folder: Path) -> Path:
    """Write four files. Most orders are of restaurant 1, and the last ten restaurants have only old orders."""
    orders = [
        make_order(n, restaurant=1 if n % 5 else 1 + n % RESTAURANTS, day=n % (45 if n % RESTAURANTS < 30 else 21))
        for n in range(1_200)
    ]
    orders[700] |= {"order_value_gbp": None}
    orders[701] |= {"order_acknowledged_at": "garbled"}
    orders[702] |= {"restaurant_id": 999}
    orders[703] |= {"order_acknowledged_at": str(_FIRST + dt.timedelta(days=60))}
    first = orders[720] | {"restaurant_id": 5}  # in the file that is first in the order of folders
    repeated = [
        orders[20],  # in the same file as the first one
        orders[700] | {"order_value_gbp": 10.0},  # the first one can't be used, and counts nevertheless
        orders[702] | {"restaurant_id": 3},  # the first one has an unknown restaurant
    ]
    later = [
        orders[30],  # in another file
        orders[31] | {"restaurant_id": 2},  # of another restaurant
        orders[701] | {"order_acknowledged_at": "2015-06-03 12:00:00"},  # the first one has no time
        orders[703] | {"order_acknowledged_at": "2015-06-04 12:00:00"},  # the first one is after the date
        orders[705] | {"order_id": None},  # without an ID, no order is a duplicate
        orders[705] | {"order_id": None},
        orders[40] | {"order_acknowledged_at": "2015-08-01 12:00:00"},
    ]
    folder.mkdir()
    parts = {"b": [*orders[:300], *repeated[:1]], "b c": orders[300:1_000], "b/z": [first]}
    for name, rows in (parts | {"x": [*repeated[1:], *later, *orders[1_000:]]}).items():
        path = folder / f"{name}.parquet"
        path.parent.mkdir(exist_ok=True)
        pl.DataFrame(rows, infer_schema_length=None).write_parquet(path, row_group_size=100)
    return folder


@pytest.fixture(scope="module")
def orders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_files(tmp_path_factory.mktemp("state") / "orders")


def count(spark: Any, orders: Path | Address, restaurants: RestaurantIndex, folder: Path, **options: Any) -> SavedState:
    address = orders if isinstance(orders, Address) else parse_address(str(orders))
    schema = options.pop("schema", TAKE_HOME_SCHEMA)
    as_of = options.pop("as_of", AS_OF)
    return count_state(spark, address, restaurants, as_of, schema=schema, staging=str(folder / "staged"), **options)


def one_machine(
    orders: Path, restaurants: RestaurantIndex, schema: Schema = TAKE_HOME_SCHEMA, as_of: dt.date = AS_OF
) -> SavedState:
    history = stream_history(open_files(str(orders), schema), restaurants, as_of)
    return SavedState(as_of, schema, restaurants, history.state, history.labels, history.orders)


def assert_same(found: SavedState, expected: SavedState) -> None:
    """Check every field: its type, its shape, and its values. Days are fields, too."""
    pairs = ((found.state, expected.state), (found.labels, expected.labels), (found.orders, expected.orders))
    for part, other in pairs:
        arrays, others = part.arrays(), other.arrays()
        assert arrays.keys() == others.keys()
        assert {name: array.dtype for name, array in arrays.items()} == {n: a.dtype for n, a in others.items()}
        assert [name for name, array in arrays.items() if not np.array_equal(array, others[name])] == []


def test_state_equals_one_machine_for_any_buckets(spark: Any, orders: Path, tmp_path: Path) -> None:
    restaurants = make_restaurants()
    expected = one_machine(orders, restaurants)
    judge = RowJudge(encode_restaurants(restaurants, TAKE_HOME_SCHEMA), TAKE_HOME_SCHEMA, AS_OF)
    address = parse_address(str(orders))
    rows = stage_rows(spark, with_places(read_rows(spark, address), address), judge, str(tmp_path / "rows"))
    kept = without_duplicates(spark, rows, str(tmp_path / "duplicates"), by_file=True)
    for buckets in (1, 4, 16):
        counted = count_rows(kept, restaurants, judge.restaurants, str(tmp_path / f"{buckets}"), buckets)
        assert_same(SavedState(AS_OF, TAKE_HOME_SCHEMA, restaurants, *counted, expected.orders), expected)
    # 1,200 orders, of which four can't be used. Two orders without an ID and two with a usable row are added.
    assert (int(expected.state.orders.sum()), expected.labels.labels) == (1_200 - 4 + 2 + 2, 1_200 - 2 + 2 + 2)
    assert expected.state.orders[4] == 1
    assert expected.state.orders[0] > 20 * expected.state.orders[1:].max()
    days = sorted(expected.state.recent_days)
    assert (len(days), days[-1] - days[0]) == (28, 27)
    assert (expected.state.recent_days[days[-21]][0, 30:].sum(), expected.state.orders[30:].sum()) == (0, 60)


def test_state_doesnt_depend_on_batches_and_tasks(spark: Any, orders: Path, tmp_path: Path) -> None:
    restaurants = make_restaurants()
    name = "spark.sql.execution.arrow.maxRecordsPerBatch"
    rows = spark.conf.get(name)
    try:
        spark.conf.set(name, "7")
        assert_same(count(spark, orders, restaurants, tmp_path, buckets=4), one_machine(orders, restaurants))
    finally:
        spark.conf.set(name, rows)


def test_state_with_any_names_equals_one_machine(spark: Any, orders: Path, tmp_path: Path) -> None:
    """Of columns, folders, and partitions."""
    folder = tmp_path / "in [x]" / "orders {1,2}"
    for number, path in enumerate(sorted(orders.rglob("*.parquet"))):
        (folder / f"h=12%3A0{number}").mkdir(parents=True)
        part = pl.read_parquet(path).with_columns(pl.lit(1).alias("a.b"))
        part.write_parquet(folder / f"h=12%3A0{number}" / "part [0].parquet")
    restaurants = make_restaurants()
    assert_same(count(spark, folder, restaurants, tmp_path / "out [x]"), one_machine(folder, restaurants))


def test_state_of_table_counts_smallest_repeated_row(spark: Any, tmp_path: Path) -> None:
    """A table has no order of rows, so the first row is the earliest one. Equal rows count once."""
    late, early = make_order(7, restaurant=2, day=9), make_order(7, restaurant=1, day=3)
    rows = [late, early, late, *(make_order(n, restaurant=3, day=1) for n in (1, 2, 2))]
    pl.DataFrame(rows).write_parquet(tmp_path / "orders.parquet")
    spark.read.parquet(str(tmp_path / "orders.parquet")).createOrReplaceTempView("orders_of_state")
    found = count(spark, Address("table", "orders_of_state"), make_restaurants(), tmp_path)
    assert found.state.orders[:3].tolist() == [1, 0, 2]


def test_state_with_custom_categories(spark: Any, custom_bundle: Bundle, tmp_path: Path) -> None:
    manifest, (rows, places) = custom_bundle.manifest, delivery_frames()[:2]
    (tmp_path / "orders").mkdir()
    for number, part in enumerate(rows.iter_slices(200)):
        part.write_parquet(tmp_path / "orders" / f"{number}.parquet")
    own = read_restaurants(places, manifest.schema)
    restaurants = own.with_custom_features(manifest.vocabularies, FeatureSet.from_schema(manifest.schema))
    expected = one_machine(tmp_path / "orders", restaurants, manifest.schema)
    found = count(spark, tmp_path / "orders", restaurants, tmp_path, schema=manifest.schema, buckets=3)
    assert expected.state.category_orders.sum() > 0
    assert_same(found, expected)


def test_history_rows_of_no_rows_have_the_same_types() -> None:
    """Spark needs the types before the first row."""
    rows = pl.DataFrame([make_order(1, restaurant=1, day=1)]).with_columns(_file=pl.lit("a"), _row=pl.lit(0))
    restaurants = make_restaurants()
    audited = [audit_batch(part, restaurants, TAKE_HOME_SCHEMA) for part in (rows, rows.clear())]
    found = [history_rows(part, restaurants, AS_OF).schema for part in audited]
    assert found[0] == found[1]


def test_refresh_from_state_publishes_same_bundle(spark: Any, tmp_path: Path) -> None:
    data = make_synthetic_data()
    (tmp_path / "orders").mkdir()
    for number, part in enumerate((data.orders[:1_500], pl.concat([data.orders[1_400:], data.orders[5:8]]))):
        part.write_parquet(tmp_path / "orders" / f"{number}.parquet")
    data.restaurants.write_csv(tmp_path / "restaurants.csv")
    run_training(data, june(13), Store.open(str(tmp_path / "one")))
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    inputs = ("--orders", tmp_path / "orders", "--restaurants", tmp_path / "restaurants.csv", "--date", "2015-06-15")
    preptime("refresh", *inputs, "--store", tmp_path / "one").succeeded()
    out = ("--store", tmp_path / "two", "--out", tmp_path / "state")
    preptime("spark", "state", *inputs, *out).succeeded()
    assert not list((tmp_path / "state").glob("run-*/staged"))
    preptime("refresh", "--state", tmp_path / "state", *inputs[-2:], "--store", tmp_path / "two").succeeded()
    bundles = [ChampionLog(Store.open(str(tmp_path / name))).current() for name in ("one", "two")]
    assert bundles[0] is not None
    assert bundles[1] is not None
    assert bundles[0].bundle == bundles[1].bundle
    # A damaged file is refused, and the previous state and its document stay.
    before = (tmp_path / "state" / STATE_FILE).read_bytes()
    damaged = tmp_path / "orders" / "1.parquet"
    damaged.write_bytes(damaged.read_bytes()[:-20])
    failed = preptime("spark", "state", *inputs, *out)
    assert (failed.status, "1.parquet is a damaged Parquet file" in failed.err) == (1, True)
    assert (tmp_path / "state" / STATE_FILE).read_bytes() == before
    assert read_state(str(tmp_path / "state")).date == june(15)
    assert len(list((tmp_path / "state").glob("run-*"))) == 1
