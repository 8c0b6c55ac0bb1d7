"""TreeSHAP equals the definition, and the values of CatBoost and XGBoost."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from preptime.domain.orders import MEDIAN_INDEX
from preptime.errors import UsageError
from preptime.explanations import tree_shap
from preptime.explanations.tree_shap import LEAF, TreeEnsemble, TreeExplainer, explain
from preptime.models import quantile
from preptime.models.catboost_models import CatBoostTrees, FittedCatBoostTrees
from preptime.models.quantile import QuantileModel
from tests.explanations.trees import brute_force, expected_value, make_ensemble, random_ensemble, xgboost_ensemble

LIMIT_SECONDS = 0.01
N_FEATURES = 12


def training_rows(seed: int, rows: int = 1_500) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return rows with ties, a missing value of -1, a constant column, and labels in seconds."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(rows, N_FEATURES)).astype(np.float32)
    X[:, 4:8] = np.round(X[:, 4:8] * 2)
    X[rng.random(rows) < 0.2, 5] = -1
    X[:, 11] = 3
    y = 900 + 300 * X[:, 0] * (X[:, 1] > 0) + 80 * X[:, 4] - 60 * X[:, 5] + 100 * rng.exponential(size=rows)
    return X, y.astype(np.float64)


@pytest.fixture(params=["table", "paths"])
def method(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Use the table of outcomes, or explain directly, which trees with many splits need."""
    if request.param == "paths":
        monkeypatch.setattr(tree_shap, "MAX_TABLE_SPLITS", 0)
    return str(request.param)


