from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from catboost import CatBoostRegressor
from sklearn.ensemble import GradientBoostingRegressor, RandomForestRegressor
from xgboost import XGBRegressor

from preptime.errors import DataError
from preptime.models.catalogue import CATALOGUE
from preptime.models.fitting import fit_all
from preptime.models.model import FittedStackedModel
from preptime.models.sklearn_models import RandomForestModel, StackingModel
from tests.models.rows import SEED, training_rows

X, Y = training_rows(120)
NOTEBOOK = {name: model for name, model in CATALOGUE.items() if name != "quantile"}


@pytest.fixture
def fit_counts(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count the calls to the libraries' own `fit`, by estimator."""
    counts: Counter[str] = Counter()

    def count(name: str, fit: Callable[..., object]) -> Callable[..., object]:
        def counting(*arguments: object, **named: object) -> object:
            counts[name] += 1
            return fit(*arguments, **named)

        return counting

    monkeypatch.setattr(RandomForestRegressor, "fit", count("rf", RandomForestRegressor.fit))
    monkeypatch.setattr(GradientBoostingRegressor, "fit", count("gbr", GradientBoostingRegressor.fit))
    monkeypatch.setattr(CatBoostRegressor, "fit", count("cat", CatBoostRegressor.fit))
    monkeypatch.setattr(XGBRegressor, "fit", count("xgb", XGBRegressor.fit))
    return counts


def test_fit_all_of_notebook_models_needs_16_base_fits(fit_counts: Counter[str]) -> None:
    fitted = fit_all(NOTEBOOK, X, Y, threads=1, seed=SEED)
    assert fit_counts == {"rf": 4, "gbr": 4, "cat": 4, "xgb": 4}
    stacking = fitted["stacking"]
    assert isinstance(stacking, FittedStackedModel)
    assert all(base is fitted[name] for name, base in stacking.bases.items())


def test_stacking_fit_fits_its_base_models(fit_counts: Counter[str]) -> None:
    CATALOGUE["stacking"].fit(X, Y, threads=1, seed=SEED)
    assert fit_counts.total() == 16


def test_fit_all_does_not_reuse_other_model_with_same_name(fit_counts: Counter[str]) -> None:
    fit_all(
        {"rf": RandomForestModel(tree_count=3), "stacking": StackingModel((RandomForestModel(),))},
        X,
        Y,
        threads=1,
        seed=SEED,
    )
    assert fit_counts == {"rf": 5}


def test_fit_all_equals_separate_fits_for_any_threads() -> None:
    reported_names: list[str] = []
    fitted = fit_all(CATALOGUE, X, Y, threads=3, seed=SEED, on_fitted=reported_names.append)
    assert list(fitted) == list(CATALOGUE)
    assert sorted(reported_names) == sorted(CATALOGUE)
    for name, model in CATALOGUE.items():
        separate = model.fit(X, Y, threads=1, seed=SEED)
        np.testing.assert_array_equal(fitted[name].predict(X), separate.predict(X), err_msg=name)


def test_fit_all_with_invalid_rows_raises_before_fitting(fit_counts: Counter[str]) -> None:
    with pytest.raises(DataError, match="1 rows to fit on"):
        fit_all(CATALOGUE, X[:1], Y[:1], threads=1, seed=SEED)
    assert not fit_counts
