"""Tests of the notebook's protocol on small data with known results."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Protocol, runtime_checkable

import msgspec
import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.model_selection import cross_val_score, train_test_split

from preptime.errors import DataError
from preptime.progress import ProgressCallback, no_progress
from preptime.sources.registry import open_source
from preptime.training.notebook import (
    FEATURE_SET_1,
    FEATURE_SET_2,
    NotebookDocument,
    NotebookRows,
    Reproduction,
    estimators,
    prepare_notebook_rows,
    random_forest,
    render_text,
    reproduce_notebook,
    with_restaurant_mean,
)
from preptime.validation.audit import AuditedOrders, audit_orders
from preptime.validation.restaurants import read_restaurants
from tests.requirements import real_data

FOODS = ("thai", "italian", "chinese")


def restaurants_of(ids: list[int]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "restaurant_id": ids,
            "country": ["UK" if i % 2 else "France" for i in ids],
            "city": ["London" if i % 2 else "Paris" for i in ids],
            "type_of_food": [FOODS[i % 3] for i in ids],
        }
    )


def orders_of(restaurant_id: NDArray[np.int64], seed: int = 3, year: int = 2015) -> pl.DataFrame:
    """Return orders whose preparation time depends on the restaurant, the items, and a random part."""
    rng = np.random.default_rng(seed)
    n = len(restaurant_id)
    items = rng.integers(1, 9, n)
    start = dt.datetime(year, 6, 1, 9, tzinfo=dt.UTC)
    return pl.DataFrame(
        {
            "order_acknowledged_at": [start + dt.timedelta(minutes=int(m)) for m in rng.integers(0, 20 * 1440, n)],
            "order_value_gbp": np.round(5 + 5 * items + rng.uniform(0, 9, n), 2),
            "restaurant_id": restaurant_id,
            "number_of_items": items,
            "prep_time_seconds": 400 + 60 * (restaurant_id % 10) + 20 * items + rng.integers(0, 200, n),
        }
    )


@runtime_checkable
class HasParams(Protocol):
    """An estimator of any of the libraries."""

    def get_params(self) -> dict[str, object]: ...


def params(estimator: object) -> dict[str, object]:
    assert isinstance(estimator, HasParams)
    return estimator.get_params()


def audited(orders: pl.DataFrame, restaurants: pl.DataFrame) -> AuditedOrders:
    return audit_orders(orders, read_restaurants(restaurants), need_label=True)


@pytest.fixture(scope="module")
def restaurants() -> pl.DataFrame:
    return restaurants_of([1, 2, 3, 4, 5, 6, 7, 8])


@pytest.fixture(scope="module")
def orders() -> pl.DataFrame:
    return orders_of(np.repeat(np.arange(1, 9), [90, 80, 70, 60, 50, 40, 30, 5]))


@pytest.fixture(scope="module")
def reproduction(orders: pl.DataFrame, restaurants: pl.DataFrame) -> Reproduction:
    return reproduce_notebook(audited(orders, restaurants))


def column(rows: NotebookRows, name: str) -> NDArray[np.float64]:
    return rows.feature_set_2[:, FEATURE_SET_2.index(name)]


def test_rows_trim_preparation_time_before_order_value(restaurants: pl.DataFrame) -> None:
    orders = orders_of(np.repeat(1, 200))
    # Some expensive orders are slow as well. Removing them changes the outlier limit of the value.
    slow = orders.head(20).with_columns(prep_time_seconds=pl.lit(90_000, pl.Int64), order_value_gbp=pl.lit(60.0))
    expensive = orders.tail(2).with_columns(order_value_gbp=pl.lit(900.0))
    rows = prepare_notebook_rows(audited(pl.concat([orders, slow, expensive]), restaurants))

    assert [step.orders for step in rows.steps] == [222, 222, 202, 200, 200]
    lower, upper = np.quantile(orders["prep_time_seconds"], [0.0, 1.0])
    assert rows.prep_time_seconds.min() >= lower
    assert rows.prep_time_seconds.max() <= upper


def test_rows_count_restaurants_and_foods_before_filtering(restaurants: pl.DataFrame) -> None:
    # Restaurants 1 and 4 have the same food. Restaurant 1 has 21 orders. Restaurants 2 and 4 have 20, and are removed.
    orders = orders_of(np.repeat([1, 4, 2], [21, 20, 20])).with_columns(
        prep_time_seconds=pl.lit(600), order_value_gbp=pl.lit(20.0)
    )
    rows = prepare_notebook_rows(audited(orders, restaurants))

    assert set(rows.restaurant_id) == {1}
    assert set(column(rows, "r_counts")) == {21}


def test_rows_hour_weekday_and_day_of_month_are_utc(restaurants: pl.DataFrame) -> None:
    zone = dt.timezone(dt.timedelta(hours=2))
    at = dt.datetime(2015, 6, 15, 0, 30, tzinfo=zone)  # Monday in Paris, still Sunday the 14th, 22:30, in UTC
    orders = orders_of(np.repeat(2, 30)).with_columns(order_acknowledged_at=pl.lit(at.isoformat(sep=" ")))
    rows = prepare_notebook_rows(audited(orders, restaurants))

    assert set(column(rows, "monthday")) == {14}
    assert set(column(rows, "hour")) == {22}
    assert set(column(rows, "weekday")) == {6}


def test_feature_sets_have_published_columns_in_order(restaurants: pl.DataFrame) -> None:
    orders = orders_of(np.repeat(1, 30))
    rows = prepare_notebook_rows(audited(orders, restaurants))
    first = orders.row(0, named=True)
    at = first["order_acknowledged_at"]
    # Codes are indices in the sorted values: France < UK, London < Paris, chinese < italian < thai.
    value, items, day, hour, weekday = first["order_value_gbp"], first["number_of_items"], at.day, at.hour, at.weekday()
    food = sorted(FOODS).index(FOODS[1])

    assert rows.feature_set_1[0].tolist() == [value, items, 30, day, hour, weekday, 0, 1, food, 1]
    assert rows.feature_set_2[0].tolist() == [day, hour, weekday, 0, 1, food, 1, 30, value, items]
    assert sorted(FEATURE_SET_1) == sorted(FEATURE_SET_2)


def test_restaurant_mean_uses_training_rows_only(orders: pl.DataFrame, restaurants: pl.DataFrame) -> None:
    rows = prepare_notebook_rows(audited(orders, restaurants))
    train = np.flatnonzero(rows.restaurant_id != 2)[::2]
    mean = with_restaurant_mean(rows, train)[:, -1]

    for restaurant in np.unique(rows.restaurant_id):
        is_restaurant = rows.restaurant_id == restaurant
        known = rows.prep_time_seconds[train][is_restaurant[train]]
        expected = known.mean() if len(known) else rows.prep_time_seconds[train].mean()
        assert mean[is_restaurant] == pytest.approx(expected)


def test_rows_exclude_incomplete_and_unlisted_orders(orders: pl.DataFrame, restaurants: pl.DataFrame) -> None:
    invalid = orders.with_columns(
        prep_time_seconds=pl.when(pl.int_range(pl.len()) < 3).then(None).otherwise(pl.col("prep_time_seconds")),
        restaurant_id=pl.when(pl.int_range(pl.len()) == 50).then(999).otherwise(pl.col("restaurant_id")),
    )
    assert [step.orders for step in prepare_notebook_rows(audited(invalid, restaurants)).steps][:2] == [
        len(orders),
        len(orders) - 4,
    ]


def test_rows_reject_too_few_orders(restaurants: pl.DataFrame) -> None:
    with pytest.raises(DataError, match=r"None of the 40 complete orders .* more than 20 orders.* more days"):
        prepare_notebook_rows(audited(orders_of(np.repeat([1, 2], 20)), restaurants))
    with pytest.raises(DataError, match="None of the 0"):
        prepare_notebook_rows(audited(orders_of(np.repeat(999, 40)), restaurants))


def test_estimators_have_published_hyperparameters() -> None:
    models = {name: params(factory()) for name, factory in estimators().items()}

    assert list(models) == ["rf", "gbr", "cat", "xgb", "stacking"]
    shared = {"n_estimators": 100, "max_features": "log2", "max_leaf_nodes": None, "max_depth": None}
    assert models["rf"].items() >= {**shared, "min_samples_split": 6}.items()
    assert params(random_forest(min_samples_split=4)).items() >= {**shared, "min_samples_split": 4}.items()
    assert models["gbr"].items() >= {"n_estimators": 100, "learning_rate": 0.1, "max_depth": 3}.items()
    assert models["cat"].items() >= {"depth": 6, "iterations": 100, "learning_rate": 0.1}.items()
    assert "random_seed" not in models["cat"]
    assert models["xgb"].items() >= {"n_estimators": 100, "learning_rate": 0.1, "max_depth": 4}.items()
    assert models["stacking"]["cv"] == 3
    assert params(models["stacking"]["final_estimator"])["alpha"] == 0.3
    members = models["stacking"]["estimators"]
    assert isinstance(members, list)
    assert [name for name, _ in members] == ["rf", "gbr", "cat", "xgb"]


def test_document_has_documented_fields_and_published_r2(reproduction: Reproduction) -> None:
    document = msgspec.to_builtins(reproduction.document)

    assert list(document) == ["n", "rows", "cross_validation_scores"]
    assert document["n"] == reproduction.rows.steps[-1].orders == 420
    assert [(row["feature_set"], row["model"], row["published_r2"]) for row in document["rows"]] == [
        (1, "rf", 0.287),
        (2, "rf", 0.337),
        (2, "gbr", 0.345),
        (2, "cat", 0.353),
        (2, "xgb", 0.343),
        (2, "stacking", None),
    ]
    assert [(fold["model"], fold["published_r2"]) for fold in document["cross_validation_scores"]] == [
        ("rf", 0.336),
        ("gbr", 0.352),
        ("cat", 0.360),
        ("xgb", 0.352),
        ("stacking", 0.360),
    ]
    assert all(set(row) == {"feature_set", "model", "r2", "mse", "published_r2"} for row in document["rows"])
    assert all(set(f) == {"model", "r2_mean", "r2_std", "published_r2"} for f in document["cross_validation_scores"])


def test_scores_match_protocol_computed_with_sklearn(reproduction: Reproduction) -> None:
    """Compute the scores of gradient boosting directly with scikit-learn."""
    rows = reproduction.rows
    y = rows.prep_time_seconds
    train, test = train_test_split(np.arange(len(y)), random_state=12)
    x = with_restaurant_mean(rows, train)
    model = GradientBoostingRegressor(n_estimators=100, learning_rate=0.1, random_state=12)
    folds = cross_val_score(model, x[train], y[train], cv=3)
    error = y[test] - model.fit(x[train], y[train]).predict(x[test])

    row = next(row for row in reproduction.document.rows if row.model == "gbr")
    fold = next(fold for fold in reproduction.document.cross_validation_scores if fold.model == "gbr")
    assert len(test) == 105  # a quarter
    assert row.mse == pytest.approx(np.mean(error**2))
    assert row.r2 == pytest.approx(1 - np.mean(error**2) / np.var(y[test]))
    assert (fold.r2_mean, fold.r2_std) == pytest.approx((folds.mean(), folds.std()))


def reproduce_files(
    orders: str | Path, restaurants: str | Path, progress: ProgressCallback = no_progress
) -> NotebookDocument:
    """Run the notebook's protocol on two files."""
    index = read_restaurants(open_source(restaurants).frame())
    return reproduce_notebook(audit_orders(open_source(orders).frame(), index, need_label=True), progress).document