@pytest.mark.parametrize("seed", range(12))
def test_explain_equals_the_definition(seed: int, method: str) -> None:
    rng = np.random.default_rng(seed)
    count = 5
    ensemble = random_ensemble(rng, count)
    X = rng.integers(-3, 4, (6, count)).astype(np.float32)
    base, contributions = explain(ensemble, X)
    assert base == pytest.approx(expected_value(ensemble, X[0], frozenset()), abs=1e-9)
    np.testing.assert_allclose(contributions, [brute_force(ensemble, row) for row in X], atol=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_explain_adds_up_to_the_sum_of_the_trees(seed: int, method: str) -> None:
    rng = np.random.default_rng(100 + seed)
    ensemble = random_ensemble(rng, 8, trees=30, depth=5)
    X = rng.integers(-3, 4, (200, 8)).astype(np.float32)
    base, contributions = explain(ensemble, X)
    everything = frozenset(range(8))
    values = [expected_value(ensemble, row, everything) for row in X]
    np.testing.assert_allclose(base + contributions.sum(axis=1), values, atol=1e-9)


def test_explain_treats_twins_equally_and_unused_as_nothing() -> None:
    # Feature 0 and feature 1 have the same role, and feature 2 has none.
    both = [(0, 0.5, 0.0), (LEAF, 0.0, 2.0), (1, 0.5, 0.0), (LEAF, 0.0, 1.0), (LEAF, 100.0, 1.0)]
    swapped = [(1 - feature if feature != LEAF else LEAF, number, cover) for feature, number, cover in both]
    X = np.array([[1, 1, 7], [1, 0, 7], [0, 0, -7]], np.float32)
    _, contributions = explain(make_ensemble([*both, *swapped]), X)
    assert contributions[:, 2].tolist() == [0, 0, 0]
    assert contributions[0, 0] == pytest.approx(contributions[0, 1])
    assert contributions[2, 0] == pytest.approx(contributions[2, 1])
    assert contributions[1, 0] != pytest.approx(contributions[1, 1])


def test_explain_value_at_the_threshold_goes_left() -> None:
    threshold = np.float32(0.1)
    stump = make_ensemble([(0, float(threshold), 0.0), (LEAF, -8.0, 1.0), (LEAF, 8.0, 3.0)])
    X = np.array([[np.nextafter(threshold, np.float32(-1))], [threshold], [np.nextafter(threshold, np.float32(1))]])
    base, contributions = explain(stump, X)
    assert (base, contributions.ravel().tolist()) == (4.0, [-12.0, -12.0, 4.0])


def test_explain_constants_and_no_rows(method: str) -> None:
    constant = make_ensemble([(LEAF, 600.0, 1.0), (LEAF, 30.0, 0.0)])
    base, contributions = explain(constant, np.zeros((2, 3), np.float32))
    assert (base, contributions.tolist()) == (630.0, [[0, 0, 0], [0, 0, 0]])
    ensemble = random_ensemble(np.random.default_rng(1), 3)
    assert explain(ensemble, np.empty((0, 3), np.float32))[1].shape == (0, 3)


def test_explain_rows_of_several_chunks(monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    rng = np.random.default_rng(5)
    ensemble, X = random_ensemble(rng, 4), rng.integers(-3, 4, (50, 4)).astype(np.float32)
    expected = explain(ensemble, X)[1]
    monkeypatch.setattr(tree_shap, "_CHUNK_ELEMENTS", 100)
    np.testing.assert_allclose(explain(ensemble, X)[1], expected, atol=1e-12)


@pytest.mark.parametrize(
    ("feature", "number", "cover", "message"),
    [
        ([], [], [], "no nodes"),
        ([0, LEAF], [1, 2], [1], "an incomplete tree"),
        ([LEAF, 0, LEAF], [1, 2, 3], [1, 1], "an incomplete tree"),
        ([0, LEAF, LEAF], [1, 2], [1, 1], "3 nodes, 2 numbers, and 2 covers"),
        ([0, LEAF, LEAF], [1, 2, 3], [1], "3 nodes, 3 numbers, and 1 covers"),
        ([-2, LEAF, LEAF], [1, 2, 3], [1, 1], "the feature -2"),
        ([0, LEAF, LEAF], [1, np.inf, 3], [1, 1], "isn't finite"),
        ([0, LEAF, LEAF], [1, 2, 3], [1, -1], "negative cover"),
    ],
)
def test_ensemble_rejects_incomplete_trees(
    feature: list[int], number: list[float], cover: list[float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        TreeEnsemble(np.array(feature, np.int16), np.array(number, np.float32), np.array(cover, np.float32))


def chain(depth: int, features: int) -> TreeEnsemble:
    """Return a tree in which each split has a leaf on its left side."""
    nodes = [node for level in range(depth) for node in ((level % features, 0.5, 0.0), (LEAF, 1.0, 1.0))]
    return make_ensemble([*nodes, (LEAF, 2.0, 1.0)])


def test_explainer_refuses_large_trees_and_missing_columns() -> None:
    with pytest.raises(UsageError, match=r"Trees with 17 features on a path can't be explained: the limit is 16\."):
        TreeExplainer(chain(17, 17), 17)
    with pytest.raises(UsageError, match=r"Trees with 50,000 levels can't be explained: the limit is 64\."):
        TreeExplainer(chain(50_000, 2), 2)
    with pytest.raises(UsageError, match=r"Trees with 120,001 leaves can't be explained: the limit is 100,000\."):
        TreeExplainer(chain(120_000, 2), 2)
    with pytest.raises(ValueError, match="16 features, but the trees use 17"):
        TreeExplainer(chain(17, 17), 16)


def test_explain_many_trees_without_a_large_table(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(6)
    ensemble, X = random_ensemble(rng, 4), rng.integers(-3, 4, (50, 4)).astype(np.float32)
    expected = explain(ensemble, X)[1]
    monkeypatch.setattr(tree_shap, "MAX_TABLE_ELEMENTS", 1)
    np.testing.assert_allclose(explain(ensemble, X)[1], expected, atol=1e-9)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_explain_equals_catboost(seed: int) -> None:
    from catboost import Pool

    X, y = training_rows(seed)
    model = QuantileModel(tree_count=60).fit(X, y, threads=1, seed=seed)
    trees = model.trees
    assert isinstance(trees, FittedCatBoostTrees)
    base, contributions = explain(trees.to_ensemble(MEDIAN_INDEX), X)
    shap = trees.estimator.get_feature_importance(Pool(X), type="ShapValues")[:, MEDIAN_INDEX]
    np.testing.assert_allclose(contributions, shap[:, :-1], atol=LIMIT_SECONDS)
    np.testing.assert_allclose(base, shap[:, -1], atol=LIMIT_SECONDS)
    np.testing.assert_allclose(
        base + contributions.sum(axis=1), trees.predict_raw(X)[:, MEDIAN_INDEX], atol=LIMIT_SECONDS
    )


@pytest.mark.parametrize("depth", [1, 6, 8])
def test_explain_equals_catboost_at_other_depths(depth: int) -> None:
    from catboost import Pool

    X, y = training_rows(4, rows=400)
    trees = CatBoostTrees(tree_count=15, depth=depth, border_count=8).fit(X, y, threads=1, seed=1)
    base, contributions = explain(trees.to_ensemble(), X[:100])
    shap = trees.estimator.get_feature_importance(Pool(X[:100]), type="ShapValues")
    np.testing.assert_allclose(contributions, shap[:, :-1], atol=LIMIT_SECONDS)
    np.testing.assert_allclose(base, shap[:, -1], atol=LIMIT_SECONDS)


@pytest.mark.parametrize("scale", [-1.0, -0.3, 0.0, 0.4])
@pytest.mark.parametrize("label_values", [(), (300.0, 600.0, 900.0, 1500.0), (0.0, 60.0, 1000.0)])
def test_p50_trees_give_the_p50_of_the_model(scale: float, label_values: tuple[float, ...]) -> None:
    """Also for predictions under 60 s and under 0 s, and close to the border between two label values."""
    X, y = training_rows(7, rows=300)
    fitted = QuantileModel(tree_count=10).fit(X, y - 900, threads=1, seed=1)
    fitted = fitted.calibrated(np.full(4, scale), np.array(label_values))
    trees = fitted.p50_trees()
    assert trees is not None
    p50 = fitted.predict(X)[:, MEDIAN_INDEX]
    assert trees.distance(X, p50).max() < LIMIT_SECONDS
    assert trees.distance(X, p50 + np.float32(1)).max() > 0.9


def test_too_many_leaves_give_no_explanations(monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = training_rows(6, rows=200)
    fitted = QuantileModel(tree_count=4, depth=3).fit(X, y, threads=1, seed=1)
    trees = fitted.p50_trees()
    assert trees is not None
    assert len(trees.ensemble.cover) == 1 + 4 * 8  # the bias, and four trees
    monkeypatch.setattr(quantile, "MAX_LEAVES", 32)
    assert fitted.p50_trees() is None


def test_explain_catboost_of_constant_labels() -> None:
    X, y = training_rows(5, rows=60)
    trees = QuantileModel(tree_count=5).fit(X, np.full_like(y, 640.0), threads=1, seed=1).trees
    assert isinstance(trees, FittedCatBoostTrees)
    base, contributions = explain(trees.to_ensemble(MEDIAN_INDEX), X)
    assert base == pytest.approx(640.0, abs=1e-3)
    assert np.abs(contributions).max() < 1e-3


@pytest.mark.parametrize(("seed", "depth"), [(1, 4), (2, 6), (3, 2)])
def test_explain_equals_xgboost(seed: int, depth: int) -> None:
    from xgboost import DMatrix, XGBRegressor

    X, y = training_rows(seed)
    booster = XGBRegressor(n_estimators=60, max_depth=depth, learning_rate=0.1, n_jobs=1).fit(X, y).get_booster()
    base, contributions = explain(xgboost_ensemble(booster), X[:300])
    shap = booster.predict(DMatrix(X[:300]), pred_contribs=True)
    np.testing.assert_allclose(contributions, shap[:, :-1], atol=LIMIT_SECONDS)
    np.testing.assert_allclose(base, shap[:, -1], atol=LIMIT_SECONDS)
