"""Reproduction of the published notebook: its cleaning, features, models, and scores (docs/notebook.md).

It's for comparison only. The notebook's random split and restaurant means leak, and it drops orders, which preptime
never does (decision 4). preptime's own accuracy is measured by `backtest`.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray
from sklearn.ensemble import GradientBoostingRegressor, RandomForestRegressor, StackingRegressor
from sklearn.linear_model import Ridge
from sklearn.metrics import mean_squared_error, r2_score
from sklearn.model_selection import cross_val_score, train_test_split

from preptime.domain.data_dictionary import TARGET
from preptime.domain.validation_reasons import ValidationReason
from preptime.errors import DataError
from preptime.models import catboost_models, xgboost_models
from preptime.models.model import Estimator
from preptime.progress import ProgressCallback, no_progress
from preptime.validation.audit import AuditedOrders

IQR_MULTIPLIER = 1.5
"""Tukey's multiple of the interquartile range. On data like the published one, the lower limit of both columns is
negative, so one-sided and two-sided trimming give the same rows."""

ORDER_COUNT_THRESHOLD = 20
"""Restaurants and types of food with more orders than this are kept."""

FEATURE_SET_1 = (
    *("order_value_gbp", "number_of_items", "r_counts", "monthday", "hour", "weekday"),
    *("city", "country", "type_of_food", "restaurant_id"),
)
FEATURE_SET_2 = (
    *("monthday", "hour", "weekday", "city", "country", "type_of_food", "restaurant_id"),
    *("r_counts", "order_value_gbp", "number_of_items"),
)
"""Without the last feature, the restaurant's mean, which depends on the training rows (`with_restaurant_mean`)."""

REQUIRED_COLUMNS = ("acknowledged_utc", "order_value_gbp", "number_of_items", "restaurant_id", TARGET)

SPLIT_SEED = 12
"""The only seed that the notebook names: that of `train_test_split`."""
ESTIMATOR_SEED = 12
"""Our seed for the estimators whose seeds aren't published. CatBoost keeps its library's default."""
CROSS_VALIDATION_FOLDS = 3
_BOOTSTRAP_SAMPLES = 200

PUBLISHED_ORDERS = 32_394
PUBLISHED_DAYS = ("2015-06-01", "2015-06-30")
PUBLISHED_SET_1 = {"rf": 0.287}
PUBLISHED_SET_2 = {"rf": 0.337, "gbr": 0.345, "cat": 0.353, "xgb": 0.343}
PUBLISHED_CAT_MSE = 129_220
PUBLISHED_CROSS_VALIDATED = {"rf": 0.336, "gbr": 0.352, "cat": 0.360, "xgb": 0.352, "stacking": 0.360}

LIBRARIES = ("scikit-learn", "catboost", "xgboost-cpu", "xgboost", "numpy")

EstimatorFactory = Callable[[], Estimator]


@dataclass(frozen=True, slots=True)
class CleaningStep:
    """One step of the cleaning, and the number of orders left after it."""

    description: str
    orders: int


@dataclass(frozen=True, slots=True)
class NotebookRows:
    """The N orders left after the notebook's cleaning, as its feature matrices."""

    feature_set_1: NDArray[np.float64]
    """[N, 10] in the order of `FEATURE_SET_1`."""
    feature_set_2: NDArray[np.float64]
    """[N, 10] in the order of `FEATURE_SET_2`."""
    restaurant_id: NDArray[np.int64]
    prep_time_seconds: NDArray[np.float64]
    steps: tuple[CleaningStep, ...]
    """The steps of the cleaning. The first one is reading."""
    first_day: str
    last_day: str
    """First and last UTC date of the complete orders before trimming, in ISO format."""

    def __len__(self) -> int:
        return len(self.restaurant_id)


