from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from preptime.domain.orders import DEFAULT_MODEL
from preptime.models.catalogue import CATALOGUE, hyperparameters
from preptime.schema.keys import HYPERPARAMETERS


def test_catalogue_lists_models_in_documented_order() -> None:
    page = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)` \| [^|]+ \| [^|]+ \|$", page.partition("\n## ")[0], re.MULTILINE) == list(CATALOGUE)
    assert all(model.name == name for name, model in CATALOGUE.items())
    assert list(CATALOGUE)[-1] == DEFAULT_MODEL


def test_catalogue_import_loads_no_learning_library() -> None:
    heavy = {"sklearn", "catboost", "xgboost", "onnx", "onnxruntime", "skl2onnx", "onnxmltools", "polars", "pandas"}
    look = "import sys; import preptime.models.catalogue; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True).stdout.split()
    assert "preptime.models.catboost_models" in loaded
    assert heavy.isdisjoint(loaded)


def test_catalogue_has_the_notebooks_hyperparameters() -> None:
    representation = {name: repr(model) for name, model in CATALOGUE.items()}
    assert (
        representation["rf"]
        == "RandomForestModel(name='rf', tree_count=100, min_samples_split=6, max_features='log2', max_leaf_nodes=100)"
    )
    assert (
        representation["gbr"]
        == "GradientBoostingModel(name='gbr', tree_count=100, learning_rate=0.1, depth=3, max_distinct_values=128)"
    )
    assert "tree_count=100, learning_rate=0.1, depth=6" in representation["cat"]
    assert representation["xgb"] == "XGBoostModel(name='xgb', tree_count=100, learning_rate=0.1, depth=4)"
    assert representation["stacking"].endswith("name='stacking', alpha=0.3, folds=3)")


def test_documented_hyperparameters_are_the_fields_of_the_models() -> None:
    assert {name: hyperparameters(model) for name, model in CATALOGUE.items()} == HYPERPARAMETERS
