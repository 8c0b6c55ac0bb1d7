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
def test_few_own_values_least_and_greatest_among_them_in_the_same_order(X: NDArray[np.float32], values: int) -> None:
    before = X.copy()
    less = round_to_ranks(X, values)
    np.testing.assert_array_equal(X, before)
    assert less.dtype == np.float32
    assert less.shape == X.shape
    for raw, column in zip(X.T, less.T, strict=True):
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
def test_to_the_nearest_that_is_kept(X: NDArray[np.float32], values: int) -> None:
    less = round_to_ranks(X, values).astype(np.float64)
    for raw, column in zip(X.T.astype(np.float64), less.T, strict=True):
        nearest = np.abs(raw[:, None] - np.unique(column)).min(axis=1)
        np.testing.assert_array_equal(np.abs(raw - column), nearest)


def test_rows_in_another_order_are_rounded_alike() -> None:
    X, _ = training_rows(300)
    order = np.random.default_rng(SEED).permutation(len(X))
    np.testing.assert_array_equal(round_to_ranks(X[order], 16), round_to_ranks(X, 16)[order])


def test_values_stand_where_the_rows_are() -> None:
    """Each stands for about as many rows as any other, however far apart they lie."""
    X = np.random.default_rng(SEED).lognormal(sigma=2, size=(3000, 1)).astype(np.float32)
    _, counts = np.unique(round_to_ranks(X, 31), return_counts=True)
    assert len(counts) == 31
    assert np.median(counts) == pytest.approx(100, rel=0.1)


@settings(max_examples=40, deadline=None)
@given(MATRICES, st.integers(2, 12), st.integers(0, 2**32 - 1))
def test_trees_send_rows_where_they_sent_them_rounded(X: NDArray[np.float32], values: int, seed: int) -> None:
    y = np.random.default_rng(seed).gamma(2, 500, len(X))
    less = round_to_ranks(X, values)
    trees = GradientBoostingRegressor(n_estimators=5, max_depth=6, random_state=SEED).fit(less, y)
    np.testing.assert_array_equal(trees.predict(X), trees.predict(less))


def test_gradient_boosting_is_fitted_on_rounded_rows() -> None:
    X, y = training_rows(400)
    by_hand = GradientBoostingModel(tree_count=10, max_distinct_values=None).fit(
        round_to_ranks(X, 128), y, threads=1, seed=SEED
    )
    ours = GradientBoostingModel(tree_count=10).fit(X, y, threads=1, seed=SEED)
    np.testing.assert_array_equal(ours.predict(X), by_hand.predict(X))
    raw = GradientBoostingModel(tree_count=10, max_distinct_values=None).fit(X, y, threads=1, seed=SEED)
    assert (ours.predict(X) != raw.predict(X)).any()
