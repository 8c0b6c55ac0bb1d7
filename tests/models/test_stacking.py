from __future__ import annotations

import numpy as np
from sklearn.ensemble import StackingRegressor
from sklearn.linear_model import Ridge

from preptime.models.sklearn_models import RandomForestModel, StackingModel
from preptime.models.xgboost_models import XGBoostModel, notebook_estimator
from tests.models.rows import SEED, training_rows

X, Y = training_rows(301)


def test_stacking_matches_scikit_learn() -> None:
    stacking = StackingModel((XGBoostModel(), XGBoostModel(name="deep", depth=8)), folds=3).fit(
        X, Y, threads=2, seed=SEED
    )
    deep = notebook_estimator()
    assert hasattr(deep, "set_params")
    deep.set_params(max_depth=8)
    members = [("xgb", notebook_estimator()), ("deep", deep)]
    reference = StackingRegressor(members, final_estimator=Ridge(alpha=0.3), cv=3).fit(X, Y)
    # scikit-learn doesn't clip the predictions of base models. Labels are far from 0, so clipping has little effect.
    np.testing.assert_allclose(stacking.predict(X), np.maximum(reference.predict(X), 0), rtol=0.01, atol=10)


def test_stacking_weights_use_out_of_fold_predictions() -> None:
    """Otherwise, an overfitted model would get all the weight."""
    noise = np.random.default_rng(SEED).gamma(2, 500, len(X))
    fitted = StackingModel((RandomForestModel(min_samples_split=2, max_leaf_nodes=None),)).fit(
        X, noise, threads=1, seed=SEED
    )
    assert abs(fitted.weights[0]) < 0.5


def test_stacking_importance_is_weighted_by_coefficients() -> None:
    fitted = StackingModel((XGBoostModel(), RandomForestModel())).fit(X, Y, threads=1, seed=SEED)
    shares = np.abs(fitted.weights) / np.abs(fitted.weights).sum()
    mixed = sum(share * base.importance() for share, base in zip(shares, fitted.bases.values(), strict=True))
    np.testing.assert_allclose(fitted.importance(), mixed, rtol=1e-5)
