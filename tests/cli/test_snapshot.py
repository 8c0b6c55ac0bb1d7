"""`snapshot`, and the metrics that DVC compares."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from preptime.sources.data_versions import SnapshotDocument
from tests.cli.conftest import DATE, Files
from tests.cli.run_command import error_document, preptime

DAYS = ("--from", "2015-06-01", "--to", "2015-06-05")


def test_snapshot_can_be_read(files: Files, tmp_path: Path) -> None:
    document = (
        preptime("snapshot", *files.options, *DAYS, "--out", tmp_path, "--json").succeeded().document(SnapshotDocument)
    )
    assert 0 < document.orders < 2_500
    second_result = preptime("snapshot", *files.options, *DAYS, "--out", tmp_path).succeeded()
    assert second_result.out.startswith(f"{document.orders:,} orders from 2015-06-01 to 2015-06-05 and ")
    options = ("--orders", tmp_path / "orders.parquet", "--restaurants", tmp_path / "restaurants.parquet")
    preptime("check", *options).succeeded()


def test_snapshot_without_orders_is_data_error(files: Files, tmp_path: Path) -> None:
    days = ("--from", "2016-01-01", "--to", "2016-01-02")
    result = preptime("snapshot", *files.options, *days, "--out", tmp_path, "--json")
    assert "has no orders from 2016-01-01" in error_document(result, 1, "DataError").facts


def test_snapshot_that_ends_before_it_starts_is_wrong_use(files: Files, tmp_path: Path) -> None:
    days = ("--from", "2015-06-10", "--to", "2015-06-01")
    document = error_document(preptime("snapshot", *files.options, *days, "--out", tmp_path, "--json"), 2, "UsageError")
    assert document.facts == "The snapshot starts on 2015-06-10 and ends on 2015-06-01."
    assert document.hint == "Use --to 2015-06-10 or later."


@pytest.mark.usefixtures("quick_models")
def test_backtest_writes_dvc_metrics(files: Files, tmp_path: Path) -> None:
    result = preptime(
        "backtest", *files.options, "--from", DATE, "--to", DATE, "--dvc-metrics", tmp_path / "metrics", "--json"
    ).succeeded()
    scores = {score["name"]: score for score in json.loads(result.out)["scores"] if score["labels"] == "up_to_3h"}
    metrics = json.loads((tmp_path / "metrics" / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["quantile"]["mae_seconds"] == pytest.approx(scores["quantile"]["mae"], abs=1e-4)
    assert {path.name for path in (tmp_path / "metrics").iterdir()} == {
        "metrics.json",
        "models.csv",
        "calibration.csv",
        "hours.csv",
    }
