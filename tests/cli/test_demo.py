"""`demo` on the user's own orders: the main job from beginning to end."""

from __future__ import annotations

import subprocess
from pathlib import Path

import msgspec
import polars as pl

from preptime.evaluation.documents import BacktestDocument
from preptime.models.catalogue import CATALOGUE
from preptime.scoring.score_document import ScoreDocument
from tests.cli.conftest import DATE, Demo, Files, champion
from tests.cli.run_command import preptime, error_document


class Document(msgspec.Struct, forbid_unknown_fields=True):
    """What `demo --json` promises."""

    date: str
    bundle: str
    outcome: str
    backtest: BacktestDocument
    score: ScoreDocument
    files: dict[str, str]


def test_every_model_stands_beside_both_baselines(demo: Demo) -> None:
    document = demo.result.document(Document)
    names = {score.name for score in document.backtest.scores}
    assert names == {*CATALOGUE, "restaurant_lookup", "global_median"}
    assert all(name in demo.result.err for name in names)
    assert document.date == DATE
    assert document.backtest.last_day < DATE


def test_the_next_day_is_scored_by_the_champion(demo: Demo, orders: pl.DataFrame) -> None:
    document = demo.result.document(Document)
    assert document.outcome == "promoted"
    assert document.score.bundle == document.bundle == champion(demo.folder / "models")
    asked = pl.read_csv(demo.folder / "next_day.csv")
    of_day = orders.filter(pl.col("order_acknowledged_at").str.starts_with(DATE))
    assert asked["order_id"].to_list() == of_day["order_id"].cast(pl.Int64).to_list()
    assert {"order_ready_at", "prep_time_seconds"} & set(asked.columns) == set()
    predicted = pl.read_csv(demo.folder / "predictions.csv")
    assert document.score.predicted == document.score.rows == len(predicted) == len(asked)


def test_it_ends_with_where_the_files_are_and_what_to_try(demo: Demo) -> None:
    files = demo.result.document(Document).files
    assert set(files) == {"store", "report", "next_day", "predictions"}
    assert all(Path(path).exists() for path in files.values())
    last = demo.result.err.rpartition("Try next:")[2]
    command = next(line for line in last.splitlines() if " bundles list " in line)
    assert command.endswith(f" bundles list --store {files['store']}")
    listed = subprocess.run(command.split(), capture_output=True, text=True, check=True)
    assert demo.result.document(Document).bundle in listed.stdout + listed.stderr


def test_orders_without_restaurants_are_wrong_use(files: Files) -> None:
    assert "belong together" in error_document(preptime("demo", "--orders", files.orders, "--json"), 2, "UsageError").facts
