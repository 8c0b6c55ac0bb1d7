"""`demo` on the user's own orders, and the settings that it writes."""

from __future__ import annotations

import subprocess

import msgspec
import polars as pl

from preptime.evaluation.documents import BacktestDocument
from preptime.models.catalogue import CATALOGUE
from preptime.scoring.score_document import ScoreDocument
from tests.cli.conftest import DATE, Demo, Files, champion
from tests.cli.run_command import error_document, preptime


class Document(msgspec.Struct, forbid_unknown_fields=True):
    """The document of `demo --json`."""

    date: str
    bundle: str
    outcome: str
    backtest: BacktestDocument
    score: ScoreDocument
    files: dict[str, str]


def test_demo_evaluates_models_and_baselines(demo_run: Demo) -> None:
    document = demo_run.result.document(Document)
    names = {score.name for score in document.backtest.scores}
    assert names == {*CATALOGUE, "restaurant_lookup", "global_median"}
    assert all(name in demo_run.result.err for name in names)
    assert document.date == DATE
    assert document.backtest.last_day < DATE


def test_demo_scores_next_day_with_champion(demo_run: Demo, orders: pl.DataFrame) -> None:
    document = demo_run.result.document(Document)
    assert document.outcome == "promoted"
    assert document.score.bundle == document.bundle == champion(demo_run.folder / "models")
    next_day = pl.read_csv(demo_run.folder / "next_day.csv")
    of_day = orders.filter(pl.col("order_acknowledged_at").str.starts_with(DATE))
    assert next_day["order_id"].to_list() == of_day["order_id"].cast(pl.Int64).to_list()
    assert {"order_ready_at", "prep_time_seconds"} & set(next_day.columns) == set()
    predicted = pl.read_csv(demo_run.folder / "predictions.csv")
    assert document.score.predicted == document.score.rows == len(predicted) == len(next_day)


def test_demo_prints_files_and_next_steps(demo_run: Demo) -> None:
    files = demo_run.result.document(Document).files
    assert set(files) == {"store", "report", "next_day", "predictions", "settings"}
    assert all((demo_run.folder / path).exists() for path in files.values())
    next_steps = demo_run.result.err.rpartition("Next steps:")[2]
    command = next(line for line in next_steps.splitlines() if " bundles list " in line)
    assert command.endswith(" bundles list")
    listed = subprocess.run(command.split(), cwd=demo_run.folder, capture_output=True, text=True, check=True)
    assert demo_run.result.document(Document).bundle in listed.stdout + listed.stderr


def test_demo_orders_without_restaurants_is_usage_error(files: Files) -> None:
    assert (
        "belong together" in error_document(preptime("demo", "--orders", files.orders, "--json"), 2, "UsageError").facts
    )
