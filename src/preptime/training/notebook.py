"""The data scientist's notebook, its published protocol reproduced to the letter (docs/notebook.md).

It is here to be compared with, not to be used: its random split and its restaurant means leak, which is why what
preptime itself claims is measured by `backtest`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import as_completed
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import GradientBoostingRegressor, RandomForestRegressor, StackingRegressor
from sklearn.linear_model import Ridge
from sklearn.metrics import mean_squared_error, r2_score
from sklearn.model_selection import cross_val_score, train_test_split

from preptime.models import cat, xgb
from preptime.models.estimator import Estimator
from preptime.models.threads import fitting_threads
from preptime.tables.audit import AuditedOrders, audit_orders
from preptime.tables.directory import read_restaurants
from preptime.tables.open import open_source
from preptime.training.notebook_rows import NotebookRows, prepare_notebook_rows, with_restaurant_mean
from preptime.training.progress import ProgressCallback, no_progress

SPLIT_SEED = 12
"""The one seed the notebook names: that of `train_test_split`."""
ESTIMATOR_SEED = 12
"""Ours for the estimators whose seeds the notebook does not name; CatBoost keeps its library's default, as there."""
CROSS_VALIDATION_FOLDS = 3

PUBLISHED_ORDERS = 32_394
PUBLISHED_SET_1 = {"rf": 0.287}
PUBLISHED_SET_2 = {"rf": 0.337, "gbr": 0.345, "cat": 0.353, "xgb": 0.343}
PUBLISHED_CAT_MSE = 129_220
PUBLISHED_CROSS_VALIDATED = {"rf": 0.336, "gbr": 0.352, "cat": 0.360, "xgb": 0.352, "stacking": 0.360}

EstimatorFactory = Callable[[], Estimator]


class TestScore(msgspec.Struct, frozen=True):
    """One model on the test quarter of the random split."""

    feature_set: int
    model: str
    r2: float
    mse: float
    """Seconds squared."""
    published_r2: float | None


class CrossValidatedScore(msgspec.Struct, frozen=True):
    """One model's R² over three folds of the training rows, set 2: `cross_val_score(cv=3)`.

    Not of all rows: on those the folds are blocks of the file, which is grouped by restaurant, and R² comes out .014
    lower than published; on the training rows, which the split has shuffled, within .002 for all five.
    """

    model: str
    r2_mean: float
    r2_std: float
    published_r2: float | None


class NotebookDocument(msgspec.Struct, frozen=True):
    """What `preptime notebook --json` prints."""

    n: int
    """Orders left after the notebook's cleaning: training and test rows together."""
    rows: list[TestScore]
    cross_validation_scores: list[CrossValidatedScore]


@dataclass(frozen=True, slots=True)
class Reproduction:
    """The document, and the facts that explain why it differs from the published figures."""

    document: NotebookDocument
    rows: NotebookRows
    r2_standard_error: float
    """Of CatBoost's test R²: what another draw of the test rows would change, by bootstrap."""


def run_notebook(
    orders: str | Path, restaurants: str | Path, progress: ProgressCallback = no_progress
) -> NotebookDocument:
    """Run the protocol on two tables (paths, globs, addresses); `reproduce` also keeps the facts for people."""
    restaurant_index = read_restaurants(open_source(restaurants).frame())
    return reproduce_notebook(
        audit_orders(open_source(orders).frame(), restaurant_index, need_label=True), progress
    ).document


