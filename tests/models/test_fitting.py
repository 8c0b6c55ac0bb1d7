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
from preptime.models.sklearn_models import RandomForestModel
from preptime.models.stacking import StackingModel
from tests.models.rows import SEED, training_rows

X, Y = training_rows(120)
NOTEBOOK = {name: model for name, model in CATALOGUE.items() if name != "quantile"}


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Counts the libraries' own fits from here on, by estimator."""
    counted: Counter[str] = Counter()

    def count(name: str, fit: Callable[..., object]) -> Callable[..., object]:
        def counting(*arguments: object, **named: object) -> object:
            counted[name] += 1
            return fit(*arguments, **named)

        return counting

    monkeypatch.setattr(RandomForestRegressor, "fit", count("rf", RandomForestRegressor.fit))
    monkeypatch.setattr(GradientBoostingRegressor, "fit", count("gbr", GradientBoostingRegressor.fit))
    monkeypatch.setattr(CatBoostRegressor, "fit", count("cat", CatBoostRegressor.fit))
    monkeypatch.setattr(XGBRegressor, "fit", count("xgb", XGBRegressor.fit))
    return counted


def test_the_notebooks_five_cost_sixteen_base_fits(fits: Counter[str]) -> None:
    fitted = fit_all(NOTEBOOK, X, Y, threads=1, seed=SEED)
    assert fits == {"rf": 4, "gbr": 4, "cat": 4, "xgb": 4}
    stacking = fitted["stacking"]
    assert isinstance(stacking, FittedStackedModel)
    assert all(base is fitted[name] for name, base in stacking.bases.items())


def test_stacking_alone_fits_what_it_stands_on(fits: Counter[str]) -> None:
    CATALOGUE["stacking"].fit(X, Y, threads=1, seed=SEED)
    assert fits.total() == 16


def test_another_recipe_of_the_same_name_is_not_taken(fits: Counter[str]) -> None:
    fit_all(
        {"rf": RandomForestModel(tree_count=3), "stacking": StackingModel((RandomForestModel(),))},
        X,
        Y,
        threads=1,
        seed=SEED,
    )
    assert fits == {"rf": 5}


def test_together_is_each_alone_for_any_number_of_threads() -> None:
    told: list[str] = []
    together = fit_all(CATALOGUE, X, Y, threads=3, seed=SEED, on_fitted=told.append)
    assert list(together) == list(CATALOGUE)
    assert sorted(told) == sorted(CATALOGUE)
    for name, model in CATALOGUE.items():
        alone = model.fit(X, Y, threads=1, seed=SEED)
        np.testing.assert_array_equal(together[name].predict(X), alone.predict(X), err_msg=name)


def test_refuses_before_it_fits(fits: Counter[str]) -> None:
    with pytest.raises(DataError, match="1 rows to fit on"):
        fit_all(CATALOGUE, X[:1], Y[:1], threads=1, seed=SEED)
    assert not fits
