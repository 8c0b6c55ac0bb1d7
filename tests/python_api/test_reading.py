"""Tests of reading and checking orders, restaurants, and schemas in Python, and of synthetic ones."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import msgspec
import pandas as pd
import polars as pl
import pytest
from polars.testing import assert_frame_equal

import preptime
from preptime.errors import DataError, UsageError
from preptime.schema.schema import TAKE_HOME_SCHEMA
from preptime.schema.toml_file import parse_schema
from preptime.validation.audit import audit_orders
from preptime.validation.audit_report import CheckReport
from preptime.validation.derived_restaurants import derive_restaurants
from tests.cli.run_command import preptime as run_command
from tests.requirements import ROOT
from tests.scoring.factories import mixed_rows

COMPANY = """\
[source]
decimal = ","
thousands = "."
[orders]
order_acknowledged_at = { column = "created", format = "%d/%m/%Y %H:%M", time_zone = "UTC" }
restaurant_id = "store"
order_value = { column = "total", currency = "EUR", unit = "cents" }
number_of_items = "items"
prep_time = { column = "minutes", unit = "min" }
[restaurants]
time_zone = "Europe/Paris"
"""
COMPANY_ORDERS = pl.DataFrame(
    {
        "created": ["01/06/2015 12:30", "02/06/2015 19:05", None],
        "store": ["007", "8", "9"],
        "total": ["1.234,5 €", "999", ""],
        "items": ["3", "2", "1"],
        "minutes": ["12,5", "8", "9"],
        "note": ["1", "2", "3"],
    }
)


@pytest.fixture
def synthetic(tmp_path: Path) -> Path:
    """Return a folder with CSV files of 300 orders."""
    preptime.synthesize(300, restaurants=20, days=3, out=tmp_path)
    return tmp_path


def test_read_orders_gives_types_that_mean_the_same(synthetic: Path) -> None:
    orders = preptime.read_orders(synthetic / "orders.csv")
    expected, _, _ = preptime.synthesize(300, restaurants=20, days=3)
    assert_frame_equal(orders, expected)
    frame = preptime.read_orders(str(synthetic / "orders.csv"), frame="pandas")
    assert isinstance(frame, pd.DataFrame)
    assert_frame_equal(pl.from_pandas(frame), expected)
    restaurants = preptime.read_restaurants(synthetic / "restaurants.csv")
    assert restaurants["restaurant_id"].dtype == pl.Int64


def test_read_orders_of_a_company_keeps_units_and_audit() -> None:
    schema = parse_schema(COMPANY)
    orders = preptime.read_orders(COMPANY_ORDERS, schema)
    assert orders["created"].to_list() == [dt.datetime(2015, 6, 1, 12, 30), dt.datetime(2015, 6, 2, 19, 5), None]
    assert orders["store"].to_list() == ["007", "8", "9"]
    assert orders["total"].to_list() == [1234.5, 999.0, None]
    assert orders["items"].to_list() == [3, 2, 1]
    assert orders["minutes"].to_list() == [12.5, 8.0, 9.0]
    assert orders["note"].dtype == pl.String
    stores = derive_restaurants(COMPANY_ORDERS, schema).index
    audits = [audit_orders(rows, stores, need_label=True, schema=schema).frame for rows in (COMPANY_ORDERS, orders)]
    assert_frame_equal(*audits)
    assert audits[0]["acknowledged_local"][0] == dt.datetime(2015, 6, 1, 14, 30)


def test_read_orders_leaves_unreadable_columns_as_text() -> None:
    rows = mixed_rows()
    assert_frame_equal(preptime.read_orders(rows), rows)
    assert preptime.read_orders(rows.to_pandas()).equals(rows.to_pandas())


def test_read_orders_of_pandas_keeps_index_and_other_columns() -> None:
    frame = COMPANY_ORDERS.to_pandas().set_index(pd.Index(["x", "y", "z"]))
    frame["extra"] = pd.Series([[1], [2], [3]], index=frame.index, dtype=object)
    orders = preptime.read_orders(frame, parse_schema(COMPANY))
    assert orders.index.tolist() == ["x", "y", "z"]
    assert orders["extra"].tolist() == [[1], [2], [3]]
    assert str(orders["created"].dtype) == "datetime64[us]"


def test_read_errors_name_file_and_columns(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="There is no file"):
        preptime.read_orders(tmp_path / "none.csv")
    with pytest.raises(DataError, match="are missing from the data frame of orders"):
        preptime.read_orders(COMPANY_ORDERS)
    with pytest.raises(DataError, match="restaurant_id is missing from the data frame of restaurants"):
        preptime.read_restaurants(COMPANY_ORDERS)
    with pytest.raises(UsageError, match="frame is 'arrow'"):
        preptime.read_orders(COMPANY_ORDERS, frame="arrow")  # type: ignore[arg-type]  # a wrong argument
    with pytest.raises(UsageError, match="There is no schema file"):
        preptime.read_schema(tmp_path / "none.toml")


def test_default_schema_is_that_of_the_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert preptime.read_schema() == TAKE_HOME_SCHEMA
    (tmp_path / "schema.toml").write_text(COMPANY, encoding="utf-8")
    assert preptime.read_schema() == parse_schema(COMPANY)
    (tmp_path / "other.toml").write_text(COMPANY.replace("store", "shop"), encoding="utf-8")
    monkeypatch.setenv("PREPTIME_SCHEMA", "other.toml")
    assert preptime.read_schema().orders["restaurant_id"].column == "shop"
    assert preptime.feature_names("schema.toml") == preptime.feature_names(preptime.read_schema())


def test_check_equals_the_command(synthetic: Path, tmp_path: Path) -> None:
    orders, restaurants = synthetic / "orders.csv", synthetic / "restaurants.csv"
    frame = pd.read_csv(orders)
    frame.loc[[5, 7], "number_of_items"] = 0
    frame.to_csv(tmp_path / "broken.csv", index=False)
    location = str(tmp_path / "broken.csv")
    command = ["check", "--orders", location, "--restaurants", str(restaurants), "--json"]
    result = run_command(*command).succeeded()
    from_file = preptime.check(location, restaurants)
    assert from_file.report == result.document(CheckReport)
    assert repr(from_file) in result.err
    checked = preptime.check(frame.set_index("order_id"), pd.read_csv(restaurants))
    assert checked.report.reasons == from_file.report.reasons
    rejected = checked.rejected
    items = rejected[rejected["reject_reasons"].str.contains("out_of_range")]
    assert items.index.tolist() == frame["order_id"][[5, 7]].tolist()
    assert items["reject_row"].tolist() == [5, 7]
    assert items["number_of_items"].tolist() == [0, 0]
    assert items["reject_expected"].str.startswith("number_of_items: a whole number").all()
    assert from_file.rejected.filter(pl.col("reject_reasons").str.contains("out_of_range"))["reject_row"].to_list() == [
        6,
        8,
    ]
    assert set(checked.reasons["reason"]) == {str(count.reason) for count in checked.report.reasons}
    assert "number_of_items" in checked.examples["column"].tolist()
    assert "<pre>" in checked._repr_html_()


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_rejected_rows_keep_a_column_named_row(orders: pl.DataFrame, restaurants: pl.DataFrame, kind: str) -> None:
    rows = orders.head(3).with_columns(row=pl.lit("mine"), number_of_items=pl.Series([2, 0, 2]))
    rejected = preptime.check(rows.to_pandas() if kind == "pandas" else rows, restaurants).rejected
    assert [*rejected["row"]] == ["mine"]
    assert [*rejected["reject_row"]] == [1]


def test_rows_of_frames_are_positions_everywhere(synthetic: Path) -> None:
    """The text, the examples, and the rejected rows have the same position of an order, and of a restaurant."""
    orders, restaurants = pl.read_csv(synthetic / "orders.csv").head(60), pl.read_csv(synthetic / "restaurants.csv")
    items = pl.when(pl.int_range(pl.len()) == 47).then(0).otherwise("number_of_items").alias("number_of_items")
    country = pl.when(pl.int_range(pl.len()) == 2).then(pl.lit("Atlantis")).otherwise("country").alias("country")
    result = preptime.check(orders.with_columns(items), restaurants.with_columns(country), use_case="scoring")
    assert result.rejected["reject_row"].to_list() == [47]
    (example,) = (example for example in result.report.examples if example.column == "number_of_items")
    assert example.row == 47
    assert result.examples.filter(pl.col("column") == "number_of_items")["row"].to_list() == [47]
    assert "row 47: number_of_items is '0'" in repr(result)
    assert "left out: row 2, restaurant " in repr(result)
    assert "Rows of data frames are counted from 0." in repr(result)
    proposal = preptime.infer_schema(orders.with_columns(items), restaurants)
    assert "row 47: number_of_items is '0'" in repr(proposal)
    assert "counted from 0" in repr(proposal)
    assert "counted from 0" not in repr(preptime.check(synthetic / "orders.csv", synthetic / "restaurants.csv"))


def test_check_without_labels_is_for_scoring() -> None:
    rows = COMPANY_ORDERS.drop("minutes")
    result = preptime.check(rows, schema=parse_schema(COMPANY))
    assert result.usable == {"scoring": 2}
    assert result.rejected["reject_row"].to_list() == [2]
    assert "The orders have no labels" in repr(result)
    with pytest.raises(DataError, match="minutes"):
        preptime.check(rows, schema=parse_schema(COMPANY), use_case="training")


def test_inferred_schema_equals_the_command_and_is_passed_on(synthetic: Path, tmp_path: Path) -> None:
    names = {"order_id": "id", "restaurant_id": "store", "order_acknowledged_at": "created_at"}
    orders = pl.read_csv(synthetic / "orders.csv").rename(names)
    orders.write_csv(tmp_path / "company.csv")
    command = ["schema", "infer", str(tmp_path / "company.csv"), "--time-zone", "Europe/London", "--yes", "--json"]
    document = msgspec.json.decode(run_command(*command).succeeded().out)
    proposal = preptime.infer_schema(tmp_path / "company.csv", time_zone="Europe/London")
    assert proposal.text == document["schema"]
    from_frame = preptime.infer_schema(orders.to_pandas(), time_zone="Europe/London")
    assert from_frame.schema == proposal.schema
    assert proposal.check is not None
    assert proposal.check.usable["scoring"] == 300
    assert preptime.check(orders, schema=from_frame).usable["scoring"] == 300
    proposal.save(tmp_path / "schema.toml")
    assert preptime.read_schema(tmp_path / "schema.toml") == proposal.schema
    with pytest.raises(UsageError, match=r"exists. Use overwrite=True"):
        proposal.save(tmp_path / "schema.toml")
    proposal.save(tmp_path / "schema.toml", overwrite=True)
    assert "order_acknowledged_at" in repr(proposal)
    assert "<pre>" in proposal._repr_html_()


def test_open_questions_are_answered_by_name() -> None:
    rows = COMPANY_ORDERS.with_columns(created=pl.Series(["01/02/2015 12:30", "03/04/2015 19:05", "05/06/2015 12:00"]))
    proposal = preptime.infer_schema(rows)
    assert not proposal.is_usable
    assert proposal.check is None
    with pytest.raises(UsageError, match="the proposed schema, line"):
        _ = proposal.schema
    answers = {question.name: question.choices[0][0] for question in proposal.questions if question.choices}
    assert all(name in repr(proposal) for name in answers)
    answered = preptime.infer_schema(rows, time_zone="Europe/Paris", times="UTC", answers=answers)
    assert {question.name for question in answered.questions}.isdisjoint(answers)


def test_synthesize_equals_the_command(tmp_path: Path) -> None:
    command = ["synthesize", "--orders", "300", "--days", "3", "--seed", "4", "--format", "parquet", "--out"]
    run_command(*command, tmp_path / "command").succeeded()
    frames = preptime.synthesize(300, days=3, seed=4, out=tmp_path / "api", file_format="parquet", frame="pandas")
    assert all(isinstance(table, pd.DataFrame) for table in frames)
    for name in ("orders", "restaurants", "truth"):
        contents = [(tmp_path / folder / f"{name}.parquet").read_bytes() for folder in ("command", "api")]
        assert contents[0] == contents[1]
    drifted = preptime.synthesize(300, days=3, seed=4, drift="London:2:+50%").orders
    assert drifted["prep_time_seconds"].sum() > frames.orders["prep_time_seconds"].sum()


def test_frame_with_canonical_columns_is_read_as_from_a_database(
    orders: pl.DataFrame, restaurants: pl.DataFrame
) -> None:
    """Rows of a database have the names and units of the data dictionary, whatever the schema of the files is."""
    canonical = orders.rename({"order_value_gbp": "order_value"})
    checked = preptime.check(canonical, restaurants)
    assert checked.usable == preptime.check(orders, restaurants).usable
    names = preptime.feature_names()
    matrices = [preptime.features(rows, restaurants, as_of="2015-06-05").select(names) for rows in (orders, canonical)]
    assert_frame_equal(matrices[0], matrices[1])


def test_saved_schema_is_found_only_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Python API page says so, next to the example that saves a file of another name."""
    page = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    text = page.partition('proposal.save("company.toml")')[0].rpartition("```python")[0]
    assert "save it as `schema.toml`: every function and every command finds a file of this name" in text
    monkeypatch.chdir(tmp_path)
    orders, _, _ = preptime.synthesize(200, days=3)
    company_orders = orders.rename({"restaurant_id": "store", "order_acknowledged_at": "created_at"})
    proposal = preptime.infer_schema(company_orders, time_zone="Europe/London")
    proposal.save("company.toml")
    with pytest.raises(DataError, match="missing"):
        preptime.check(company_orders)
    usable = preptime.check(company_orders, schema=proposal).usable
    assert usable["scoring"] == 200
    assert preptime.check(company_orders, schema="company.toml").usable == usable
    proposal.save("schema.toml")
    assert preptime.check(company_orders).usable == usable


def test_load_from_a_missing_folder_names_the_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="none doesn't exist"):
        preptime.load_bundle("2015-06-17-000000000000", store=str(tmp_path / "none"))
    assert preptime.open_store(tmp_path / "none").champion is None  # a training creates the folder
