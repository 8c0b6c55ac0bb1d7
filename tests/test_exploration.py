"""The looks at the orders: every number against one worked out by hand or another way."""

from __future__ import annotations

import datetime as dt
from statistics import median

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from preptime import exploration
from preptime.domain.orders import upper_outlier_limit
from preptime.exploration import UNKNOWN_LABEL, OrderFilter, OrderSample
from preptime.validation.audit import audit_orders
from tests.validation.factories import directory, month, order, orders


def looked_at(frame: pl.DataFrame) -> OrderSample:
    known = directory()
    return OrderSample.from_audited(audit_orders(frame, known, need_label=True), known)


@pytest.fixture(scope="module")
def looked() -> OrderSample:
    return looked_at(month())


def test_the_fence_is_the_notebooks() -> None:
    assert upper_outlier_limit(np.array([100.0, 200.0, 300.0, 400.0, 500.0])) == 700.0


def test_orders_are_looked_at_by_the_restaurants_clock_with_names() -> None:
    paris = order(
        order_acknowledged_at="2015-06-01T21:30:00Z",
        order_ready_at="2015-06-01T21:40:00Z",
        restaurant_id="30",
        prep_time_seconds="600",
    )
    (row,) = looked_at(orders(paris)).frame.iter_rows(named=True)
    assert (row["city"], row["type_of_food"], row["country"]) == ("Paris", "thai", "France")
    assert (row["hour"], row["weekday"], row["day"]) == (23, 1, dt.date(2015, 6, 1))
    assert row["prep_minutes"] == 10


def test_outliers_are_looked_at_and_impossible_labels_are_not() -> None:
    days = order(order_ready_at="2015-06-03 19:00:00.250000+01:00", prep_time_seconds="172800")
    early = order(order_ready_at="2015-06-01 18:00:00+01:00", prep_time_seconds=None)
    unreadable = order(order_value_gbp="much")
    looked = looked_at(orders(order(), days, early, unreadable, order()))
    assert looked.frame["prep_minutes"].to_list() == [10.0, 2880.0]
    assert looked.excluded == 3


def test_an_unlisted_restaurant_has_no_city_and_is_there() -> None:
    looked = looked_at(orders(order(restaurant_id="99"), order()))
    assert looked.category_values("city") == ["London", UNKNOWN_LABEL]


def test_a_choice_takes_cities_foods_and_days(looked: OrderSample) -> None:
    day = dt.date(2015, 6, 4)
    chosen = looked.filtered(OrderFilter(cities=("Leeds", "Paris"), foods=("thai",), date_range=(day, day)))
    assert 0 < len(chosen) < 60
    assert set(chosen.frame["city"].cast(pl.String)) == {"Leeds", "Paris"}
    assert chosen.date_range == (day, day)
    assert len(looked.filtered(OrderFilter())) == len(looked)
    assert len(looked.filtered(OrderFilter(cities=("Nowhere",)))) == 0


def test_inside_the_fence_means_that_of_all_orders(looked: OrderSample) -> None:
    inside = looked.filtered(OrderFilter(cities=("London",), exclude_outliers=True)).frame["prep_minutes"]
    assert max(inside.to_list()) <= looked.outlier_limit_minutes()
    everything = exploration.distribution(looked, "prep_minutes")
    assert everything is not None
    assert len(looked) - len(looked.filtered(OrderFilter(exclude_outliers=True))) == everything.outliers > 0


@pytest.mark.parametrize("measure", ["prep_minutes", "order_value_gbp", "number_of_items"])
def test_a_distribution_loses_no_order(looked: OrderSample, measure: exploration.Measure) -> None:
    found = exploration.distribution(looked, measure)
    assert found is not None
    values = looked.frame[measure].to_list()
    assert sum(int(one["orders"]) for one in found.bins) + found.beyond_display_limit == found.orders == len(values)
    assert found.median == pytest.approx(median(values))
    assert found.q1 <= found.median <= found.q3 <= found.outlier_limit
    assert found.outliers == sum(value > found.outlier_limit for value in values)
    assert 10 <= len(found.bins) <= 110 or measure == "number_of_items"


@given(st.lists(st.floats(0, 1e5, allow_nan=False, width=32), min_size=1, max_size=50))
def test_any_orders_have_a_distribution(values: list[float]) -> None:
    frame = pl.DataFrame({"prep_minutes": pl.Series(values, dtype=pl.Float32)})
    found = exploration.distribution(OrderSample(frame, 0), "prep_minutes")
    assert found is not None
    assert sum(int(one["orders"]) for one in found.bins) + found.beyond_display_limit == len(values)
    assert len(found.bins) <= 140


def test_whole_numbers_stand_in_the_middle_of_their_bins(looked: OrderSample) -> None:
    found = exploration.distribution(looked, "number_of_items")
    assert found is not None
    assert [found.bins[3]["low"], found.bins[3]["high"]] == [2.5, 3.5]
    assert found.bins[3]["orders"] == looked.frame["number_of_items"].to_list().count(3)


