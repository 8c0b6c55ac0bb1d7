"""`preptime.tune`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest

import preptime
from preptime.errors import UsageError
from tests.training.tunable_model import MODEL_SOURCE


def test_search_in_python_writes_the_schema(orders: pl.DataFrame, restaurants: pl.DataFrame, tmp_path: Path) -> None:
    (tmp_path / "my_models.py").write_text(MODEL_SOURCE, encoding="utf-8")
    schema = tmp_path / "schema.toml"
    schema.write_text('[models]\nmine = "my_models.py:Scaled"\n', encoding="utf-8")
    options: dict[str, Any] = {
        "schema": schema,
        "days": 4,
        "retrain_every": 2,
        "threads": 1,
        "study": tmp_path / "study.jsonl",
    }
    stages: list[str] = []
    first = preptime.tune(
        "mine", orders, restaurants, trials=2, progress=lambda stage, _: stages.append(stage), **options
    )
    tuning = preptime.tune(
        "mine", orders.to_pandas(), restaurants.to_pandas(), trials=8, date="2015-06-13", progress=False, **options
    )
    assert stages[-1].startswith("Trials: 2 of 2")
    assert tuning.document.trials[:2] == first.document.trials
    assert isinstance(first.trials, pl.DataFrame)
    assert isinstance(tuning.trials, pd.DataFrame)
    assert tuning.trials["factor"][0] == 3.0
    assert tuning.is_better
    assert tuning.parameters == tuning.document.best.parameters
    assert repr(tuning).startswith("mine: loss ")
    tuning.write(schema)
    written = preptime.read_schema(schema)
    assert f"factor = {tuning.parameters['factor']}" in schema.read_text(encoding="utf-8")
    with pytest.raises(UsageError, match="Did you mean mine"):
        preptime.tune("mime", orders, schema=written)
