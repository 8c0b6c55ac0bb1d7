from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from preptime.errors import OperationError
from preptime.models import onnx_export
from preptime.models.catalogue import CATALOGUE, NOTEBOOK_MODELS
from preptime.models.fitting import fit_all
from preptime.models.model import FittedModel, StackedModel
from preptime.models.onnx_export import CHUNK_ROWS, check_parity, merge_to_onnx
from preptime.models.quantile import QuantileModel
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


def test_merged_graph_predicts_every_model_in_one_run(fitted: Mapping[str, FittedModel], merged: bytes) -> None:
    outputs = run(merged, X)
    assert list(outputs) == list(CATALOGUE)
    for name, model in fitted.items():
        assert outputs[name].shape == model.predict(X).shape
        assert outputs[name].dtype == np.float32


def test_merged_graph_matches_on_thresholds(fitted: Mapping[str, FittedModel], merged: bytes) -> None:
    largest = check_parity(merged, fitted, edge_rows(X, splits(merged), 3000))
    assert list(largest) == list(CATALOGUE)


def test_merged_graph_contains_base_models_once(merged: bytes) -> None:
    with_trees = [name for name, model in CATALOGUE.items() if not isinstance(model, StackedModel)]
    assert [node.name.split("/")[0] for node in tree_nodes(merged)] == with_trees


def test_export_of_stacking_includes_base_models(fitted: Mapping[str, FittedModel]) -> None:
    models = {"stacking": fitted["stacking"]}
    contents = merge_to_onnx(models, F)
    assert len(tree_nodes(contents)) == len(NOTEBOOK_MODELS)
    assert list(run(contents, X)) == ["stacking"]
    check_parity(contents, models, X)


def test_merged_graph_names_have_model_prefix_and_are_unique(merged: bytes) -> None:
    inside = onnx.load_from_string(merged).graph
    names = [node.name for node in inside.node] + [constant.name for constant in inside.initializer]
    assert len(set(names)) == len(names)
    assert {name.split("/")[0] for name in names} == set(CATALOGUE)
    tensors = {tensor for node in inside.node for tensor in node.output}
    assert {tensor.split("/")[0] for tensor in tensors} == set(CATALOGUE)


def test_merged_graph_has_declared_versions(merged: bytes) -> None:
    model = onnx.load_from_string(merged)
    assert model.ir_version == onnx_export.IR_VERSION
    assert {opset.domain: opset.version for opset in model.opset_import} == onnx_export.OPSETS


def test_merge_to_onnx_is_deterministic(fitted: Mapping[str, FittedModel], merged: bytes) -> None:
    assert merge_to_onnx(fitted, F) == merged


