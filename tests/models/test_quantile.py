"""`quantile`: calibration, label values, and its ONNX graph. Also the lookup of the reduced set."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import helper

from preptime.domain.orders import MEDIAN_INDEX, MIN_SCALED_SECONDS
from preptime.errors import OperationError
from preptime.models.lookup import LookupModel
from preptime.models.onnx_export import (
    ObliviousTree,
    check_parity,
    features_info,
    make_model,
    matrix_info,
    merge_to_onnx,
    oblivious_tree_node,
    with_output_name,
)
from preptime.models.quantile import (
    FittedQuantileModel,
    QuantileModel,
    order_quantiles,
    snap,
)
from tests.models.graphs import run, tree_nodes
from tests.models.rows import SEED, training_rows

X, Y = training_rows(400)


@pytest.fixture(scope="module")
def fitted() -> FittedQuantileModel:
    return QuantileModel(tree_count=30).fit(X, Y, threads=1, seed=SEED)


def test_quantile_levels_have_expected_coverage(fitted: FittedQuantileModel) -> None:
    below = (Y[:, None] <= fitted.predict(X)).mean(axis=0)
    np.testing.assert_allclose(below, [0.1, 0.5, 0.8, 0.9], atol=0.08)


def test_calibrated_moves_level_by_share_of_itself(fitted: FittedQuantileModel) -> None:
    raw = fitted.predict(X)
    apart = (np.diff(raw, axis=1) > 0.1 * raw[:, 1:]).all(axis=1) & (raw[:, 0] > MIN_SCALED_SECONDS)
    assert apart.sum() > 50
    moved = fitted.calibrated(np.array([-0.04, 0.02, 0.0, 0.05])).predict(X)
    np.testing.assert_allclose(moved[apart], raw[apart] * [0.96, 1.02, 1.0, 1.05], rtol=1e-5)


def test_calibrated_near_zero_moves_by_share_of_minimum() -> None:
    soon = QuantileModel(tree_count=5).fit(X, np.where(X[:, 0] > 1, 3.0, 5.0), threads=1, seed=SEED)
    moved = soon.calibrated(np.full(4, 0.5)).predict(X)
    np.testing.assert_allclose(moved, soon.predict(X) + 0.5 * MIN_SCALED_SECONDS, rtol=1e-5)


def test_calibrated_again_replaces_first_calibration(fitted: FittedQuantileModel) -> None:
    once = fitted.calibrated(np.full(4, 0.3))
    assert (once.predict(X) > fitted.predict(X)).all()
    np.testing.assert_array_equal(once.calibrated(np.zeros(4)).predict(X), fitted.predict(X))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(-2, 2), min_size=4, max_size=4))
def test_calibrated_keeps_order_median_and_parity(fitted: FittedQuantileModel, scale: list[float]) -> None:
    calibrated = fitted.calibrated(np.array(scale))
    predicted = calibrated.predict(X)
    assert (np.diff(predicted, axis=1) >= 0).all()
    assert predicted.min() >= 0
    median = fitted.predict_raw(X)[:, MEDIAN_INDEX]
    np.testing.assert_allclose(
        predicted[:, MEDIAN_INDEX],
        np.maximum(median + scale[MEDIAN_INDEX] * np.maximum(median, MIN_SCALED_SECONDS), 0),
        rtol=1e-5,
        atol=1e-3,
    )
    check_parity(merge_to_onnx({"quantile": calibrated}, X.shape[1]), {"quantile": calibrated}, X)


FIVE_MINUTES = np.arange(300.0, 3900.0, 300.0)
MINUTES = np.arange(60.0, 7260.0, 60.0)


def test_snap_returns_nearest_value_and_the_lower_on_borders() -> None:
    seconds = np.array([-5.0, 449.9, 450.0, 450.1, 751.0, 1e6], np.float32)
    assert snap(seconds, np.array([300.0, 600.0, 900.0])).tolist() == [300, 300, 300, 600, 900, 900]
    assert snap(seconds, np.array([420.0])).tolist() == [420] * 6
    assert snap(seconds, np.empty(0)) is seconds


def test_order_quantiles_moves_levels_outward_from_p50() -> None:
    crossing = np.array([[700.0, 600.0, 500.0, 550.0], [-9.0, -3.0, 5.0, 4.0]], np.float32)
    assert order_quantiles(crossing).tolist() == [[600, 600, 600, 600], [0, 0, 5, 5]]


@pytest.mark.parametrize("values", [FIVE_MINUTES, MINUTES, np.array([600.0]), np.array([300.0, 900.0, 1000.5])])
def test_onnx_snaps_as_numpy(fitted: FittedQuantileModel, values: NDArray[np.float64]) -> None:
    snapped = fitted.calibrated(np.array([-0.04, 0.02, 0.01, 0.05]), values)
    predicted = snapped.predict(X)
    assert set(np.unique(predicted).tolist()) <= set(values.astype(np.float32).tolist())
    assert (np.diff(predicted, axis=1) >= 0).all()
    contents = merge_to_onnx({"quantile": snapped}, X.shape[1])
    assert check_parity(contents, {"quantile": snapped}, X)["quantile"] == 0
    np.testing.assert_array_equal(run(contents, X)["quantile"], predicted)


def add_to_sums(contents: bytes, seconds: float) -> bytes:
    """Return a graph whose sums of trees are larger by `seconds`, as another order of summation could make them."""
    model = onnx.load_from_string(contents)
    trees = next(node for node in model.graph.node if node.name.endswith("raw") or "raw" in node.output[0])
    (base_values,) = [attribute for attribute in trees.attribute if attribute.name == "base_values"]
    base_values.floats[:] = [value + seconds for value in base_values.floats]
    changed: bytes = model.SerializeToString()
    return changed


def test_parity_accepts_only_neighbors_of_a_border(fitted: FittedQuantileModel) -> None:
    """A sum within 0.01 s of a border can be on its other side in ONNX. Elsewhere, another label value is an error."""
    border = float(fitted.predict_raw(X)[7, MEDIAN_INDEX]) + 0.002
    snapped = fitted.calibrated(np.zeros(4), np.array([border - 300, border + 300]))
    contents = add_to_sums(merge_to_onnx({"quantile": snapped}, X.shape[1]), 0.004)
    low, high = snapped.predict(X[7:8])[0, MEDIAN_INDEX], run(contents, X[7:8])["quantile"][0, MEDIAN_INDEX]
    assert high - low == pytest.approx(600, abs=0.01)
    check_parity(contents, {"quantile": snapped}, X)
    with pytest.raises(OperationError, match=r"quantile p\d0, row \d+: ONNX predicts"):
        check_parity(add_to_sums(contents, 100), {"quantile": snapped}, X)


def test_one_tree_node_predicts_all_levels(fitted: FittedQuantileModel) -> None:
    (node,) = tree_nodes(merge_to_onnx({"quantile": fitted}, X.shape[1]))
    attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    assert attributes["n_targets"] == 4
    assert len(set(attributes["nodes_treeids"])) == 30
    assert len(attributes["base_values"]) == 4


def test_trees_without_splits_are_exported() -> None:
    """CatBoost writes a tree with one leaf without splits. With few rows, some trees have no more."""
    node = oblivious_tree_node([ObliviousTree([], [], np.array([[1.0, 2.0]]))], [10.0, 20.0])
    model = make_model([with_output_name(node, "seconds")], [], [features_info(3)], [matrix_info("seconds", 2)])
    assert run(model.SerializeToString(), X[:2, :3])["seconds"].tolist() == [[11, 22], [11, 22]]


def test_lookup_model_returns_its_column() -> None:
    fitted_lookup = LookupModel(5).fit(X, Y, threads=1, seed=SEED)
    seconds = X.copy()
    seconds[:3, 5] = -1.0
    np.testing.assert_array_equal(fitted_lookup.predict(seconds), np.maximum(seconds[:, 5], 0))
    contents = merge_to_onnx({"lookup": fitted_lookup}, X.shape[1])
    assert check_parity(contents, {"lookup": fitted_lookup}, seconds) == {"lookup": 0}
    np.testing.assert_array_equal(run(contents, seconds)["lookup"], fitted_lookup.predict(seconds))
    assert fitted_lookup.importance().tolist() == [0, 0, 0, 0, 0, 1, 0, 0]