def test_notebook_is_deterministic_and_leaves_no_files(
    orders: pl.DataFrame,
    restaurants: pl.DataFrame,
    reproduction: Reproduction,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Read the orders from CSV files instead of frames."""
    monkeypatch.chdir(tmp_path)  # by default, CatBoost writes a folder to the working directory
    orders.write_csv("orders.csv")
    restaurants.write_csv("restaurants.csv")
    reports: list[tuple[str, float]] = []
    again = reproduce_files("orders.csv", "restaurants.csv", lambda stage, fraction: reports.append((stage, fraction)))

    assert msgspec.json.encode(again) == msgspec.json.encode(reproduction.document)
    assert {path.name for path in tmp_path.iterdir()} == {"orders.csv", "restaurants.csv"}
    assert reports == [("Notebook", fit / 11) for fit in range(1, 12)]


def test_render_text_explains_differences(
    reproduction: Reproduction, orders: pl.DataFrame, restaurants: pl.DataFrame
) -> None:
    text = render_text(reproduction)
    assert "31,969 fewer than the published 32,394" in text
    assert "0.353" in text
    assert "129,220" in text
    for row in reproduction.document.rows:
        assert f"{row.r2:.3f}" in text

    later = prepare_notebook_rows(
        audited(orders.with_columns(pl.col("order_acknowledged_at").dt.offset_by("1y")), restaurants)
    )
    text_of_other_data = render_text(Reproduction(reproduction.document, later, reproduction.r2_standard_error))
    assert "has other data" in text_of_other_data
    assert "2016-06-01" in text_of_other_data


def test_real_orders_reproduce_published_scores() -> None:
    """The data has three of the four published weeks, so R² has tolerances. Its standard error is .017."""
    folder = real_data()
    document = reproduce_files(folder / "orders.csv", folder / "restaurants.csv")

    assert document.n == 13_451
    for row in document.rows:
        published = row.published_r2 or 0.356  # stacking, from a reproduction on all four weeks
        assert row.r2 == pytest.approx(published, abs=0.025)
    for fold in document.cross_validation_scores:
        assert fold.r2_mean == pytest.approx(fold.published_r2, abs=0.01)
