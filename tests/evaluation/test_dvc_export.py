"""DVC export: metric names, rounding, and identical bytes."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Literal

from preptime.evaluation.documents import BacktestDocument, Interval, QuantileScore, Score, Segment, WaitingCost
from preptime.evaluation.dvc_export import (
    CALIBRATION_FILE,
    HOURS_FILE,
    METRICS_FILE,
    MODELS_FILE,
    dvc_metrics,
    write_dvc_files,
)

QUANTILES = (QuantileScore(0.1, 0.101234567, 30.5), QuantileScore(0.5, None, None))


def _score(
    name: str, mae: float | None, labels: Literal["up_to_3h", "within_label_limit"], kind: Literal["model", "baseline"]
) -> Score:
    return Score(name, kind, labels, 10, mae, 240.0, 800.0, 0.3, -20.0, 0.55)


def _segment(hour: str, n: int) -> Segment:
    return Segment("hour", hour, n, 400.25, 0.0, 0.5, 0.8, 500.0, QUANTILES)


DOCUMENT = BacktestDocument(
    "2015-06-01",
    "2015-06-07",
    "quantile",
    (
        _score("quantile", 432.123456, "up_to_3h", "model"),
        _score("restaurant_lookup", None, "up_to_3h", "baseline"),
        _score("quantile", 1.0, "within_label_limit", "model"),
    ),
    Interval(0.8, 0.81, 900.0),
    QUANTILES,
    (_segment("19", 3), _segment("9", 2), _segment("4", 0)),
    (WaitingCost(2.0, 1.0, 2 / 3, 10, 476_400.123456, 509_400.0, None, 616_800.0),),
)


def test_dvc_metrics_uses_labels_up_to_3h() -> None:
    metrics = dvc_metrics(DOCUMENT)
    assert metrics["quantile"]["mae_seconds"] == 432.1235
    assert metrics["restaurant_lookup"]["mae_seconds"] is None
    assert metrics["interval"] == {"coverage": 0.81, "median_width_seconds": 900.0}
    assert metrics["coverage"] == {"p10": 0.1012, "p50": None}
    assert metrics["waiting_cost_seconds_2_to_1"] == {
        "predicted_quantile": 476_400.1235,
        "p50": 509_400.0,
        "lookup_quantile": None,
        "constant": 616_800.0,
    }


def test_write_dvc_files_same_document_gives_same_bytes(tmp_path: Path) -> None:
    for name in ("first", "second"):
        write_dvc_files(tmp_path / name, DOCUMENT)
    for name in (METRICS_FILE, MODELS_FILE, CALIBRATION_FILE, HOURS_FILE):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()
    assert json.loads((tmp_path / "first" / METRICS_FILE).read_text(encoding="utf-8")) == dvc_metrics(DOCUMENT)
    with (tmp_path / "first" / HOURS_FILE).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["hour"] for row in rows] == ["9", "19"], "sorted by hour, without hours that have no orders"
    with (tmp_path / "first" / MODELS_FILE).open(encoding="utf-8", newline="") as file:
        assert list(csv.reader(file)) == [
            ["model", "mae_seconds"],
            ["quantile", "432.1235"],
            ["restaurant_lookup", ""],
        ]
