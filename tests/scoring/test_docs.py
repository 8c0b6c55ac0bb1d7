"""Tests that docs/scoring.md matches the code."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import polars as pl

from preptime.bundle.bundle import Bundle
from preptime.scoring.score_document import ScoreDocument
from preptime.scoring.score_file import score_file
from preptime.scoring.travel_column import TravelColumn
from tests.requirements import ROOT
from tests.scoring.factories import mixed_rows, write_orders

PAGE = (ROOT / "docs" / "scoring.md").read_text(encoding="utf-8")


def test_docs_list_every_prediction_column_with_type(tmp_path: Path, bundle: Bundle) -> None:
    rows = mixed_rows().with_columns(travel=pl.lit("240"))
    source, travel = write_orders(tmp_path / "orders.csv", rows), TravelColumn("travel", 0.5)
    score_file(source, tmp_path / "scored.parquet", bundle, travel=travel)
    appended = pl.read_parquet(tmp_path / "scored.parquet").drop(rows.columns).schema
    models = "|".join(name for name in bundle.manifest.models if name != "quantile")
    type_names = {pl.Float32(): "float32", pl.Float64(): "float64", pl.String(): "text"}
    documented = [
        (re.sub(f"predicted_({models})_", "predicted_<model>_", name), type_names[dtype])
        for name, dtype in appended.items()
    ]
    listed = re.findall(r"^\| `(pred[^`]+)` \| (\w+) \|", PAGE, re.MULTILINE)
    assert listed == list(dict.fromkeys(documented))


def test_docs_json_example_is_valid() -> None:
    (example,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    document = msgspec.json.decode(example, type=ScoreDocument)
    assert document.rows == document.predicted + sum(document.rejected.values())
    assert document.predicted == sum(document.fallback_level.values())
