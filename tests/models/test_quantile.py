from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.models.rows import SEED, training_rows

from preptime.models.export import check_parity, merge
from preptime.models.quantile import FittedQuantile, Quantile

X, Y = training_rows(400)


@pytest.fixture(scope="module")
def fitted() -> FittedQuantile:
    return Quantile(trees=30).fit(X, Y, threads=1, seed=SEED)


def test_each_level_has_about_its_share_below(fitted: FittedQuantile) -> None:
    below = (Y[:, None] <= fitted.predict(X)).mean(axis=0)
    np.testing.assert_allclose(below, [0.1, 0.5, 0.8, 0.9], atol=0.08)


def test_a_shift_moves_its_level_by_its_seconds(fitted: FittedQuantile) -> None:
    raw = fitted.predict(X)
    apart = (np.diff(raw, axis=1) > 20).all(axis=1) & (raw[:, 0] > 20)
    assert apart.sum() > 50
    shift = np.array([-10.0, 5.0, 0.0, 7.5])
    np.testing.assert_allclose(
        (fitted.calibrated(shift).predict(X) - raw)[apart], shift[None].repeat(apart.sum(), 0), atol=1e-3
    )


def test_calibrating_again_replaces_the_shift(fitted: FittedQuantile) -> None:
    once = fitted.calibrated(np.full(4, 30.0))
    np.testing.assert_array_equal(once.calibrated(np.zeros(4)).predict(X), fitted.predict(X))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(-5000, 5000), min_size=4, max_size=4))
def test_any_shift_leaves_order_median_and_onnx_in_agreement(fitted: FittedQuantile, shift: list[float]) -> None:
    calibrated = fitted.calibrated(np.array(shift))
    predicted = calibrated.predict(X)
    assert (np.diff(predicted, axis=1) >= 0).all()
    assert predicted.min() >= 0
    median = np.maximum(fitted.levels[1].raw(X).astype(np.float32) + np.float32(shift[1]), 0)
    np.testing.assert_array_equal(predicted[:, 1], median)
    check_parity(merge({"quantile": calibrated}, X.shape[1]), {"quantile": calibrated}, X)
