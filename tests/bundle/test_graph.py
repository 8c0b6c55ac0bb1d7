"""The graphs of a bundle: the default prediction equals that of all models, and other graphs are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from preptime.bundle.bundle import Bundle
from preptime.bundle.graph import BundleGraphs, OnnxGraph
from preptime.domain.orders import DEFAULT_MODEL
from preptime.errors import BundleVerificationError
from preptime.features.feature_set import TAKE_HOME_FEATURES
from preptime.features.kitchen import LIVE_FEATURES
from tests.bundle.factories import MODELS, graph_files, some_live_model, some_model, some_orders

WIDTH = len(TAKE_HOME_FEATURES.names)


def test_quantile_graph_equals_graph_of_all_models() -> None:
    features = np.random.default_rng(4).normal(500, 200, (20, WIDTH)).astype(np.float32)
    graphs = BundleGraphs.from_files(graph_files(some_model()), WIDTH, MODELS)
    _, quantiles = graphs.models.run(features)
    assert np.array_equal(graphs.quantile.run_quantiles(features), quantiles)
    assert graphs.quantile.run_quantiles(features[:0]).shape == (0, 4)
    assert graphs.live is None


def test_live_graph_reads_live_features_after_the_others() -> None:
    graphs = BundleGraphs.from_files(graph_files(some_model(), some_live_model()), WIDTH, MODELS)
    assert graphs.live is not None
    features = np.random.default_rng(4).normal(500, 200, (20, WIDTH)).astype(np.float32)
    live = np.tile(np.array([[4.0, 0.0]], np.float32), (20, 1))
    expected = graphs.quantile.run_quantiles(features) + 120
    np.testing.assert_allclose(graphs.live.run_quantiles(np.hstack([features, live])), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"quantile.onnx": some_model()}, r"quantile\.onnx: expected outputs quantile of"),
        ({"quantile.onnx": b"no graph"}, r"quantile\.onnx: expected a graph that ONNX Runtime can run"),
        (
            {"live.onnx": graph_files(some_model())["quantile.onnx"]},
            rf"live\.onnx: expected one input 'features' of .* with {WIDTH + len(LIVE_FEATURES)} columns",
        ),
    ],
)
def test_graph_unlike_its_file_is_refused(files: dict[str, bytes], message: str) -> None:
    with pytest.raises(BundleVerificationError, match=message):
        BundleGraphs.from_files(graph_files(some_model()) | files, WIDTH, MODELS)


def test_graph_without_default_model_is_refused() -> None:
    with pytest.raises(BundleVerificationError, match="an output 'quantile'"):
        OnnxGraph(some_model(outputs=("rf", "gbr")), WIDTH, ("rf", "gbr"))


def test_quantiles_of_another_shape_are_refused() -> None:
    # The first output of `some_model` is [N].
    model = graph_files(some_model())["quantile.onnx"]
    graph = OnnxGraph(some_model(outputs=(DEFAULT_MODEL, "rf")), WIDTH, (DEFAULT_MODEL, "rf"))
    assert OnnxGraph(model, WIDTH, (DEFAULT_MODEL,)).run_quantiles(np.zeros((3, WIDTH), np.float32)).shape == (3, 4)
    with pytest.raises(BundleVerificationError, match=r"model\.onnx: expected shape"):
        graph.run(np.zeros((3, WIDTH), np.float32))


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
