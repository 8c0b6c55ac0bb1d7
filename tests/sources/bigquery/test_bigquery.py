"""BigQuery: statements that BigQuery's grammar accepts, pages, types, errors; by the real client, from a fake."""

from __future__ import annotations

import datetime as dt
import inspect

import polars as pl
import pytest
import sqlglot
from sqlglot import exp

from preptime.errors import DataError, OperationError, PreptimeError, UsageError
from preptime.sources.bigquery import statements
from preptime.sources.bigquery.client import EMULATOR_VARIABLE, BigQueryAddress
from preptime.sources.registry import open_database, open_prediction_store, open_source
from preptime.sources.source import batches_for_dates
from preptime.validation.audit import audit_orders
from tests.sources.bigquery.fake_bigquery import FakeBigQuery
from tests.sources.loading import load, prepared
from tests.validation.factories import directory, month, order, orders

ADDRESS = BigQueryAddress.parse("bigquery://our-project.food?location=EU")
STATEMENTS = {
    **{f"make {name}": text for name, text in statements.table_definitions(ADDRESS).items()},
    "columns": statements.select_column_names(ADDRESS),
    "add columns": statements.insert_column_names(ADDRESS, 3),
    "days": statements.select_days(ADDRESS, "orders", "order_date"),
    "restaurants": statements.select_restaurants(ADDRESS, ["restaurant_id", "city"]),
    "orders": statements.select_orders(ADDRESS, ["order_acknowledged_at", "extra"]),
    "merge orders": statements.merge_orders(ADDRESS, "staging_1"),
    "merge restaurants": statements.merge_restaurants(ADDRESS, "staging_1", ["restaurant_id", "city", "extra"]),
    "duplicates": statements.count_duplicates(ADDRESS, "staging_1"),
    "replace predictions": statements.replace_predictions(ADDRESS, "staging_1"),
    "predictions": statements.select_predictions(ADDRESS, for_bundle=True),
}


@pytest.mark.parametrize("name", STATEMENTS)
def test_a_statement_is_bigquery_sql_and_names_only_our_tables(name: str) -> None:
    tree = sqlglot.parse_one(STATEMENTS[name], read="bigquery", error_level=sqlglot.ErrorLevel.RAISE)
    tables = [table for table in tree.find_all(exp.Table) if table.db]
    assert tables
    assert {(table.catalog, table.db) for table in tables} == {("our-project", "food")}


def test_every_statement_is_checked() -> None:
    made = [
        one for one in vars(statements).values() if inspect.isfunction(one) and one.__module__ == statements.__name__
    ]
    public = [one for one in made if not one.__name__.startswith("_") and one is not statements.bigquery_type]
    assert len(public) == len(STATEMENTS) - len(statements.table_definitions(ADDRESS)) + 1


