"""Tests of BigQuery with the real client and a fake service: statements, pages, types, and errors."""

from __future__ import annotations

import datetime as dt
import inspect
from dataclasses import replace
from types import SimpleNamespace
from typing import Self

import polars as pl
import psycopg
import pytest
import sqlglot
from sqlglot import exp

from preptime.errors import DataError, OperationError, PreptimeError, UsageError
from preptime.sources.bigquery import statements, tables
from preptime.sources.bigquery.client import EMULATOR_VARIABLE, BigQueryAddress, open_client
from preptime.sources.registry import open_database, open_prediction_store, open_source
from preptime.sources.source import batches_for_dates
from preptime.validation.audit import audit_orders
from preptime.validation.restaurants import read_restaurants
from tests.sources.bigquery.fake_bigquery import FakeBigQuery
from tests.sources.loading import STORED_SCHEMA, load_rows, prepare_database
from tests.validation.factories import make_month, make_order, make_orders, make_restaurant_index

ADDRESS = BigQueryAddress.parse("bigquery://our-project.food?location=EU")
STATEMENTS = {
    **{f"create {name}": text for name, text in statements.table_definitions(ADDRESS).items()},
    "rename": statements.rename_recorded_column(ADDRESS),
    "upgrade": statements.upgrade_table(ADDRESS, "orders"),
    "columns": statements.select_column_names(ADDRESS),
    "add columns": statements.insert_column_names(ADDRESS, 3),
    "days": statements.select_days(ADDRESS, "orders", "order_date"),
    "restaurants": statements.select_restaurants(ADDRESS, ["restaurant_id", "city"]),
    "orders": statements.select_orders(ADDRESS, ["order_acknowledged_at", "extra"]),
    "merge orders": statements.merge_orders(ADDRESS, "staging_1", ["distance_km"]),
    "merge restaurants": statements.merge_restaurants(
        ADDRESS, "staging_1", ["restaurant_id", "features", "extra"], ["seats"], replace=True
    ),
    "duplicates": statements.count_duplicates(ADDRESS, "staging_1"),
    "replace predictions": statements.replace_predictions(ADDRESS, "staging_1"),
    "predictions": statements.select_predictions(ADDRESS, for_bundle=True),
    "log": statements.select_log_entries(replace(ADDRESS, table="run_googleapis_com_stdout")),
}


@pytest.mark.parametrize("name", STATEMENTS)
def test_statement_is_valid_and_names_only_own_tables(name: str) -> None:
    tree = sqlglot.parse_one(STATEMENTS[name], read="bigquery", error_level=sqlglot.ErrorLevel.RAISE)
    tables = [table for table in tree.find_all(exp.Table) if table.db]
    assert tables
    assert {(table.catalog, table.db) for table in tables} == {("our-project", "food")}


def test_every_statement_function_is_tested() -> None:
    functions = [
        member
        for member in vars(statements).values()
        if inspect.isfunction(member) and member.__module__ == statements.__name__
    ]
    public = [
        function
        for function in functions
        if not function.__name__.startswith("_") and function is not statements.bigquery_type
    ]
    assert len(public) == len(STATEMENTS) - len(statements.table_definitions(ADDRESS)) + 1


