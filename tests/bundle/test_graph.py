"""The default prediction from a part of the graph equals that from the whole graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from preptime.bundle.bundle import Bundle
from preptime.bundle.graph import OnnxGraph, extract_output
from preptime.features.feature_set import TAKE_HOME_FEATURES
from tests.bundle.factories import MODELS, some_model, some_orders


def test_extract_output_drops_nodes_of_other_outputs() -> None:
    extracted = onnx.load_from_string(extract_output(some_model(), "quantile"))
    onnx.checker.check_model(extracted)
    assert [node.op_type for node in extracted.graph.node] == ["MatMul", "Add", "Relu"]
    assert [tensor.name for tensor in extracted.graph.initializer] == ["weights", "steps"]
    assert [value.name for value in extracted.graph.output] == ["quantile"]
    whole = onnx.load_from_string(some_model())
    assert (extracted.ir_version, list(extracted.opset_import)) == (whole.ir_version, list(whole.opset_import))


def test_run_default_equals_run() -> None:
    features = np.random.default_rng(4).normal(500, 200, (20, len(TAKE_HOME_FEATURES.names))).astype(np.float32)
    graph = OnnxGraph(some_model(), len(TAKE_HOME_FEATURES.names), MODELS)
    _, quantiles = graph.run(features)
    assert np.array_equal(graph.run_default(features), quantiles)
    assert graph.run_default(features[:0]).shape == (0, 4)


def test_bundle_predict_returns_requested_models(bundle_folder: Path) -> None:
    bundle = Bundle.load(bundle_folder)
    orders = some_orders(30)
    all_models, no_models, one_model = (
        bundle.predict(orders),
        bundle.predict(orders, ()),
        bundle.predict(orders, ("rf",)),
    )
    assert list(all_models.points) == ["rf"]
    assert no_models.points == {}
    assert np.array_equal(no_models.quantiles, all_models.quantiles)
    assert np.array_equal(one_model.points["rf"], all_models.points["rf"])
    assert np.array_equal(no_models.fallback_level, all_models.fallback_level)
    with pytest.raises(KeyError):
        bundle.predict(orders, ("unknown",))


@pytest.mark.parametrize("cut", [1, 5, 100])
def test_extract_output_of_truncated_model_raises(cut: int) -> None:
    with pytest.raises(ValueError, match="byte"):
        extract_output(some_model()[:-cut], "quantile")
