"""One bad row among a million: exactly that one is refused, and named."""

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
    """The week's orders again and again, each with an id of its own, one of them with a number nobody can read."""
    folder = tmp_path_factory.mktemp("million")
    many = pl.concat([rows] * (ROWS // len(rows) + 1)).head(ROWS)
    # Somewhere behind the middle, of the day that is scored.
    bad = int((local_dates(rows, week.restaurants) == LAST).arg_true()[5]) + len(rows) * (ROWS // len(rows) * 2 // 3)
    place = pl.int_range(ROWS, eager=True)
    many.with_columns(
        order_id=place.cast(pl.String),
        number_of_items=pl.when(place == bad).then(pl.lit("three")).otherwise("number_of_items"),
    ).write_csv(folder / "orders.csv")
    yield Installation(folder / "orders.csv", week.restaurants, week.store, folder / "results"), bad
    shutil.rmtree(folder)


def test_check_names_one_invalid_row_in_a_million(million: tuple[Installation, int]) -> None:
    place, bad = million
    told = preptime("check", "--orders", place.orders, "--restaurants", place.restaurants, "--json").succeeded()
    found = told.document(CheckReport)
    assert found.orders == ROWS
    assert found.usable["scoring"] == ROWS - 1
    assert [(one.row, one.column, one.value) for one in found.examples if one.reason == "unparsable_number"] == [
        (bad + 1, "number_of_items", "three")
    ]


def test_score_rejects_one_invalid_row_in_a_million(million: tuple[Installation, int]) -> None:
    place, bad = million
    place.run("score", LAST).succeeded()
    told = msgspec.json.decode((place.results / f"date={LAST}" / "score.json").read_bytes(), type=DayScoreDocument)
    assert told.orders > ROWS // 50
    assert (told.predicted, told.rejected) == (told.orders - 1, {"unparsable_number": 1})
    refused = place.predictions(LAST).filter(pl.col("prediction_reason").is_not_null())
    assert refused["order_id"].to_list() == [str(bad)]
