from __future__ import annotations

import tracemalloc
from pathlib import Path

import msgspec
import polars as pl
import pytest

from preptime.domain.validation_reasons import Purpose, ValidationReason
from preptime.sources.ingest import write_rejects
from preptime.sources.registry import open_source
from preptime.validation.audit import AuditedOrders, audit_orders
from preptime.validation.audit_report import CheckReport, rejected_rows, render_text, summarize_audit
from preptime.validation.restaurants import audit_restaurants
from preptime.validation.similar_ids import SimilarIds
from tests.validation.factories import RESTAURANTS, make_order, make_orders, make_restaurant_index


def _audited(*rows: dict[str, str | None]) -> AuditedOrders:
    return audit_orders(make_orders(*rows), make_restaurant_index(), need_label=True)


def test_summarize_audit_has_counts_and_examples() -> None:
    rows = [make_order(order_value_gbp=str(index)) for index in range(10)]
    rows[4]["number_of_items"] = "lots"
    rows[7]["order_value_gbp"] = "-3"
    report = summarize_audit(_audited(*rows), restaurant_count=4)
    assert (report.orders, report.restaurants, report.clean) == (10, 4, 8)
    assert (report.first_day, report.last_day) == ("2015-06-01", "2015-06-01")
    assert report.usable == {"fitting": 8, "history": 8, "evaluation": 8, "scoring": 8}
    assert [(count.reason, count.rows, count.share) for count in report.reasons] == [
        (ValidationReason.UNPARSABLE_NUMBER, 1, 0.1),
        (ValidationReason.NEGATIVE_VALUE, 1, 0.1),
    ]
    first, second = report.examples
    assert (first.row, first.column, first.value) == (5, "number_of_items", "lots")
    assert first.expected == "a whole number from 1 to 10,000"
    assert (second.row, second.column, second.value) == (8, "order_value_gbp", "-3")
    text = render_text(report)
    assert text.splitlines()[0] == (
        "10 orders, 2015-06-01 to 2015-06-01, and 4 restaurants. Orders without a reason that excludes them: 8."
    )
    assert "row 5: number_of_items is 'lots', expected a whole number from 1 to 10,000" in text


def test_report_names_restaurants_left_out_and_similar_ids() -> None:
    ids = pl.Series("restaurant_id", ["10", None, "7", "30"])
    restaurants = audit_restaurants(RESTAURANTS.with_columns(ids))
    orders = make_orders(
        *(
            make_order(restaurant_id=identifier, order_id=str(row))
            for row, identifier in enumerate(("007", "7", "007", "10"))
        )
    )
    audited = audit_orders(orders, restaurants.index, need_label=True)
    report = summarize_audit(audited, len(restaurants.index), restaurants=restaurants)
    assert (report.restaurants, report.restaurants_left_out) == (3, 1)
    assert [finding.row for finding in report.restaurant_findings] == [2]
    assert report.similar_ids == (SimilarIds(("007", "7"), (2, 1)),)
    assert [(count.reason, count.rows) for count in report.reasons] == [(ValidationReason.UNKNOWN_RESTAURANT, 2)]
    lines = render_text(report).splitlines()
    assert "1 restaurant left out: row 2: restaurant_id is empty." in lines
    assert (
        "Restaurant identifiers that a spreadsheet would treat as one (1): '007' (2 orders) and '7' (1 order)." in lines
    )
    assert msgspec.json.decode(msgspec.json.encode(report), type=CheckReport) == report


def test_report_distinguishes_files_of_the_same_name(tmp_path: Path) -> None:
    paths = [tmp_path / city / "orders.csv" for city in ("Leeds", "London")]
    for path in paths:
        path.parent.mkdir()
        make_orders(make_order(order_acknowledged_at="?")).write_csv(path)
    audited = audit_orders(open_source(tmp_path).frame(), make_restaurant_index(), need_label=True)
    text = render_text(summarize_audit(audited, restaurant_count=4))
    assert all(f"  {path} row 1: order_acknowledged_at is '?'" in text for path in paths)


def test_check_report_round_trips_as_json() -> None:
    report = summarize_audit(_audited(make_order(), make_order(order_acknowledged_at=None)), restaurant_count=4)
    assert msgspec.json.decode(msgspec.json.encode(report), type=CheckReport) == report
    assert Purpose.FITTING in report.reasons[0].excluded_from