def reproduce_notebook(audited: AuditedOrders, progress: ProgressCallback = no_progress) -> Reproduction:
    """Run the notebook's protocol on labelled orders: clean, split at random, fit, score, cross-validate.

    Raises DataError when the cleaning leaves nothing.
    """
    rows = prepare_notebook_rows(audited)
    labels = rows.prep_time_seconds
    train, test = train_test_split(np.arange(len(rows)), random_state=SPLIT_SEED)
    matrices = {1: rows.feature_set_1, 2: with_restaurant_mean(rows, train)}

    def predict(feature_set: int, factory: EstimatorFactory) -> NDArray[np.float64]:
        matrix = matrices[feature_set]
        return factory().fit(matrix[train], labels[train]).predict(matrix[test])

    def cross_validate(factory: EstimatorFactory) -> NDArray[np.float64]:
        return cross_val_score(factory(), matrices[2][train], labels[train], cv=CROSS_VALIDATION_FOLDS)

    factories = estimators()
    # One fit is one thread's work (see `forest`), and no fit reads another's result.
    with fitting_threads(os.cpu_count()) as pool:
        set_1_forest = pool.submit(predict, 1, lambda: random_forest(min_samples_split=4))
        fold_scores = {name: pool.submit(cross_validate, factory) for name, factory in reversed(factories.items())}
        test_predictions = {name: pool.submit(predict, 2, factory) for name, factory in factories.items()}
        jobs = [set_1_forest, *fold_scores.values(), *test_predictions.values()]
        for completed, _ in enumerate(as_completed(jobs), 1):
            progress("Notebook", completed / len(jobs))
    document = NotebookDocument(
        len(rows),
        [
            _test_score(1, "rf", labels[test], set_1_forest.result(), PUBLISHED_SET_1),
            *(
                _test_score(2, name, labels[test], test_predictions[name].result(), PUBLISHED_SET_2)
                for name in factories
            ),
        ],
        [_cross_validated_score(name, fold_scores[name].result()) for name in factories],
    )
    return Reproduction(document, rows, _r2_standard_error(labels[test], test_predictions["cat"].result()))


def random_forest(min_samples_split: int) -> Estimator:
    """The notebook's random forest: uncapped, unlike the one that `train` exports.

    One thread: with more, the trees' answers are added up in the order they come in, other bits each time.
    """
    return RandomForestRegressor(
        n_estimators=100,
        min_samples_split=min_samples_split,
        max_features="log2",
        random_state=ESTIMATOR_SEED,
        n_jobs=1,
    )


def estimators() -> dict[str, EstimatorFactory]:
    """The notebook's five by name, unfitted, with its published hyperparameters; no grid search."""
    base_factories: dict[str, EstimatorFactory] = {
        "rf": lambda: random_forest(min_samples_split=6),
        "gbr": lambda: GradientBoostingRegressor(n_estimators=100, learning_rate=0.1, random_state=ESTIMATOR_SEED),
        "cat": cat.notebook_estimator,
        "xgb": xgb.notebook_estimator,
    }

    def stacking() -> Estimator:
        base_estimators = [(name, factory()) for name, factory in base_factories.items()]
        return StackingRegressor(base_estimators, final_estimator=Ridge(alpha=0.3), cv=CROSS_VALIDATION_FOLDS, n_jobs=1)

    return {**base_factories, "stacking": stacking}


def _test_score(
    feature_set: int,
    name: str,
    actual: NDArray[np.float64],
    predicted: NDArray[np.float64],
    published: dict[str, float],
) -> TestScore:
    r2, mse = r2_score(actual, predicted), mean_squared_error(actual, predicted)
    return TestScore(feature_set, name, r2, mse, published.get(name))


def _cross_validated_score(name: str, r2: NDArray[np.float64]) -> CrossValidatedScore:
    return CrossValidatedScore(name, float(r2.mean()), float(r2.std()), PUBLISHED_CROSS_VALIDATED[name])


def _r2_standard_error(labels: NDArray[np.float64], predicted: NDArray[np.float64]) -> float:
    """The standard error of R² over draws of the test rows: 200 bootstrap samples."""
    draws = np.random.default_rng(ESTIMATOR_SEED).integers(0, len(labels), size=(200, len(labels)))
    return float(np.std([r2_score(labels[rows], predicted[rows]) for rows in draws]))
