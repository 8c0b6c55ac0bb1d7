"""The default plan compared with the published figures of the real orders. For sources, see docs/synthetic-data.md."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import numpy as np
import polars as pl
import pytest
from catboost import CatBoostRegressor
from numpy.typing import NDArray
from sklearn.metrics import r2_score
from sklearn.model_selection import train_test_split

from preptime.synthetic import SynthesisPlan, synthesize_frames

LABEL = pl.col("prep_time_seconds")
LAST_WEEK = dt.date(2015, 6, 24)


@dataclass(frozen=True)
class Published:
    """A published figure, how it's computed from orders, and the relative tolerance."""

    value: float
    compute: pl.Expr
    tolerance: float = 0.10


def _share(condition: pl.Expr) -> pl.Expr:
    return condition.mean()


def _label_at(hour: int) -> pl.Expr:
    return LABEL.filter(pl.col("local").dt.hour() == hour).median()


WEEKDAY = pl.col("local").dt.weekday()
FIRST_SEEN = pl.col("local").min().over("restaurant_id").dt.date()

FIGURES = {
    "order value q25": Published(16.7, pl.col("order_value_gbp").quantile(0.25)),
    "order value q50": Published(21.4, pl.col("order_value_gbp").quantile(0.5)),
    "order value q75": Published(30.2, pl.col("order_value_gbp").quantile(0.75)),
    "order value mean": Published(26.55, pl.col("order_value_gbp").mean()),
    "order value std": Published(19.26, pl.col("order_value_gbp").std()),
    "items q25": Published(3, pl.col("number_of_items").quantile(0.25)),
    "items q50": Published(3, pl.col("number_of_items").quantile(0.5)),
    "items q75": Published(5, pl.col("number_of_items").quantile(0.75)),
    "items mean": Published(4.03, pl.col("number_of_items").mean()),
    "items std": Published(2.39, pl.col("number_of_items").std()),
    "preparation q25": Published(518, LABEL.quantile(0.25)),
    "preparation q50": Published(820, LABEL.quantile(0.5)),
    "preparation q75": Published(1_227, LABEL.quantile(0.75)),
    "preparation mean": Published(1_300, LABEL.mean()),
    "preparation std": Published(4_405, LABEL.std()),
    "UK": Published(0.917, _share(pl.col("country") == "UK")),
    "France": Published(0.063, _share(pl.col("country") == "France")),
    "Ireland": Published(0.011, _share(pl.col("country") == "Ireland")),
    "Germany": Published(0.010, _share(pl.col("country") == "Germany")),
    "London": Published(0.787, _share(pl.col("city") == "London")),
    "labels of zero": Published(103, (LABEL == 0).sum()),
    "labels under a minute": Published(0.034, _share(LABEL < 60)),
    "labels over 3 hours": Published(202, (LABEL > 10_800).sum()),
    "label acknowledged at 10 h": Published(8_764, _label_at(10), tolerance=0.15),
    "label acknowledged at 11 h": Published(6_245, _label_at(11)),
    "label acknowledged at 15 h": Published(800, _label_at(15)),
    "orders a day, Monday to Thursday": Published(925, (WEEKDAY <= 4).sum() / 18),
    "orders a day, Friday to Sunday": Published(1_290, (WEEKDAY >= 5).sum() / 12),
    "last week, new restaurants": Published(
        0.054, (FIRST_SEEN >= LAST_WEEK).filter(pl.col("local").dt.date() >= LAST_WEEK).mean(), tolerance=0.15
    ),
    "restaurants with 20 orders or fewer": Published(
        0.74, (pl.len().over("restaurant_id") <= 20).filter(pl.col("restaurant_id").is_first_distinct()).mean()
    ),
}
DEVIATIONS = {1: 8, 2: 83, 3: 173, 4: 304}


def _orders_with_restaurants(plan: SynthesisPlan) -> pl.DataFrame:
    orders, restaurants, truth = synthesize_frames(plan)
    hours = pl.when(pl.col("country").is_in(["UK", "Ireland"])).then(1).otherwise(2)  # summer time, June 2015
    return (
        orders.join(restaurants, on="restaurant_id", how="left", maintain_order="left")
        .with_columns(local=pl.col("order_acknowledged_at").dt.replace_time_zone(None) + pl.duration(hours=hours))
        .with_columns(truth["open_orders"])
    )


