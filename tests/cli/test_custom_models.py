"""`train --models` and `bundles offer`, as a data scientist uses them, with LightGBM from `examples/`."""

from __future__ import annotations

import datetime as dt
import shutil
from pathlib import Path

import numpy as np
import pytest

import preptime as api
from examples.lightgbm_model import FittedLightGBM, LightGBMModel
from preptime.bundle.bundle import fetch_verified
from preptime.bundle.store import Store
from preptime.training.train import TrainDocument
from tests.cli.conftest import DATE, Files
from tests.cli.run_command import error_document, preptime

EXAMPLE = Path(__file__).parents[2] / "examples" / "lightgbm_model.py"
SCHEMA = """
[models]
lgbm = { class = "lightgbm_model.py:LightGBMModel", tree_count = 30 }

[models.quantile]
tree_count = 40
learning_rate = 0.1
border_count = 32
"""


@pytest.fixture
def schema(tmp_path: Path) -> Path:
    """Return a schema with LightGBM and a small `quantile`, next to a copy of the class."""
    shutil.copy(EXAMPLE, tmp_path)
    path = tmp_path / "schema.toml"
    path.write_text(SCHEMA, encoding="utf-8")
    return path


def options(files: Files, schema: Path, store: Path) -> tuple[str, ...]:
    return *files.options, "--schema", str(schema), "--store", str(store), "--json"


def test_train_models_trains_lightgbm_of_the_schema(files: Files, schema: Path, tmp_path: Path) -> None:
    store = tmp_path / "models"
    command: tuple[str | Path, ...] = (
        "train",
        *options(files, schema, store),
        "--date",
        DATE,
        "--models",
        "quantile,lgbm",
    )
    document = preptime(*command).succeeded().document(TrainDocument)
    assert document.parity_seconds.keys() == {"lgbm", "quantile"}
    manifest = Store.open(str(store)).read_manifest(document.bundle)
    assert manifest.models == ("lgbm", "quantile")
    assert manifest.model_details["lgbm"].hyperparameters["tree_count"] == 30
    shown = preptime("bundles", "show", document.bundle, "--store", store).succeeded().out
    assert "custom models" in shown
    assert "lgbm: lightgbm_model.py:LightGBMModel" in shown
    error = error_document(preptime(*command[:-1], "lgmb"), 2, "UsageError")
    assert (error.facts, error.hint) == ("There is no model 'lgmb'.", "Did you mean lgbm?")


def test_train_with_broken_class_names_its_line(files: Files, schema: Path, tmp_path: Path) -> None:
    code = EXAMPLE.read_text(encoding="utf-8")
    broken = "as_seconds(np.asarray(self.booster.predict(X, num_threads=1))) + np.float32(60)"
    (tmp_path / EXAMPLE.name).write_text(
        code.replace("as_seconds(np.asarray(self.booster.predict(X, num_threads=1)))", broken), encoding="utf-8"
    )
    command: tuple[str | Path, ...] = (
        "train",
        *options(files, schema, tmp_path / "models"),
        "--date",
        DATE,
        "--models",
        "lgbm",
    )
    error = error_document(preptime(*command), 3, "OperationError")
    assert error.facts.startswith("The model lgbm failed its check on 60 rows, at the step 'parity of the ONNX graph'.")
    assert "lgbm, row 0: ONNX predicts" in error.facts
    (tmp_path / EXAMPLE.name).write_text(code.replace("def fit", "def fits"), encoding="utf-8")
    assert "the class has no method fit" in error_document(preptime(*command), 2, "UsageError").facts


def fit_on_features(files: Files, last_day: dt.date) -> FittedLightGBM:
    """Fit LightGBM on the columns of `preptime.features`."""
    matrix = api.features(str(files.orders), str(files.restaurants), as_of=DATE, progress=False)
    rows = matrix.filter(matrix["can_fit"] & (matrix["acknowledged_day"] <= last_day))
    X = rows.select(api.feature_names()).to_numpy().astype(np.float32)
    return LightGBMModel(tree_count=30).fit(X, rows["label_seconds"].to_numpy(), threads=1, seed=5)


def test_offered_lightgbm_predicts_the_same_in_the_bundle(files: Files, schema: Path, tmp_path: Path) -> None:
    fitted, graph, store = fit_on_features(files, dt.date(2015, 6, 8)), tmp_path / "model.onnx", tmp_path / "models"
    graph.write_bytes(fitted.to_onnx().SerializeToString())
    days = ("--as-of", DATE, "--fitted-through", "2015-06-08")
    command: tuple[str | Path, ...] = (
        "bundles",
        "offer",
        graph,
        "--name",
        "mine",
        *days,
        *options(files, schema, store),
    )
    result = preptime(*command, "--models", "quantile").succeeded()
    document = result.document(TrainDocument)
    assert document.parity_seconds.keys() == {"mine", "quantile"}
    assert document.evaluation is not None
    assert document.evaluation.first_day == "2015-06-09"
    bundle = fetch_verified(Store.open(str(store)), document.bundle)
    orders = bundle.golden_orders()
    np.testing.assert_allclose(
        bundle.predict(orders).points["mine"], fitted.predict(bundle.features(orders)), atol=0.02
    )
    assert bundle.manifest.custom_models == "mine: model.onnx, fitted through 2015-06-08"
    assert "Checking the graph in a separate process" in result.err
    graph.write_bytes(EXAMPLE.read_bytes())
    without_last_day = [part for part in command if part not in days[2:]]
    refused = preptime(*without_last_day)
    assert "The days after 2015-06-04 evaluate mine." in " ".join(refused.err.split())
    error = error_document(refused, 2, "UsageError")
    assert error.facts == f"{graph} doesn't meet the requirement on format: expected an ONNX model, found other bytes."