def test_select_orders_filters_by_partition_column() -> None:
    tree = sqlglot.parse_one(STATEMENTS["orders"], read="bigquery")
    where = tree.args["where"].this
    assert isinstance(where, exp.EQ)
    assert where.this.name == "order_date"
    assert "PARTITION BY order_date" in STATEMENTS["create orders"]


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("bigquery://food", "doesn't have a project and a dataset"),
        ("bigquery://our-project.food/orders", "doesn't have a project and a dataset"),
        ("bigquery://our-project.food`; DROP", "doesn't have a project and a dataset"),
        ("bigquery://our-project.food?tabel=orders", "tabel isn't a parameter"),
        ("bigquery://our-project.food?table=order", "There is no table=order"),
        ("bigquery://our-project.food?table=predictions", "Predictions can't be read"),
    ],
)
def test_open_source_invalid_address_raises(url: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        open_source(url)


def test_address_name_is_equivalent() -> None:
    for query in ("", "?table=restaurants", "?day=2015-06-24", "?day=2015-06-01..2015-06-07&location=EU"):
        address = BigQueryAddress.parse(f"bigquery://our-project.food{query}")
        assert BigQueryAddress.parse(address.name) == address


def test_batches_read_all_pages(dataset: str, fake: FakeBigQuery) -> None:
    rows = make_month(days=2, per_day=60)
    load_rows(prepare_database(dataset), rows)
    fake.page_rows = 7
    fake.pages.clear()
    assert len(open_source(dataset).frame()) == len(rows)
    assert max(fake.pages) == 7
    fake.page_rows = 1_000_000
    fake.pages.clear()
    list(open_source(dataset).batches(20))
    assert max(fake.pages) == 20


def test_load_every_type_round_trips(dataset: str) -> None:
    rows = make_orders(
        make_order(order_id="1", order_value_gbp="0.1", open_orders="3", note='a "quoted" ☕', city=""),
        make_order(order_id="2", order_value_gbp="inf", restaurant_id=str(2**62 + 1), number_of_items=None, note=None),
        make_order(order_id="3", order_ready_at=None, prep_time_seconds=None, order_value_gbp="-1e-300"),
    )
    load_rows(prepare_database(dataset), rows)
    back = open_source(dataset).frame().sort("order_id")
    assert back["order_value"].to_list() == [0.1, float("inf"), -1e-300]
    assert back["restaurant_id"].to_list() == ["10", str(2**62 + 1), "10"]
    assert back["number_of_items"].to_list() == [3, None, 3]
    assert back["note"].to_list() == ['a "quoted" ☕', None, None]
    assert back.schema["open_orders"] == pl.Int64
    reasons = audit_orders(rows, make_restaurant_index(), need_label=True).reasons.tolist()
    assert (
        audit_orders(back, make_restaurant_index(), need_label=True, schema=STORED_SCHEMA).reasons.tolist() == reasons
    )


def test_load_repeated_hour_round_trips(dataset: str) -> None:
    timestamps = [
        "2015-10-25 01:30:00+01:00",
        "2015-10-25 01:30:00+00:00",
        "2015-10-25T01:30:00Z",
        "2015-10-25 01:30:00",
    ]
    rows = make_orders(
        *(make_order(order_id=str(n), order_acknowledged_at=timestamp) for n, timestamp in enumerate(timestamps))
    )
    load_rows(prepare_database(dataset), rows)
    back = open_source(dataset).frame().sort("order_id")
    assert back["order_acknowledged_at"].to_list() == timestamps
    names = ["acknowledged_local", "acknowledged_utc"]
    expected = audit_orders(rows, make_restaurant_index(), need_label=False).frame.select(names)
    assert (
        audit_orders(back, make_restaurant_index(), need_label=False, schema=STORED_SCHEMA)
        .frame.select(names)
        .equals(expected)
    )


def test_load_repeatedly_keeps_one_row_per_order(dataset: str) -> None:
    rows = make_month(days=2, per_day=20)
    known = rows.drop("order_ready_at", "prep_time_seconds")
    prepare_database(dataset)
    results = [load_rows(dataset, frame) for frame in (known, rows, rows, known, pl.concat([rows, rows]))]
    assert [(result.inserted, result.updated, result.unchanged, result.duplicates) for result in results] == [
        (len(rows), 0, 0, 0),
        (0, len(rows), 0, 0),
        (0, 0, len(rows), 0),
        (0, 0, len(rows), 0),
        (0, 0, len(rows), len(rows)),
    ]
    assert open_source(dataset).frame()["prep_time_seconds"].null_count() == 0


def test_load_restaurants_replaces_only_given_columns(dataset: str) -> None:
    prepare_database(dataset)
    changed = pl.DataFrame({"restaurant_id": ["10", "50"], "city": ["York", "Bath"]})
    loaded = open_database(dataset).load_restaurants(changed)
    assert (loaded.inserted, loaded.updated, loaded.unchanged) == (1, 1, 0)
    frame = open_source(f"{dataset}?table=restaurants").frame()
    assert frame.filter(restaurant_id="10").select("country", "city").row(0) == ("UK", "York")


def test_batches_for_dates_reads_only_these_days(dataset: str, fake: FakeBigQuery) -> None:
    load_rows(prepare_database(dataset), make_month(days=3, per_day=20))
    fake.statements.clear()
    chunks = list(batches_for_dates(open_source(dataset), dt.date(2015, 6, 2), dt.date(2015, 6, 2), 1000))
    assert len(chunks) == 1
    assert sum("@day" in text for text in fake.statements) == 1
    assert list(batches_for_dates(open_source(dataset), dt.date(2015, 7, 2), dt.date(2015, 7, 2), 1000)) == []


@pytest.mark.parametrize("clock_error", [dt.timedelta(days=-1), dt.timedelta(days=1)])
def test_rows_are_read_as_of_the_time_of_the_server(
    clock_error: dt.timedelta, dataset: str, fake: FakeBigQuery, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = make_month(days=2, per_day=20)
    load_rows(prepare_database(dataset), rows)
    source, loaded_at = open_source(dataset), dt.datetime.now(dt.UTC)

    class WrongClock(dt.datetime):
        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> Self:
            return cls.fromtimestamp((dt.datetime.now(tz) + clock_error).timestamp(), tz)

    clock = SimpleNamespace(datetime=WrongClock, date=dt.date, timedelta=dt.timedelta, UTC=dt.UTC)
    fake.snapshot_times.clear()
    with monkeypatch.context() as patch:
        patch.setattr(tables, "dt", clock)
        assert len(source.frame()) == len(rows)
    first, second = fake.snapshot_times
    assert first == second >= loaded_at


def test_write_predictions_replaces_date_and_bundle(dataset: str) -> None:
    prepare_database(dataset)
    predictions, day = open_prediction_store(dataset), dt.date(2015, 6, 1)
    frame = pl.DataFrame(
        {
            "order_key": ["a", "b", "c"],
            "predicted_seconds": pl.Series([600.5, 0.1, None], dtype=pl.Float32),
            "predicted_rf_seconds": pl.Series([1.25, 2, 3], dtype=pl.Float32),
            "prediction_reason": [None, None, "missing_value"],
        }
    )
    for bundle in ("b1", "b2", "b1"):
        assert predictions.write(day, bundle, frame) == 3
    assert predictions.write(day, "b1", frame[:2]) == 2
    back = predictions.read(day, "b1")
    assert back.select(frame.columns).equals(frame[:2])
    assert len(predictions.read(day)) == 5
    assert predictions.days() == [day]


def _open_error(kind: type[PreptimeError], url: str) -> str:
    with pytest.raises(kind) as caught:
        open_source(url)
    return str(caught.value)


def test_open_source_without_tables_raises_with_command(dataset: str) -> None:
    message = _open_error(DataError, dataset)
    assert "preptime ingest ORDERS --restaurants RESTAURANTS --to bigquery://our-project.food" in message


@pytest.mark.parametrize(
    ("response", "kind", "message"),
    [
        ((403, "accessDenied", "Access Denied: Dataset our-project:food"), UsageError, "For the required roles"),
        ((400, "invalidQuery", "Could not serialize access to table"), OperationError, "by another process"),
        ((400, "invalidQuery", "Syntax error"), OperationError, "couldn't be used"),
    ],
)
def test_open_source_service_error_is_translated(
    response: tuple[int, str, str], kind: type[PreptimeError], message: str, dataset: str, fake: FakeBigQuery
) -> None:
    prepare_database(dataset)
    fake.fail.append(response)
    assert message in _open_error(kind, dataset)


def test_load_error_leaves_no_staging_table(dataset: str, fake: FakeBigQuery) -> None:
    prepare_database(dataset)
    rows = make_month(days=1, per_day=20)
    fake.fail += [(400, "invalid", "Parquet column is odd")]
    with pytest.raises(OperationError, match="Parquet column is odd"):
        load_rows(dataset, rows)
    assert not [name for name in _table_names(fake) if name.startswith("staging_")]
    with pytest.raises(DataError, match="has no rows"):
        open_source(dataset).frame()


def test_concurrent_first_loads_record_names_once(dataset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    open_database(dataset).prepare()
    with open_client(ADDRESS) as client:
        with monkeypatch.context() as patch:
            patch.setattr(tables, "read_column_names", lambda *_: ())  # both loads read before the other one writes
            tables.record_column_names(client, ADDRESS, "orders", ["order_id", "note"])
            tables.record_column_names(client, ADDRESS, "orders", ["order_id", "note", "city"])
        rows = tables.query_frame(
            client, "SELECT column_name FROM `our-project.food.columns`", {}, pl.Schema({"column_name": pl.String()})
        )
        assert sorted(rows["column_name"]) == ["city", "note", "order_id"]
        assert tables.read_column_names(client, ADDRESS, "orders") == ("order_id", "note", "city")


def test_source_with_names_recorded_twice_is_readable(dataset: str, database: str) -> None:
    rows = make_month(days=1, per_day=20)
    load_rows(prepare_database(dataset), rows)
    columns = open_source(dataset).columns
    with psycopg.connect(database) as connection:
        connection.execute("INSERT INTO food.columns SELECT * FROM food.columns")
    source = open_source(dataset)
    assert source.columns == columns
    assert len(source.frame()) == len(rows)


def _table_names(fake: FakeBigQuery) -> list[str]:
    tables = fake.tables("food")["tables"]
    assert isinstance(tables, list)
    return [str(table["tableReference"]["tableId"]) for table in tables]


def test_open_source_without_credentials_raises_with_command(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.delenv(EMULATOR_VARIABLE, raising=False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", f"{tmp_path}/none.json")
    assert "gcloud auth application-default login" in _open_error(UsageError, "bigquery://our-project.food")


def _create_old_tables(dataset: str, database: str, rows: pl.DataFrame) -> None:
    """Load rows, and convert the tables to those of the version with integer identifiers."""
    load_rows(prepare_database(dataset), rows)
    open_prediction_store(dataset).write(
        dt.date(2015, 6, 1), "b", rows.head(1).with_columns(order_key=pl.lit("1"), order_value=pl.lit(21.4))
    )
    with psycopg.connect(database) as connection:
        for table in ("orders", "predictions"):
            connection.execute(f"ALTER TABLE food.{table} RENAME COLUMN order_value TO order_value_gbp".encode())
        for table in ("orders", "predictions", "restaurants"):
            connection.execute(
                f"ALTER TABLE food.{table} ALTER restaurant_id TYPE bigint USING restaurant_id::bigint".encode()
            )
        connection.execute("UPDATE food.orders SET extra = '{\"order_value\":\"x\"}' WHERE order_key = '1'")
        connection.execute("UPDATE food.columns SET column_name = 'order_value_gbp' WHERE column_name = 'order_value'")
        connection.execute("INSERT INTO food.columns VALUES ('orders', 99, 'order_value')")


def test_prepare_upgrades_old_tables_without_loss(dataset: str, database: str, fake: FakeBigQuery) -> None:
    rows = make_orders(make_order(order_id="1"), make_order(order_id="2", restaurant_id=str(2**62 + 1)))
    _create_old_tables(dataset, database, rows)
    with pytest.raises(DataError, match=r"older version of preptime. To upgrade it, run: preptime ingest --to "):
        open_source(dataset)
    fake.fail = [(400, "invalidQuery", "stopped")]
    with pytest.raises(OperationError):
        open_database(dataset).prepare()
    assert open_database(dataset).prepare() == ("restaurants", "orders", "predictions")
    assert open_database(dataset).prepare() == ()
    back = open_source(dataset).frame().sort("order_id")
    assert back["restaurant_id"].to_list() == ["10", str(2**62 + 1)]
    assert back["order_value"].to_list() == [21.4, 21.4]
    assert back["order_value_other"].to_list() == ["x", None]
    assert back["prep_time_seconds"].to_list() == [600, 600]
    (predicted,) = open_prediction_store(dataset).read(dt.date(2015, 6, 1)).rows(named=True)
    assert (predicted["restaurant_id"], predicted["order_value"]) == ("10", 21.4)
    assert load_rows(dataset, rows).unchanged == 2
    assert read_restaurants(open_source(f"{dataset}?table=restaurants").frame()).restaurant_id.tolist() == [
        10,
        20,
        30,
        40,
    ]
