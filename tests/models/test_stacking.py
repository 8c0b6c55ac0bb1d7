from __future__ import annotations

import numpy as np
from sklearn.ensemble import StackingRegressor
from sklearn.linear_model import Ridge

from preptime.models.sklearn_models import RandomForestModel
from preptime.models.stacking import StackingModel
from preptime.models.xgboost_models import XGBoostModel, notebook_estimator
from tests.models.rows import SEED, training_rows

X, Y = training_rows(301)


def test_is_the_librarys_stacking_without_its_second_fits() -> None:
    ours = StackingModel((XGBoostModel(), XGBoostModel(name="deep", depth=8)), folds=3).fit(X, Y, threads=2, seed=SEED)
    deep = notebook_estimator()
    assert hasattr(deep, "set_params")
    deep.set_params(max_depth=8)
    members = [("xgb", notebook_estimator()), ("deep", deep)]
    theirs = StackingRegressor(members, final_estimator=Ridge(alpha=0.3), cv=3).fit(X, Y)
    # Theirs does not clip what the base models say; the labels are far from 0, so little is clipped.
    np.testing.assert_allclose(ours.predict(X), np.maximum(theirs.predict(X), 0), rtol=0.01, atol=10)


def test_weights_come_from_rows_the_base_models_have_not_seen() -> None:
    """A model that knows its rows by heart would otherwise get all the weight, and noise for it."""
    noise = np.random.default_rng(SEED).gamma(2, 500, len(X))
    fitted = StackingModel((RandomForestModel(min_samples_split=2, max_leaf_nodes=None),)).fit(
        X, noise, threads=1, seed=SEED
    )
    assert abs(fitted.weights[0]) < 0.5


def test_importance_follows_the_weights() -> None:
    fitted = StackingModel((XGBoostModel(), RandomForestModel())).fit(X, Y, threads=1, seed=SEED)
    shares = np.abs(fitted.weights) / np.abs(fitted.weights).sum()
    mixed = sum(share * base.importance() for share, base in zip(shares, fitted.bases.values(), strict=True))
    np.testing.assert_allclose(fitted.importance(), mixed, rtol=1e-5)