def prepare_notebook_rows(audited: AuditedOrders) -> NotebookRows:
    """Clean and encode labelled orders as the notebook does.

    Hour, weekday, and day of month are UTC instead of local time. A category's code is its index in the sorted values
    of the restaurants file. Raises `DataError` if no restaurant has enough orders.
    """
    is_unlisted = (pl.col("reasons") & ValidationReason.UNKNOWN_RESTAURANT.bit) != 0
    named = audited.frame.rename({"order_value": "order_value_gbp"})  # the notebook's name
    usable = named.filter(~is_unlisted).drop_nulls(list(REQUIRED_COLUMNS))
    steps = [
        CleaningStep("orders read", len(audited)),
        CleaningStep("complete, and from a known restaurant", len(usable)),
    ]
    kept = usable
    for column in (TARGET, "order_value_gbp"):
        kept, (lower, upper) = _within_outlier_limits(kept, column)
        steps.append(CleaningStep(f"{column} from {lower:,.2f} to {upper:,.2f}", len(kept)))
    kept = kept.with_columns(r_counts=pl.len().over("restaurant_id"), f_counts=pl.len().over("type_of_food"))
    kept = kept.filter((pl.col("r_counts") > ORDER_COUNT_THRESHOLD) & (pl.col("f_counts") > ORDER_COUNT_THRESHOLD))
    steps.append(CleaningStep(f"restaurant and type of food with more than {ORDER_COUNT_THRESHOLD} orders", len(kept)))
    if kept.is_empty():
        raise DataError(
            f"None of the {len(usable):,} complete orders is from a restaurant with more than {ORDER_COUNT_THRESHOLD} "
            "orders.",
            "The notebook's protocol keeps only such restaurants. Provide more days of orders.",
        )
    acknowledged_at = pl.col("acknowledged_utc")
    kept = kept.with_columns(
        monthday=acknowledged_at.dt.day(), hour=acknowledged_at.dt.hour(), weekday=acknowledged_at.dt.weekday() - 1
    )
    days = usable["acknowledged_utc"].dt.date().cast(pl.String)
    return NotebookRows(
        feature_set_1=kept.select(FEATURE_SET_1).cast(pl.Float64).to_numpy(),
        feature_set_2=kept.select(FEATURE_SET_2).cast(pl.Float64).to_numpy(),
        restaurant_id=kept["restaurant_id"].to_numpy(),
        prep_time_seconds=kept[TARGET].cast(pl.Float64).to_numpy(),
        steps=tuple(steps),
        first_day=str(days.min()),
        last_day=str(days.max()),
    )


