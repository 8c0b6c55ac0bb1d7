from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from preptime.models.onnx_export import check_parity, merge_to_onnx
from preptime.models.quantile import MEDIAN_INDEX, MIN_SCALED_SECONDS, FittedQuantileModel, QuantileModel
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
    median = fitted.levels[MEDIAN_INDEX].predict_raw(X)
    np.testing.assert_allclose(
        predicted[:, MEDIAN_INDEX],
        np.maximum(median + scale[MEDIAN_INDEX] * np.maximum(median, MIN_SCALED_SECONDS), 0),
        rtol=1e-5,
        atol=1e-3,
    )
    check_parity(merge_to_onnx({"quantile": calibrated}, X.shape[1]), {"quantile": calibrated}, X)