@pytest.mark.parametrize("cut", ["hour", "weekday", "day", "city", "type_of_food"])
def test_groups_hold_every_order_and_their_own_quartiles(looked: OrderSample, cut: exploration.GroupColumn) -> None:
    rows = exploration.summarize_groups(looked, cut)
    assert sum(int(row["orders"]) for row in rows) == len(looked)
    first = rows[0]
    value = 1 if cut == "weekday" else first["value"]
    of_first = looked.frame.filter(pl.col(cut).cast(pl.String) == str(value))["prep_minutes"].to_numpy()
    assert [first["q1"], first["median"], first["q3"]] == pytest.approx(np.percentile(of_first, [25, 50, 75]))
    assert first["mean"] == pytest.approx(of_first.mean(), rel=1e-5)


def test_weekdays_are_named_in_order_and_cities_by_size(looked: OrderSample) -> None:
    assert [row["value"] for row in exploration.summarize_groups(looked, "weekday")] == list(exploration.WEEKDAYS)
    sizes = [int(row["orders"]) for row in exploration.summarize_groups(looked, "city")]
    assert sizes == sorted(sizes, reverse=True)


def test_correlation_is_pearsons_and_of_ranks_spearmans() -> None:
    known = month()
    frame = known.with_columns(order_value_gbp=pl.col("prep_time_seconds").cast(pl.Float64) ** 3 / 1e9)
    looked = looked_at(frame)
    by_pair = {(row["a"], row["b"]): row["r"] for row in exploration.correlation(looked, ranks=False)}
    minutes, value = (looked.frame[name].to_numpy().astype(float) for name in ("prep_minutes", "order_value_gbp"))
    assert by_pair["preparation time", "order value"] == pytest.approx(np.corrcoef(minutes, value)[0, 1], abs=1e-4)
    assert by_pair["preparation time", "order value"] == by_pair["order value", "preparation time"]
    ranked = {(row["a"], row["b"]): row["r"] for row in exploration.correlation(looked, ranks=True)}
    assert ranked["preparation time", "order value"] == pytest.approx(1.0)
    assert ranked["hour", "hour"] == 1.0


def test_correlation_of_very_many_orders_is_that_of_a_sample(
    looked: OrderSample, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = {(row["a"], row["b"]): float(row["r"]) for row in exploration.correlation(looked, ranks=True)}
    monkeypatch.setattr(exploration, "CORRELATION_SAMPLE_SIZE", 1_000)
    sampled = {(row["a"], row["b"]): float(row["r"]) for row in exploration.correlation(looked, ranks=True)}
    assert sampled.keys() == whole.keys()
    assert max(abs(sampled[pair] - whole[pair]) for pair in whole) < 0.15
    assert sampled != whole


def test_what_never_varies_correlates_with_nothing() -> None:
    twice = orders(order(), order(order_acknowledged_at="2015-06-01 19:00:01+01:00", prep_time_seconds="599"))
    names = {row["a"] for row in exploration.correlation(looked_at(twice), ranks=False)}
    assert "items" not in names
    assert exploration.correlation(looked_at(orders(order())), ranks=False) == []


def test_restaurants_are_counted_and_the_notebooks_threshold_told(looked: OrderSample) -> None:
    found = exploration.summarize_restaurants(looked)
    assert found.restaurants == 4
    assert sum(int(band["restaurants"]) for band in found.bands) == 4
    assert sum(int(band["orders"]) for band in found.bands) == len(looked)
    assert found.kept_by_notebook == sum(int(band["restaurants"]) for band in found.bands if band["kept"])
    assert found.orders_kept_by_notebook == sum(int(band["orders"]) for band in found.bands if band["kept"])
    top = found.table[0]
    one = looked.frame.filter(pl.col("restaurant_id") == top["restaurant_id"])["prep_minutes"]
    assert top["orders"] == len(one)
    assert top["median_minutes"] == pytest.approx(median(one.to_list()))


def test_dots_are_few_and_always_the_same(looked: OrderSample, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exploration, "SCATTER_SAMPLE_SIZE", 100)
    dots = exploration.scatter_points(looked, "order_value_gbp")
    assert len(dots) == 100
    assert dots == exploration.scatter_points(looked, "order_value_gbp")


def test_no_orders_are_no_looks(looked: OrderSample) -> None:
    nothing = looked.filtered(OrderFilter(cities=("Nowhere",)))
    assert exploration.distribution(nothing, "prep_minutes") is None
    assert exploration.summarize_groups(nothing, "hour") == []
    assert exploration.correlation(nothing, ranks=True) == []
    assert exploration.summarize_restaurants(nothing).restaurants == 0
    assert exploration.scatter_points(nothing, "number_of_items") == []
