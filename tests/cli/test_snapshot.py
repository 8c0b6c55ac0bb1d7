"""`snapshot`, and the figures that DVC compares."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from preptime.sources.data_versions import SnapshotDocument
from tests.cli.conftest import DATE, Files
from tests.cli.run_command import preptime, error_document

DAYS = ("--from", "2015-06-01", "--to", "2015-06-05")


def test_a_snapshot_is_read_like_any_file(files: Files, tmp_path: Path) -> None:
    document = (
        preptime("snapshot", *files.options, *DAYS, "--out", tmp_path, "--json").succeeded().document(SnapshotDocument)
    )
    assert 0 < document.orders < 2_500
    again = preptime("snapshot", *files.options, *DAYS, "--out", tmp_path).succeeded()
    assert again.out.startswith(f"{document.orders:,} orders from 2015-06-01 to 2015-06-05 and ")
    taken = ("--orders", tmp_path / "orders.parquet", "--restaurants", tmp_path / "restaurants.parquet")
    preptime("check", *taken).succeeded()


def test_days_without_orders_are_refused(files: Files, tmp_path: Path) -> None:
    days = ("--from", "2016-01-01", "--to", "2016-01-02")
    ran = preptime("snapshot", *files.options, *days, "--out", tmp_path, "--json")
    assert "has no orders from 2016-01-01" in error_document(ran, 1, "DataError").facts


@pytest.mark.usefixtures("quick")
def test_a_backtest_leaves_its_figures_where_it_is_told(files: Files, tmp_path: Path) -> None:
    said = preptime(
        "backtest", *files.options, "--from", DATE, "--to", DATE, "--dvc-metrics", tmp_path / "figures", "--json"
    ).succeeded()
    scores = {one["name"]: one for one in json.loads(said.out)["scores"] if one["labels"] == "up_to_3h"}
    metrics = json.loads((tmp_path / "figures" / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["quantile"]["mae_seconds"] == pytest.approx(scores["quantile"]["mae"], abs=1e-4)
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {
        "metrics.json",
        "models.csv",
        "calibration.csv",
        "hours.csv",
    }
