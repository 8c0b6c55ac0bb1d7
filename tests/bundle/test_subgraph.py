"""The default answer without the other models: the same numbers from a part of the graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from preptime.bundle.bundle import Bundle
from preptime.bundle.graph import OnnxGraph, extract_output
from preptime.features.spec import FEATURE_NAMES
from tests.bundle.factories import MODELS, some_model, some_orders


def test_what_other_outputs_need_is_left_out() -> None:
    part = onnx.load_from_string(extract_output(some_model(), "quantile"))
    onnx.checker.check_model(part)
    assert [node.op_type for node in part.graph.node] == ["MatMul", "Add", "Relu"]
    assert [tensor.name for tensor in part.graph.initializer] == ["weights", "steps"]
    assert [value.name for value in part.graph.output] == ["quantile"]
    whole = onnx.load_from_string(some_model())
    assert (part.ir_version, list(part.opset_import)) == (whole.ir_version, list(whole.opset_import))


def test_every_output_alone_says_what_it_says_among_all() -> None:
    features = np.random.default_rng(4).normal(500, 200, (20, len(FEATURE_NAMES))).astype(np.float32)
    graph = OnnxGraph(some_model(), len(FEATURE_NAMES), MODELS)
    _, quantiles = graph.run(features)
    assert np.array_equal(graph.run_default(features), quantiles)
    assert graph.run_default(features[:0]).shape == (0, 4)


def test_a_bundle_predicts_the_models_asked_for(bundle_folder: Path) -> None:
    bundle = Bundle.load(bundle_folder)
    orders = some_orders(30)
    everything, nothing, one = bundle.predict(orders), bundle.predict(orders, ()), bundle.predict(orders, ("rf",))
    assert list(everything.points) == ["rf"]
    assert nothing.points == {}
    assert np.array_equal(nothing.quantiles, everything.quantiles)
    assert np.array_equal(one.points["rf"], everything.points["rf"])
    assert np.array_equal(nothing.fallback_level, everything.fallback_level)
    with pytest.raises(KeyError):
        bundle.predict(orders, ("nobody",))


@pytest.mark.parametrize("cut", [1, 5, 100])
def test_half_a_model_is_an_error(cut: int) -> None:
    with pytest.raises(ValueError, match="byte"):
        extract_output(some_model()[:-cut], "quantile")
