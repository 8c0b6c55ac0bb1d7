"""The page about scoring says what scoring does."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import polars as pl

from preptime.bundle.bundle import Bundle
from preptime.scoring.score_document import ScoreDocument
from preptime.scoring.score_file import score_file
from tests.requirements import ROOT
from tests.scoring.factories import mixed_rows, write_orders

PAGE = (ROOT / "docs" / "scoring.md").read_text(encoding="utf-8")


def test_docs_list_every_prediction_column_with_type(tmp_path: Path, bundle: Bundle) -> None:
    rows = mixed_rows()
    score_file(write_orders(tmp_path / "orders.csv", rows), tmp_path / "scored.parquet", bundle)
    appended = pl.read_parquet(tmp_path / "scored.parquet").drop(rows.columns).schema
    models = "|".join(name for name in bundle.manifest.models if name != "quantile")
    kinds = {pl.Float32(): "float32", pl.String(): "text"}
    found = [
        (re.sub(f"predicted_({models})_", "predicted_<model>_", name), kinds[kind]) for name, kind in appended.items()
    ]
    listed = re.findall(r"^\| `(pred[^`]+)` \| (\w+) \|", PAGE, re.MULTILINE)
    assert listed == list(dict.fromkeys(found))


def test_docs_json_example_is_valid() -> None:
    (example,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    document = msgspec.json.decode(example, type=ScoreDocument)
    assert document.rows == document.predicted + sum(document.rejected.values())
    assert document.predicted == sum(document.fallback_level.values())
