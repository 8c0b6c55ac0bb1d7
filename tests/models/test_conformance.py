"""The conformance suite: it runs for every model of the catalogue, and for the worked example, LightGBM."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest

from examples.lightgbm_model import LightGBMModel
from preptime.domain.orders import QUANTILE_LEVELS
from preptime.errors import DataError
from preptime.models.catalogue import CATALOGUE
from preptime.models.model import MIN_ROWS, FittedModel, Model
from preptime.models.onnx_export import check_parity, merge_to_onnx
from tests.models.graphs import run, splits
from tests.models.rows import SEED, edge_rows, training_rows

X, Y = training_rows(200)

MODELS: dict[str, Model] = {**CATALOGUE, "lgbm": LightGBMModel()}
FittedModelByName = Callable[[str], FittedModel]

pytestmark = pytest.mark.parametrize("name", MODELS)


@pytest.fixture(scope="module")
def fitted_model() -> FittedModelByName:
    """Return a function that fits each model once on X and Y."""
    return cache(lambda name: MODELS[name].fit(X, Y, threads=1, seed=SEED))


def test_predict_returns_float32_seconds_in_model_shape(name: str, fitted_model: FittedModelByName) -> None:
    predicted = fitted_model(name).predict(X)
    assert predicted.shape == ((len(X), len(QUANTILE_LEVELS)) if name == "quantile" else (len(X),))
    assert predicted.dtype == np.float32
    assert predicted.std() > 60


def test_predict_is_never_negative(name: str) -> None:
    around_zero = Y - Y.mean()
    fitted = MODELS[name].fit(X, around_zero, threads=1, seed=SEED)
    predicted = fitted.predict(X)
    assert predicted.min() == 0
    assert predicted.max() > 0
    check_parity(merge_to_onnx({name: fitted}, X.shape[1]), {name: fitted}, X)


def test_predict_quantiles_never_cross(name: str, fitted_model: FittedModelByName) -> None:
    wild = np.random.default_rng(SEED).normal(scale=50, size=X.shape).astype(np.float32)
    predicted = fitted_model(name).predict(wild)
    assert (np.diff(predicted.reshape(len(wild), -1), axis=1) >= 0).all()


def test_fit_with_same_rows_and_seed_gives_same_bits(name: str, fitted_model: FittedModelByName) -> None:
    first, again = fitted_model(name), MODELS[name].fit(X, Y, threads=2, seed=SEED)
    np.testing.assert_array_equal(first.predict(X), again.predict(X))
    assert merge_to_onnx({name: first}, X.shape[1]) == merge_to_onnx({name: again}, X.shape[1])


def test_onnx_matches_on_training_rows(name: str, fitted_model: FittedModelByName) -> None:
    fitted = {name: fitted_model(name)}
    largest = check_parity(merge_to_onnx(fitted, X.shape[1]), fitted, X)
    assert list(largest) == [name]
    assert largest[name] < 0.01


def test_onnx_matches_on_thresholds(name: str, fitted_model: FittedModelByName) -> None:
    fitted = {name: fitted_model(name)}
    contents = merge_to_onnx(fitted, X.shape[1])
    check_parity(contents, fitted, edge_rows(X, splits(contents), 2000))


@pytest.mark.parametrize("value", [0.0, -0.0, 4.0, -1e30, 1e30, np.finfo(np.float32).max, 1e-42])
def test_onnx_matches_on_constant_rows(name: str, fitted_model: FittedModelByName, value: float) -> None:
    fitted = {name: fitted_model(name)}
    check_parity(merge_to_onnx(fitted, X.shape[1]), fitted, np.full((3, X.shape[1]), value, dtype=np.float32))


def test_predict_row_by_row_equals_all_rows(name: str, fitted_model: FittedModelByName) -> None:
    fitted = fitted_model(name)
    contents = merge_to_onnx({name: fitted}, X.shape[1])
    rows = X[:20]
    all_rows = fitted.predict(rows), run(contents, rows)[name]
    row_by_row = zip(*((fitted.predict(row[None]), run(contents, row[None])[name]) for row in rows), strict=True)
    for expected, parts in zip(all_rows, row_by_row, strict=True):
        np.testing.assert_array_equal(np.concatenate(parts), expected)


def test_importance_returns_shares(name: str, fitted_model: FittedModelByName) -> None:
    shares = fitted_model(name).importance()
    assert shares.shape == (X.shape[1],)
    assert shares.dtype == np.float64
    assert shares.sum() == pytest.approx(1)
    assert (shares >= 0).all()
    assert np.argmax(shares) == 0, "the label depends on feature 0 most"
    assert shares[2] == 0, "feature 2 is constant"


@pytest.mark.parametrize(("label", "rows"), [(0.0, 40), (700.0, 40), (700.0, 600)])
def test_fit_learns_constant_label(name: str, label: float, rows: int) -> None:
    """CatBoost's default sampling fails with a few hundred rows whose gradients are all 0, and works with fewer."""
    constant_X, _ = training_rows(rows)
    fitted = {name: MODELS[name].fit(constant_X, np.full(rows, label), threads=1, seed=SEED)}
    np.testing.assert_allclose(fitted[name].predict(X[:40]), label, atol=0.01)
    assert fitted[name].importance().sum() == pytest.approx(1)
    check_parity(merge_to_onnx(fitted, X.shape[1]), fitted, X)


def test_fit_works_with_three_rows(name: str) -> None:
    fitted = {name: MODELS[name].fit(X[:3], Y[:3], threads=1, seed=SEED)}
    check_parity(merge_to_onnx(fitted, X.shape[1]), fitted, X)


def test_fit_with_too_few_rows_raises(name: str) -> None:
    with pytest.raises(DataError, match=r"1 rows to fit on; at least [23] are needed"):
        MODELS[name].fit(X[: MIN_ROWS - 1], Y[: MIN_ROWS - 1], threads=1, seed=SEED)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_fit_with_infinite_or_nan_value_raises_with_row(name: str, value: float) -> None:
    bad_X, bad_y = X.copy(), Y.copy()
    bad_X[20, 3], bad_y[30] = value, value
    with pytest.raises(DataError, match=r"Feature 3 of row 20 is (nan|inf)"):
        MODELS[name].fit(bad_X, Y, threads=1, seed=SEED)
    with pytest.raises(DataError, match=r"label of row 30 is (nan|inf)"):
        MODELS[name].fit(X, bad_y, threads=1, seed=SEED)


def test_fit_with_identical_rows_raises(name: str) -> None:
    with pytest.raises(DataError, match="All 40 rows have the same features"):
        MODELS[name].fit(np.ones((40, 3), dtype=np.float32), Y[:40], threads=1, seed=SEED)


def test_fit_with_mismatched_labels_raises(name: str) -> None:
    with pytest.raises(DataError, match="200 rows of features, 199 labels"):
        MODELS[name].fit(X, Y[:-1], threads=1, seed=SEED)
