from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from sklearn.ensemble import GradientBoostingRegressor

from preptime.models.sklearn_models import GradientBoostingModel, round_to_ranks
from tests.models.rows import SEED, training_rows

MATRICES = arrays(
    np.float32,
    array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=30),
    elements=st.floats(-1e6, 1e6, width=32) | st.sampled_from([0.0, 1.0, 2.0]),
)


@settings(deadline=None)
@given(MATRICES, st.integers(2, 12))
def test_round_to_ranks_keeps_order_minimum_and_maximum(X: NDArray[np.float32], values: int) -> None:
    before = X.copy()
    rounded = round_to_ranks(X, values)
    np.testing.assert_array_equal(X, before)
    assert rounded.dtype == np.float32
    assert rounded.shape == X.shape
    for raw, column in zip(X.T, rounded.T, strict=True):
        distinct, kept = np.unique(raw), np.unique(column)
        assert np.isin(kept, distinct).all()
        assert (kept[0], kept[-1]) == (distinct[0], distinct[-1])
        assert (np.diff(column[np.argsort(raw)]) >= 0).all()
        if len(distinct) <= values:
            np.testing.assert_array_equal(column, raw)
        else:
            assert len(kept) <= values


@settings(deadline=None)
@given(MATRICES, st.integers(2, 12))
def test_round_to_ranks_uses_nearest_kept_value(X: NDArray[np.float32], values: int) -> None:
    rounded = round_to_ranks(X, values).astype(np.float64)
    for raw, column in zip(X.T.astype(np.float64), rounded.T, strict=True):
        nearest = np.abs(raw[:, None] - np.unique(column)).min(axis=1)
        np.testing.assert_array_equal(np.abs(raw - column), nearest)


def test_round_to_ranks_is_independent_of_row_order() -> None:
    X, _ = training_rows(300)
    order = np.random.default_rng(SEED).permutation(len(X))
    np.testing.assert_array_equal(round_to_ranks(X[order], 16), round_to_ranks(X, 16)[order])


def test_round_to_ranks_values_represent_equal_row_counts() -> None:
    """Each kept value represents about the same number of rows, for any distance between values."""
    X = np.random.default_rng(SEED).lognormal(sigma=2, size=(3000, 1)).astype(np.float32)
    _, counts = np.unique(round_to_ranks(X, 31), return_counts=True)
    assert len(counts) == 31
    assert np.median(counts) == pytest.approx(100, rel=0.1)


@settings(max_examples=40, deadline=None)
@given(MATRICES, st.integers(2, 12), st.integers(0, 2**32 - 1))
def test_trees_predict_rounded_and_original_rows_equally(X: NDArray[np.float32], values: int, seed: int) -> None:
    y = np.random.default_rng(seed).gamma(2, 500, len(X))
    rounded = round_to_ranks(X, values)
    trees = GradientBoostingRegressor(n_estimators=5, max_depth=6, random_state=SEED).fit(rounded, y)
    np.testing.assert_array_equal(trees.predict(X), trees.predict(rounded))


def test_gradient_boosting_is_fitted_on_rounded_rows() -> None:
    X, y = training_rows(400)
    by_hand = GradientBoostingModel(tree_count=10, max_distinct_values=None).fit(
        round_to_ranks(X, 128), y, threads=1, seed=SEED
    )
    fitted = GradientBoostingModel(tree_count=10).fit(X, y, threads=1, seed=SEED)
    np.testing.assert_array_equal(fitted.predict(X), by_hand.predict(X))
    raw = GradientBoostingModel(tree_count=10, max_distinct_values=None).fit(X, y, threads=1, seed=SEED)
    assert (fitted.predict(X) != raw.predict(X)).any()