def with_restaurant_mean(rows: NotebookRows, train: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return the complete feature set 2, [N, 11]. The last column is the restaurant's mean over the `train` rows.

    A restaurant without training rows gets the mean of all training rows.
    """
    _, restaurant = np.unique(rows.restaurant_id, return_inverse=True)
    labels = rows.prep_time_seconds[train]
    count = np.bincount(restaurant[train], minlength=restaurant.max() + 1)
    total = np.bincount(restaurant[train], weights=labels, minlength=len(count))
    mean = np.where(count > 0, total / np.maximum(count, 1), labels.mean())
    return np.column_stack([rows.feature_set_2, mean[restaurant]])


def _within_outlier_limits(orders: pl.DataFrame, column: str) -> tuple[pl.DataFrame, tuple[float, float]]:
    """Return the rows whose `column` is within Tukey's outlier limits, and the limits."""
    lower_quartile, upper_quartile = np.quantile(orders[column].to_numpy(), [0.25, 0.75]) if len(orders) else (0.0, 0.0)
    margin = IQR_MULTIPLIER * (upper_quartile - lower_quartile)
    limits = (float(lower_quartile - margin), float(upper_quartile + margin))
    return orders.filter(pl.col(column).is_between(*limits)), limits


class TestScore(msgspec.Struct, frozen=True):
    """One model's scores on the test rows, a quarter of the orders."""

    feature_set: int
    model: str
    r2: float
    mse: float
    """Seconds squared."""
    published_r2: float | None


class CrossValidatedScore(msgspec.Struct, frozen=True):
    """One model's R² over three folds of the training rows, feature set 2: `cross_val_score(cv=3)`.

    The folds are of the training rows, which the split shuffled: R² is within .002 of the published value for all five
    models. On all rows, the folds are blocks of a file grouped by restaurant, and R² is .014 lower than published.
    """

    model: str
    r2_mean: float
    r2_std: float
    published_r2: float | None


class NotebookDocument(msgspec.Struct, frozen=True):
    """The output of `preptime notebook --json`."""

    n: int
    """Orders after the notebook's cleaning: training and test rows."""
    rows: list[TestScore]
    cross_validation_scores: list[CrossValidatedScore]


@dataclass(frozen=True, slots=True)
class Reproduction:
    """The scores, and the facts that explain how they differ from the published ones."""

    document: NotebookDocument
    rows: NotebookRows
    r2_standard_error: float
    """Standard error of CatBoost's test R² over draws of the test rows (bootstrap)."""


def reproduce_notebook(audited: AuditedOrders, progress: ProgressCallback = no_progress) -> Reproduction:
    """Run the notebook's protocol on labelled orders: clean, split at random, fit, score, and cross-validate.

    Raises `DataError` if no orders are left after the cleaning.
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
    # Each fit uses one thread (see `random_forest`), and no fit depends on another.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
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
    """Return the notebook's random forest, without the limit on leaves of the one that `train` exports.

    It uses one thread: with more, the order in which the trees' predictions are added varies, and so do the last bits.
    """
    return RandomForestRegressor(
        n_estimators=100,
        min_samples_split=min_samples_split,
        max_features="log2",
        random_state=ESTIMATOR_SEED,
        n_jobs=1,
    )


def estimators() -> dict[str, EstimatorFactory]:
    """Return factories of the notebook's five models by name, with the published hyperparameters."""
    base_factories: dict[str, EstimatorFactory] = {
        "rf": lambda: random_forest(min_samples_split=6),
        "gbr": lambda: GradientBoostingRegressor(n_estimators=100, learning_rate=0.1, random_state=ESTIMATOR_SEED),
        "cat": catboost_models.notebook_estimator,
        "xgb": xgboost_models.notebook_estimator,
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
    """Return the standard error of R² over bootstrap samples of the test rows."""
    draws = np.random.default_rng(ESTIMATOR_SEED).integers(0, len(labels), size=(_BOOTSTRAP_SAMPLES, len(labels)))
    return float(np.std([r2_score(labels[rows], predicted[rows]) for rows in draws]))


def render_text(reproduction: Reproduction) -> str:
    """Return the scores next to the published ones as tables, and a sentence for each reason why they differ."""
    lines = [
        *_render_cleaning(reproduction),
        "",
        *_render_score_tables(reproduction),
        "",
        *_explain_differences(reproduction),
    ]
    return "\n".join(lines) + "\n"


def _render_cleaning(reproduction: Reproduction) -> Iterator[str]:
    yield f"{'orders':>8}  after"
    for step in reproduction.rows.steps:
        yield f"{step.orders:>8,}  {step.description}"


def _render_score_tables(reproduction: Reproduction) -> Iterator[str]:
    document = reproduction.document
    yield f"{'set':>3}  {'model':<8}  {'R² here':>8}  {'published':>9}  {'difference':>10}  {'MSE, s²':>9}"
    for row in document.rows:
        prefix = f"{row.feature_set:>3}  {row.model:<8}  {_format_r2(row.r2):>8}  {_format_r2(row.published_r2):>9}"
        yield f"{prefix}  {_format_difference(row.r2, row.published_r2):>10}  {row.mse:>9,.0f}"
    yield ""
    yield f"{'3-fold':<13}  {'R² here':>8}  {'published':>9}  {'difference':>10}  {'± folds':>9}"
    for fold in document.cross_validation_scores:
        prefix = f"     {fold.model:<8}  {_format_r2(fold.r2_mean):>8}  {_format_r2(fold.published_r2):>9}"
        yield f"{prefix}  {_format_difference(fold.r2_mean, fold.published_r2):>10}  {fold.r2_std:>9.3f}"


def _explain_differences(reproduction: Reproduction) -> Iterator[str]:
    yield "Differences from the published run:"
    yield f"- {_explain_orders(reproduction)}"
    largest = max(
        abs(reproduced - published)
        for reproduced, published in [
            *((row.r2, row.published_r2) for row in reproduction.document.rows),
            *((fold.r2_mean, fold.published_r2) for fold in reproduction.document.cross_validation_scores),
        ]
        if published is not None
    )
    yield (
        f"- The largest difference in R² is {largest:.3f}. For comparison, the standard error of a test R² is "
        f"{reproduction.r2_standard_error:.3f} (bootstrap of the test rows)."
    )
    yield (
        f"- The published run names only the split's seed ({SPLIT_SEED}). CatBoost uses its library's default. The "
        f"seeds of the forest, the boosting, and the stacking are unknown. This run uses {ESTIMATOR_SEED}."
    )
    yield f"- The published run's library versions are unknown. This run uses {', '.join(_library_versions())}."
    yield f"- The test score of stacking wasn't published. The published MSE of CatBoost is {PUBLISHED_CAT_MSE:,} s²."


def _explain_orders(reproduction: Reproduction) -> str:
    rows = reproduction.rows
    orders_read = rows.steps[0].orders
    is_subset = (
        rows.first_day >= PUBLISHED_DAYS[0] and rows.last_day <= PUBLISHED_DAYS[1] and orders_read <= PUBLISHED_ORDERS
    )
    description = f"{orders_read:,} orders of {rows.first_day} to {rows.last_day}"
    if not is_subset:
        return (
            f"This run has other data ({description}) than the published run ({PUBLISHED_ORDERS:,} orders of "
            f"{' to '.join(PUBLISHED_DAYS)}), so the scores aren't comparable."
        )
    if orders_read == PUBLISHED_ORDERS:
        return (
            f"This run has as many orders as the published run: {description}. On the same orders, the split is equal."
        )
    return (
        f"This run has {description}, {PUBLISHED_ORDERS - orders_read:,} fewer than the published "
        f"{PUBLISHED_ORDERS:,}. If they're a part of the published orders, fewer restaurants have more than "
        f"{ORDER_COUNT_THRESHOLD} orders, and the same seed selects other test rows. Otherwise, the scores aren't "
        "comparable."
    )


def _library_versions() -> Iterator[str]:
    yield f"Python {platform.python_version()}"
    for library in LIBRARIES:
        with suppress(PackageNotFoundError):  # only one of xgboost-cpu and xgboost is installed
            yield f"{library} {version(library)}"


def _format_r2(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _format_difference(reproduced: float, published: float | None) -> str:
    return "–" if published is None else f"{round(reproduced - published, 3) + 0.0:+.3f}"