def test_examples_include_every_affected_column() -> None:
    rows = [make_order(order_value_gbp="x") for _ in range(50)] + [make_order(number_of_items="y")]
    report = summarize_audit(_audited(*rows), restaurant_count=4)
    assert {example.column for example in report.examples if example.reason is ValidationReason.UNPARSABLE_NUMBER} == {
        "order_value_gbp",
        "number_of_items",
    }


def test_summarize_audit_without_valid_times_has_no_days() -> None:
    report = summarize_audit(_audited(make_order(order_acknowledged_at="?")), restaurant_count=4)
    assert report.first_day is None
    assert report.clean == 0


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_write_rejects_writes_unchanged_rows_with_reasons(tmp_path: Path, suffix: str) -> None:
    rows = [make_order(order_id=str(index)) for index in range(6)]
    rows[1] |= {"order_value_gbp": " €4 ", "number_of_items": "0"}
    rows[4] |= {
        "prep_time_seconds": "59",
        "order_ready_at": None,
    }  # this reason excludes it from nothing, so the row isn't rejected
    rows[5] |= {"order_ready_at": "2015-06-01 18:00:00+01:00", "prep_time_seconds": ""}
    source = tmp_path / "orders.csv"
    make_orders(*rows).write_csv(source)
    audited = audit_orders(open_source(source).frame(), make_restaurant_index(), need_label=True)
    path = tmp_path / f"rejects.{suffix}"
    assert write_rejects(audited, path) == 2
    rejects = open_source(path)
    assert rejects.columns[:-5] == tuple(rows[0])
    frame = rejects.frame()
    assert frame["order_id"].to_list() == ["1", "5"]
    assert frame["order_value_gbp"].to_list() == [" €4 ", "21.40"]
    assert [int(row) for row in frame["reject_row"]] == [2, 6]
    assert frame["reject_file"].to_list() == [str(source)] * 2
    assert frame["reject_reasons"].to_list() == ["unparsable_number out_of_range", "ready_before_acknowledged"]
    assert frame["reject_expected"].to_list() == [
        "order_value_gbp: a number from 0 to 100,000; number_of_items: a whole number from 1 to 10,000",
        "order_ready_at: a time after order_acknowledged_at",
    ]


def test_write_rejects_without_rejects_writes_a_header(tmp_path: Path) -> None:
    audited = _audited(make_order())
    assert write_rejects(audited, tmp_path / "rejects.csv") == 0
    header = (tmp_path / "rejects.csv").read_text(encoding="utf-8").strip()
    assert header.endswith("reject_reasons,reject_expected,reject_surplus")


def test_report_of_million_bad_rows_is_short_and_bounded(tmp_path: Path) -> None:
    rows = 1_000_000
    bad = make_orders(make_order(order_value_gbp="?", restaurant_id="77")).select(pl.all().repeat_by(rows).explode())
    bad = bad.with_columns(order_acknowledged_at=pl.lit("on day ") + pl.int_range(rows).cast(pl.String))
    audited = audit_orders(bad, make_restaurant_index(), need_label=True)
    tracemalloc.start()
    report = summarize_audit(audited, restaurant_count=4)
    text = render_text(report)
    assert len(rejected_rows(audited)) == rows
    assert write_rejects(audited, tmp_path / "rejects.parquet") == rows
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert {count.rows for count in report.reasons} == {rows}
    assert len(text) < 4_000
    assert len(msgspec.json.encode(report)) < 8_000
    # This includes NumPy arrays: about 20 bytes for each row, and no Python objects.
    assert peak < 100 * rows
    assert open_source(tmp_path / "rejects.parquet").frame()["reject_row"].max() == rows


def test_report_names_the_unit_that_training_refuses() -> None:
    rows = [make_order(prep_time_seconds=str(minutes), order_ready_at=None) for minutes in range(5, 30)]
    report = summarize_audit(_audited(*rows), restaurant_count=4)
    (message,) = report.wrong_labels
    assert message.startswith("25 of 25 labels are under a minute; the maximum is 40%")
    assert message.endswith('prep_time = { column = "prep_time_seconds", unit = "min" }.')
    assert f"Training refuses the labels. {message}" in render_text(report)
    assert summarize_audit(_audited(*rows), 4, checked_for=(Purpose.SCORING,)).wrong_labels == ()
    without_labels = audit_orders(make_orders(*rows), make_restaurant_index(), need_label=False)
    assert summarize_audit(without_labels, 4).wrong_labels == ()
    assert summarize_audit(_audited(make_order()), 4).wrong_labels == ()