def test_a_days_orders_are_asked_for_by_the_partitioning_column() -> None:
    tree = sqlglot.parse_one(STATEMENTS["orders"], read="bigquery")
    where = tree.args["where"].this
    assert isinstance(where, exp.EQ)
    assert where.this.name == "order_date"
    assert "PARTITION BY order_date" in STATEMENTS["make orders"]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("bigquery://food", "names no project and dataset"),
        ("bigquery://our-project.food/orders", "names no project and dataset"),
        ("bigquery://our-project.food`; DROP", "names no project and dataset"),
        ("bigquery://our-project.food?tabel=orders", "tabel is nothing that it can say"),
        ("bigquery://our-project.food?table=order", "There is no table=order"),
        ("bigquery://our-project.food?table=predictions", "are not read as orders are"),
    ],
)
def test_an_address_that_is_none(url: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        open_source(url)


def test_an_address_opens_the_same_by_its_name() -> None:
    for query in ("", "?table=restaurants", "?day=2015-06-24", "?day=2015-06-01..2015-06-07&location=EU"):
        address = BigQueryAddress.parse(f"bigquery://our-project.food{query}")
        assert BigQueryAddress.parse(address.name) == address


def test_pages_are_followed_to_the_end(dataset: str, fake: FakeBigQuery) -> None:
    rows = month(days=2, per_day=60)
    load(prepared(dataset), rows)
    fake.page_rows = 7
    fake.pages.clear()
    assert len(open_source(dataset).frame()) == len(rows)
    assert max(fake.pages) == 7
    fake.page_rows = 1_000_000
    fake.pages.clear()
    list(open_source(dataset).batches(20))
    assert max(fake.pages) == 20


def test_every_type_comes_back_as_it_went(dataset: str) -> None:
    rows = orders(
        order(order_id="1", order_value_gbp="0.1", open_orders="3", note='a "quoted" ☕', city=""),
        order(order_id="2", order_value_gbp="inf", restaurant_id=str(2**62 + 1), number_of_items=None, note=None),
        order(order_id="3", order_ready_at=None, prep_time_seconds=None, order_value_gbp="-1e-300"),
    )
    load(prepared(dataset), rows)
    back = open_source(dataset).frame().sort("order_id")
    assert back["order_value_gbp"].to_list() == [0.1, float("inf"), -1e-300]
    assert back["restaurant_id"].to_list() == [10, 2**62 + 1, 10]
    assert back["number_of_items"].to_list() == [3, None, 3]
    assert back["note"].to_list() == ['a "quoted" ☕', None, None]
    assert back.schema["open_orders"] == pl.Int64
    reasons = audit_orders(rows, directory(), need_label=True).reasons.tolist()
    assert audit_orders(back, directory(), need_label=True).reasons.tolist() == reasons


def test_a_clock_that_shows_an_hour_twice(dataset: str) -> None:
    moments = ["2015-10-25 01:30:00+01:00", "2015-10-25 01:30:00+00:00", "2015-10-25T01:30:00Z", "2015-10-25 01:30:00"]
    rows = orders(*(order(order_id=str(n), order_acknowledged_at=one) for n, one in enumerate(moments)))
    load(prepared(dataset), rows)
    back = open_source(dataset).frame().sort("order_id")
    assert back["order_acknowledged_at"].to_list() == moments
    names = ["acknowledged_local", "acknowledged_utc"]
    expected = audit_orders(rows, directory(), need_label=False).frame.select(names)
    assert audit_orders(back, directory(), need_label=False).frame.select(names).equals(expected)


def test_loading_again_late_and_twice_leaves_one_row_an_order(dataset: str) -> None:
    rows = month(days=2, per_day=20)
    known = rows.drop("order_ready_at", "prep_time_seconds")
    prepared(dataset)
    counts = [load(dataset, one) for one in (known, rows, rows, known, pl.concat([rows, rows]))]
    assert [(one.inserted, one.updated, one.unchanged, one.duplicates) for one in counts] == [
        (len(rows), 0, 0, 0),
        (0, len(rows), 0, 0),
        (0, 0, len(rows), 0),
        (0, 0, len(rows), 0),
        (0, 0, len(rows), len(rows)),
    ]
    assert open_source(dataset).frame()["prep_time_seconds"].null_count() == 0


def test_restaurants_are_replaced_by_column(dataset: str) -> None:
    prepared(dataset)
    moved = pl.DataFrame({"restaurant_id": [10, 50], "city": ["York", "Bath"]})
    loaded = open_database(dataset).load_restaurants(moved)
    assert (loaded.inserted, loaded.updated, loaded.unchanged) == (1, 1, 0)
    frame = open_source(f"{dataset}?table=restaurants").frame()
    assert frame.filter(restaurant_id=10).select("country", "city").row(0) == ("UK", "York")


def test_only_the_days_asked_for_are_read(dataset: str, fake: FakeBigQuery) -> None:
    load(prepared(dataset), month(days=3, per_day=20))
    fake.statements.clear()
    chunks = list(batches_for_dates(open_source(dataset), dt.date(2015, 6, 2), dt.date(2015, 6, 2), 1000))
    assert len(chunks) == 1
    assert sum("@day" in text for text in fake.statements) == 1
    assert list(batches_for_dates(open_source(dataset), dt.date(2015, 7, 2), dt.date(2015, 7, 2), 1000)) == []


def test_predictions_are_replaced_by_date_and_bundle(dataset: str) -> None:
    prepared(dataset)
    table, day = open_prediction_store(dataset), dt.date(2015, 6, 1)
    frame = pl.DataFrame(
        {
            "order_key": ["a", "b", "c"],
            "predicted_seconds": pl.Series([600.5, 0.1, None], dtype=pl.Float32),
            "predicted_rf_seconds": pl.Series([1.25, 2, 3], dtype=pl.Float32),
            "prediction_reason": [None, None, "missing_value"],
        }
    )
    for bundle in ("b1", "b2", "b1"):
        assert table.write(day, bundle, frame) == 3
    assert table.write(day, "b1", frame[:2]) == 2
    back = table.read(day, "b1")
    assert back.select(frame.columns).equals(frame[:2])
    assert len(table.read(day)) == 5
    assert table.days() == [day]


def _refused(kind: type[PreptimeError], url: str) -> str:
    with pytest.raises(kind) as refused:
        open_source(url)
    return str(refused.value)


def test_a_dataset_without_our_tables_says_which_command_makes_them(dataset: str) -> None:
    said = _refused(DataError, dataset)
    assert "preptime ingest ORDERS --restaurants RESTAURANTS --to bigquery://our-project.food" in said


@pytest.mark.parametrize(
    ("answer", "kind", "said"),
    [
        ((403, "accessDenied", "Access Denied: Dataset our-project:food"), UsageError, "Ask for the roles"),
        ((400, "invalidQuery", "Could not serialize access to table"), OperationError, "by someone else"),
        ((400, "invalidQuery", "Syntax error"), OperationError, "could not be used"),
    ],
)
def test_what_the_service_says_no_to(
    answer: tuple[int, str, str], kind: type[PreptimeError], said: str, dataset: str, fake: FakeBigQuery
) -> None:
    prepared(dataset)
    fake.fail.append(answer)
    assert said in _refused(kind, dataset)


def test_a_load_that_fails_leaves_nothing(dataset: str, fake: FakeBigQuery) -> None:
    prepared(dataset)
    rows = month(days=1, per_day=20)
    fake.fail += [(400, "invalid", "Parquet column is odd")]
    with pytest.raises(OperationError, match="Parquet column is odd"):
        load(dataset, rows)
    assert not [name for name in _tables(fake) if name.startswith("staging_")]
    with pytest.raises(DataError, match="has no rows"):
        open_source(dataset).frame()


def _tables(fake: FakeBigQuery) -> list[str]:
    listed = fake.tables("food")["tables"]
    assert isinstance(listed, list)
    return [str(one["tableReference"]["tableId"]) for one in listed]


def test_without_credentials_it_says_how_to_log_in(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.delenv(EMULATOR_VARIABLE, raising=False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", f"{tmp_path}/none.json")
    assert "gcloud auth application-default login" in _refused(UsageError, "bigquery://our-project.food")
