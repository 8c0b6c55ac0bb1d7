"""Tests that one invalid row in a million is rejected and reported, and no other row."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import msgspec
import polars as pl
import pytest

from preptime.scoring.score_day import DayScoreDocument
from preptime.validation.audit_report import CheckReport
from tests.cli.run_command import preptime
from tests.daily.factories import LAST, Installation, local_dates

ROWS = 1_000_000


@pytest.fixture(scope="module")
def million(
    week: Installation, rows: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Installation, int]]:
    """Yield a million orders with distinct ids, one of them with an invalid number, and the index of that row."""
    folder = tmp_path_factory.mktemp("million")
    many = pl.concat([rows] * (ROWS // len(rows) + 1)).head(ROWS)
    # The row is in the second half and belongs to the scored day.
    invalid_row = int((local_dates(rows, week.restaurants) == LAST).arg_true()[5]) + len(rows) * (
        ROWS // len(rows) * 2 // 3
    )
    row_index = pl.int_range(ROWS, eager=True)
    many.with_columns(
        order_id=row_index.cast(pl.String),
        number_of_items=pl.when(row_index == invalid_row).then(pl.lit("three")).otherwise("number_of_items"),
    ).write_csv(folder / "orders.csv")
    yield Installation(folder / "orders.csv", week.restaurants, week.store, folder / "results"), invalid_row
    shutil.rmtree(folder)


def test_check_names_one_invalid_row_in_a_million(million: tuple[Installation, int]) -> None:
    installation, invalid_row = million
    ran = preptime(
        "check", "--orders", installation.orders, "--restaurants", installation.restaurants, "--json"
    ).succeeded()
    report = ran.document(CheckReport)
    assert report.orders == ROWS
    assert report.usable["scoring"] == ROWS - 1
    assert [
        (example.row, example.column, example.value)
        for example in report.examples
        if example.reason == "unparsable_number"
    ] == [(invalid_row + 1, "number_of_items", "three")]


def test_score_rejects_one_invalid_row_in_a_million(million: tuple[Installation, int]) -> None:
    installation, invalid_row = million
    installation.run("score", LAST).succeeded()
    document = msgspec.json.decode(
        (installation.results / f"date={LAST}" / "score.json").read_bytes(), type=DayScoreDocument
    )
    assert document.orders > ROWS // 50
    assert (document.predicted, document.rejected) == (document.orders - 1, {"unparsable_number": 1})
    rejected = installation.predictions(LAST).filter(pl.col("prediction_reason").is_not_null())
    assert rejected["order_id"].to_list() == [str(invalid_row)]