@pytest.fixture(scope="module")
def default_orders() -> pl.DataFrame:
    return _orders_with_restaurants(SynthesisPlan())


@pytest.fixture(scope="module")
def million_orders() -> pl.DataFrame:
    return _orders_with_restaurants(SynthesisPlan(orders=1_000_000, seed=1))


@pytest.mark.parametrize("name", FIGURES)
def test_default_plan_matches_published_figures(default_orders: pl.DataFrame, name: str) -> None:
    figure = FIGURES[name]
    assert default_orders.select(figure.compute.first()).item() == pytest.approx(figure.value, rel=figure.tolerance)


def _deviation(orders: pl.DataFrame, load: int, min_orders: int) -> object:
    """Median of label minus the restaurant's own median, at this load; restaurants with `min_orders` orders or more."""
    restaurant_median = LABEL.median().over("restaurant_id")
    busy = pl.len().over("restaurant_id") >= min_orders
    return orders.select((LABEL - restaurant_median).filter(busy & (pl.col("open_orders") == load)).median()).item()


@pytest.mark.parametrize("load", DEVIATIONS)
@pytest.mark.parametrize("min_orders", [1, 30])
def test_load_deviations_match_published_figures(
    default_orders: pl.DataFrame, million_orders: pl.DataFrame, load: int, min_orders: int
) -> None:
    for orders in (default_orders, million_orders):
        assert _deviation(orders, load, min_orders) == pytest.approx(DEVIATIONS[load], rel=0.30)


def test_cities_and_foods_match_published_counts(default_orders: pl.DataFrame, million_orders: pl.DataFrame) -> None:
    assert million_orders["city"].n_unique() == 22
    assert million_orders["type_of_food"].n_unique() == 83
    shares = default_orders["type_of_food"].value_counts(normalize=True, sort=True)
    assert shares["type_of_food"].head(3).to_list() == ["italian", "burgers", "thai"]


def _trimmed(orders: pl.DataFrame, name: str) -> pl.DataFrame:
    column = orders[name].cast(pl.Float64).to_numpy()
    first, third = np.quantile(column, [0.25, 0.75])
    return orders.filter(pl.col(name) <= third + 1.5 * (third - first))


def _notebook_features(orders: pl.DataFrame) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the features of the published protocol, without the restaurant's mean, and the labels, after cleaning."""
    utc = pl.col("order_acknowledged_at").dt
    codes = (pl.col(name).rank("dense") - 1 for name in ("city", "country", "type_of_food"))
    kept = _trimmed(_trimmed(orders, "prep_time_seconds"), "order_value_gbp")
    kept = kept.with_columns(r_counts=pl.len().over("restaurant_id"), f_counts=pl.len().over("type_of_food")).filter(
        (pl.col("r_counts") > 20) & (pl.col("f_counts") > 20)
    )
    features = kept.select(
        utc.day().alias("monthday"), utc.hour().alias("hour"), utc.weekday().alias("weekday"), *codes,
        "restaurant_id", "r_counts", "order_value_gbp", "number_of_items",
    )  # fmt: skip
    return features.cast(pl.Float64).to_numpy(), kept["prep_time_seconds"].cast(pl.Float64).to_numpy()


def test_notebook_protocol_has_published_r2(default_orders: pl.DataFrame) -> None:
    features, label = _notebook_features(default_orders)
    train, test = train_test_split(np.arange(len(label)), random_state=12)
    restaurant = features[:, 6].astype(np.int64)
    count = np.bincount(restaurant[train], minlength=restaurant.max() + 1)
    mean = np.bincount(restaurant[train], label[train], minlength=restaurant.max() + 1) / np.maximum(count, 1)
    mean[count == 0] = label[train].mean()
    matrix = np.column_stack([features, mean[restaurant]])
    model = CatBoostRegressor(
        depth=6, iterations=100, learning_rate=0.1, verbose=False, allow_writing_files=False, thread_count=1
    )
    fitted = model.fit(matrix[train], label[train])
    assert 0.30 <= r2_score(label[test], fitted.predict(matrix[test])) <= 0.42
    lookup = r2_score(label[test], matrix[test, 10])
    assert r2_score(label[test], fitted.predict(matrix[test])) > lookup + 0.02