def test_merged_graph_causes_no_onnxruntime_warning(merged: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    run(merged, X)
    assert capfd.readouterr() == ("", "")
    wrong = onnx.load_from_string(merged)
    wrong.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 7
    run(wrong.SerializeToString(), X)
    assert "shape" in capfd.readouterr().err, "a warning must be captured"


def test_merge_to_onnx_with_two_fits_of_base_model_raises(fitted: Mapping[str, FittedModel]) -> None:
    other = CATALOGUE["xgb"].fit(X, Y, threads=1, seed=SEED)
    for mixed in ({"xgb": other, "stacking": fitted["stacking"]}, {"stacking": fitted["stacking"], "xgb": other}):
        with pytest.raises(OperationError, match="two different fits of xgb"):
            merge_to_onnx(mixed, F)


def test_check_parity_with_difference_raises_with_row_and_values() -> None:
    quantile = QuantileModel(tree_count=5).fit(X, Y, threads=1, seed=SEED)
    contents = merge_to_onnx({"quantile": quantile.calibrated(np.array([0, 0, 0, 0.1]))}, F)
    value = quantile.predict(X)[0, 3]
    with pytest.raises(
        OperationError, match=rf"quantile p90, row 0: ONNX predicts [\d.]+ s, .* {value:.4f} s"
    ) as error:
        check_parity(contents, {"quantile": quantile}, X)
    onnx_seconds = float(str(error.value).split("ONNX predicts ")[1].split(" s")[0])
    assert onnx_seconds == pytest.approx(value * 1.1, abs=0.001)


def test_check_parity_reports_row_across_chunks() -> None:
    fitted = {"xgb": XGBoostModel(tree_count=3).fit(X, Y, threads=1, seed=SEED)}
    contents = merge_to_onnx(fitted, F)
    row = CHUNK_ROWS + 5
    many = np.tile(X[0], (row + 10, 1))
    assert check_parity(contents, fitted, many)["xgb"] < 0.01
    many[row] = X[np.argmax(np.abs(fitted["xgb"].predict(X) - fitted["xgb"].predict(X[:1])))]
    with pytest.raises(OperationError, match=f"xgb, row {row}:"):
        check_parity(contents, {"xgb": ConstantModel(fitted["xgb"], fitted["xgb"].predict(X[:1])[0])}, many)


@pytest.mark.parametrize("constant", [np.nan, np.inf])
def test_check_parity_with_nan_or_infinity_raises(constant: float) -> None:
    fitted = XGBoostModel(tree_count=3).fit(X, Y, threads=1, seed=SEED)
    with pytest.raises(OperationError, match="xgb, row 0"):
        check_parity(merge_to_onnx({"xgb": fitted}, F), {"xgb": ConstantModel(fitted, np.float32(constant))}, X)


def converted_with(*nodes: onnx.NodeProto) -> tuple[FittedModel, onnx.ModelProto]:
    """Return a fitted model, and its trees as a converter writes them: with more nodes, from `trees` to `y`."""
    fitted = XGBoostModel(tree_count=3).fit(X, Y, threads=1, seed=SEED)
    trees = next(node for node in fitted.to_onnx().graph.node if node.op_type == "TreeEnsembleRegressor")
    trees.output[0] = "trees"
    inputs, outputs = [onnx_export.features_info(F)], [onnx_export.matrix_info("y", 1)]
    return fitted, onnx_export.make_model([trees, *nodes], [], inputs, outputs)


@pytest.mark.parametrize(
    "nodes",
    [
        [helper.make_node("Identity", ["trees"], ["y"])],
        [
            helper.make_node("Cast", ["trees"], ["double"], to=TensorProto.DOUBLE),
            helper.make_node("Cast", ["double"], ["y"], to=TensorProto.FLOAT),
        ],
        [helper.make_node("Reshape", ["trees", "shape"], ["vector"]), helper.make_node("Squeeze", ["vector"], ["y"])],
    ],
)
def test_extract_tree_node_drops_harmless_nodes(nodes: list[onnx.NodeProto]) -> None:
    fitted, converted = converted_with(*nodes)
    model = onnx_export.point_model(onnx_export.extract_tree_node(converted), F)
    assert model == fitted.to_onnx()
    np.testing.assert_allclose(run(model.SerializeToString(), X)["seconds"], fitted.predict(X), atol=0.01)


@pytest.mark.parametrize(
    ("node", "found"),
    [
        (helper.make_node("Cast", ["trees"], ["y"], to=TensorProto.INT64), "TreeEnsembleRegressor, Cast to int64"),
        (helper.make_node("Mul", ["trees", "two"], ["y"]), "TreeEnsembleRegressor, Mul"),
    ],
)
def test_extract_tree_node_refuses_nodes_that_change_numbers(node: onnx.NodeProto, found: str) -> None:
    _, converted = converted_with(node)
    with pytest.raises(
        OperationError, match=rf"returned the nodes {found}; expected one TreeEnsembleRegressor, and no"
    ):
        onnx_export.extract_tree_node(converted)


def test_export_of_all_models_is_under_16_mb() -> None:
    """With 2,000 rows, each tree has its maximum size: 100 leaves, or full depth."""
    many, labels = training_rows(2000, 25)
    models = {name: model for name, model in CATALOGUE.items() if name != "stacking"}
    size = {
        name: len(merge_to_onnx({name: fit}, 25))
        for name, fit in fit_all(models, many, labels, threads=2, seed=SEED).items()
    }
    assert size["rf"] > 500_000, "the forest must have its maximum size"
    assert sum(size.values()) < 16_000_000


@dataclass(frozen=True)
class ConstantModel:
    """A fitted model whose predictions differ from its graph."""

    fitted: FittedModel
    seconds: np.float32

    def predict(self, X: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.full(len(X), self.seconds)

    def importance(self) -> NDArray[np.float64]:
        return self.fitted.importance()

    def to_onnx(self) -> onnx.ModelProto:
        return self.fitted.to_onnx()
