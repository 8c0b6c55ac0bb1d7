from __future__ import annotations

import subprocess
import sys

from preptime.models.catalogue import CATALOGUE


def test_names_in_the_order_of_documents() -> None:
    assert list(CATALOGUE) == ["rf", "gbr", "cat", "xgb", "stacking", "quantile"]
    assert all(model.name == name for name, model in CATALOGUE.items())


def test_knowing_the_names_loads_no_learning_library() -> None:
    heavy = {"sklearn", "catboost", "xgboost", "onnx", "onnxruntime", "skl2onnx", "onnxmltools", "polars", "pandas"}
    look = "import sys; import preptime.models.catalogue; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True).stdout.split()
    assert "preptime.models.catboost_models" in loaded
    assert heavy.isdisjoint(loaded)


def test_the_notebooks_hyperparameters() -> None:
    said = {name: repr(model) for name, model in CATALOGUE.items()}
    assert (
        said["rf"]
        == "RandomForestModel(name='rf', tree_count=100, min_samples_split=6, max_features='log2', max_leaf_nodes=100)"
    )
    assert (
        said["gbr"]
        == "GradientBoostingModel(name='gbr', tree_count=100, learning_rate=0.1, depth=3, max_distinct_values=128)"
    )
    assert "tree_count=100, learning_rate=0.1, depth=6" in said["cat"]
    assert said["xgb"] == "XGBoostModel(name='xgb', tree_count=100, learning_rate=0.1, depth=4)"
    assert said["stacking"].endswith("name='stacking', alpha=0.3, folds=3)")
