from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from preptime.errors import OperationError
from preptime.models import onnx_export
from preptime.models.catalogue import CATALOGUE
from preptime.models.fitting import fit_all
from preptime.models.model import FittedModel
from preptime.models.onnx_export import CHUNK_ROWS, check_parity, merge_to_onnx
from preptime.models.quantile import QuantileModel
from preptime.models.sklearn_models import RandomForestModel
from preptime.models.xgboost_models import XGBoostModel
from tests.models.graphs import run, splits, tree_nodes
from tests.models.rows import SEED, edge_rows, training_rows

X, Y = training_rows(200)
F = X.shape[1]


@pytest.fixture(scope="module")
def fitted() -> Mapping[str, FittedModel]:
    return fit_all(CATALOGUE, X, Y, threads=1, seed=SEED)


@pytest.fixture(scope="module")
def merged(fitted: Mapping[str, FittedModel]) -> bytes:
    return merge_to_onnx(fitted, F)


def test_one_run_answers_for_every_model(fitted: Mapping[str, FittedModel], merged: bytes) -> None:
    answers = run(merged, X)
    assert list(answers) == list(CATALOGUE)
    for name, model in fitted.items():
        assert answers[name].shape == model.predict(X).shape
        assert answers[name].dtype == np.float32


def test_the_whole_graph_agrees_on_the_very_thresholds(fitted: Mapping[str, FittedModel], merged: bytes) -> None:
    largest = check_parity(merged, fitted, edge_rows(X, splits(merged), 3000))
    assert list(largest) == list(CATALOGUE)


def test_base_models_are_in_it_once(merged: bytes) -> None:
    assert [node.name.split("/")[0] for node in tree_nodes(merged)] == ["rf", "gbr", "cat", "xgb", *["quantile"] * 4]


def test_stacking_alone_brings_what_it_stands_on(fitted: Mapping[str, FittedModel]) -> None:
    alone = {"stacking": fitted["stacking"]}
    contents = merge_to_onnx(alone, F)
    assert len(tree_nodes(contents)) == 4
    assert list(run(contents, X)) == ["stacking"]
    check_parity(contents, alone, X)


def test_names_begin_with_their_model_and_are_unique(merged: bytes) -> None:
    inside = onnx.load_from_string(merged).graph
    names = [node.name for node in inside.node] + [constant.name for constant in inside.initializer]
    assert len(set(names)) == len(names)
    assert {name.split("/")[0] for name in names} == set(CATALOGUE)
    tensors = {tensor for node in inside.node for tensor in node.output}
    assert {tensor.split("/")[0] for tensor in tensors} == set(CATALOGUE)


def test_versions_are_those_chosen(merged: bytes) -> None:
    model = onnx.load_from_string(merged)
    assert model.ir_version == onnx_export.IR_VERSION
    assert {opset.domain: opset.version for opset in model.opset_import} == onnx_export.OPSETS


def test_the_same_models_give_the_same_bytes(fitted: Mapping[str, FittedModel], merged: bytes) -> None:
    assert merge_to_onnx(fitted, F) == merged


def test_onnxruntime_has_nothing_to_warn_of(merged: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    run(merged, X)
    assert capfd.readouterr() == ("", "")
    wrong = onnx.load_from_string(merged)
    wrong.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 7
    run(wrong.SerializeToString(), X)
    assert "shape" in capfd.readouterr().err, "this is where a warning would be seen"


def test_two_fits_of_a_base_model_are_refused(fitted: Mapping[str, FittedModel]) -> None:
    other = CATALOGUE["xgb"].fit(X, Y, threads=1, seed=SEED)
    for mixed in ({"xgb": other, "stacking": fitted["stacking"]}, {"stacking": fitted["stacking"], "xgb": other}):
        with pytest.raises(OperationError, match="two different fits of xgb"):
            merge_to_onnx(mixed, F)


def test_a_graph_that_differs_is_refused_with_model_row_and_values() -> None:
    quantile = QuantileModel(tree_count=5).fit(X, Y, threads=1, seed=SEED)
    contents = merge_to_onnx({"quantile": quantile.calibrated(np.array([0, 0, 0, 0.1]))}, F)
    value = quantile.predict(X)[0, 3]
    with pytest.raises(OperationError, match=rf"quantile p90, row 0: ONNX predicts [\d.]+ s, .* {value:.4f} s") as error:
        check_parity(contents, {"quantile": quantile}, X)
    onnx_seconds = float(str(error.value).split("ONNX predicts ")[1].split(" s")[0])
    assert onnx_seconds == pytest.approx(value * 1.1, abs=0.001)


def test_rows_are_counted_across_chunks() -> None:
    fitted = {"xgb": XGBoostModel(tree_count=3).fit(X, Y, threads=1, seed=SEED)}
    contents = merge_to_onnx(fitted, F)
    row = CHUNK_ROWS + 5
    many = np.tile(X[0], (row + 10, 1))
    assert check_parity(contents, fitted, many)["xgb"] < 0.01
    many[row] = X[np.argmax(np.abs(fitted["xgb"].predict(X) - fitted["xgb"].predict(X[:1])))]
    with pytest.raises(OperationError, match=f"xgb, row {row}:"):
        check_parity(contents, {"xgb": AlwaysTheSame(fitted["xgb"], fitted["xgb"].predict(X[:1])[0])}, many)


@pytest.mark.parametrize("said", [np.nan, np.inf])
def test_what_is_no_number_never_passes(said: float) -> None:
    fitted = XGBoostModel(tree_count=3).fit(X, Y, threads=1, seed=SEED)
    with pytest.raises(OperationError, match="xgb, row 0"):
        check_parity(merge_to_onnx({"xgb": fitted}, F), {"xgb": AlwaysTheSame(fitted, np.float32(said))}, X)


def test_a_converter_that_brings_more_than_trees_is_refused() -> None:
    with pytest.raises(OperationError, match=r"nodes TreeEnsembleRegressor, Squeeze, Relu; expected one"):
        onnx_export.extract_tree_node(RandomForestModel(tree_count=2).fit(X, Y, threads=1, seed=SEED).to_onnx())


def test_all_models_together_stay_under_16_mb() -> None:
    """At 2,000 rows each tree is as large as it may get: 100 leaves, or its full depth."""
    many, labels = training_rows(2000, 25)
    alone = {name: model for name, model in CATALOGUE.items() if name != "stacking"}
    size = {
        name: len(merge_to_onnx({name: fit}, 25))
        for name, fit in fit_all(alone, many, labels, threads=2, seed=SEED).items()
    }
    assert size["rf"] > 500_000, "the forest is at its cap"
    assert sum(size.values()) < 16_000_000


@dataclass(frozen=True)
class AlwaysTheSame:
    """An estimator whose graph says something else."""

    fitted: FittedModel
    seconds: np.float32

    def predict(self, X: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.full(len(X), self.seconds)

    def importance(self) -> NDArray[np.float64]:
        return self.fitted.importance()

    def to_onnx(self) -> onnx.ModelProto:
        return self.fitted.to_onnx()
