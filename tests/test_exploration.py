"""Exploration of orders: every number compared with one computed in another way."""

from __future__ import annotations

import datetime as dt
from statistics import median

import msgspec
import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from preptime import exploration
from preptime.domain.orders import upper_outlier_limit
from preptime.evaluation.segments import UNKNOWN_VALUE
from preptime.exploration import OrderFilter, OrderSample
from preptime.schema.schema import TAKE_HOME_SCHEMA, CustomFeature, FeatureType
from preptime.sources.registry import open_source
from preptime.validation.audit import audit_orders
from tests.scoring.delivery import PROTOCOLS, delivery_frames, delivery_schema
from tests.validation.factories import make_month, make_order, make_orders, make_restaurant_index

MEASURES = {measure.column: measure for measure in exploration.list_measures(TAKE_HOME_SCHEMA)}


def sample_of(frame: pl.DataFrame) -> OrderSample:
    known = make_restaurant_index()
    return OrderSample.from_audited(audit_orders(frame, known, need_label=True), known)


@pytest.fixture(scope="module")
def sample() -> OrderSample:
    return sample_of(make_month())


def test_upper_outlier_limit_matches_notebook() -> None:
    assert upper_outlier_limit(np.array([100.0, 200.0, 300.0, 400.0, 500.0])) == 700.0


def test_order_sample_has_local_times_and_names() -> None:
    paris = make_order(
        order_acknowledged_at="2015-06-01T21:30:00Z",
        order_ready_at="2015-06-01T21:40:00Z",
        restaurant_id="30",
        prep_time_seconds="600",
    )
    (row,) = sample_of(make_orders(paris)).frame.iter_rows(named=True)
    assert (row["city"], row["type_of_food"], row["country"]) == ("Paris", "thai", "France")
    assert (row["hour"], row["weekday"], row["day"]) == (23, 1, dt.date(2015, 6, 1))
    assert row["label_time"] == 10


def test_order_sample_includes_outliers_not_impossible_labels() -> None:
    days = make_order(order_ready_at="2015-06-03 19:00:00.250000+01:00", prep_time_seconds="172800")
    early = make_order(order_ready_at="2015-06-01 18:00:00+01:00", prep_time_seconds=None)
    unreadable = make_order(order_value_gbp="much")
    sample = sample_of(make_orders(make_order(), days, early, unreadable, make_order()))
    assert sample.frame["label_time"].to_list() == [10.0, 2880.0]
    assert sample.excluded == 3


def test_order_sample_of_unknown_restaurant_has_unknown_city() -> None:
    sample = sample_of(make_orders(make_order(restaurant_id="99"), make_order()))
    assert sample.category_values("city") == ["London", UNKNOWN_VALUE]


def test_filtered_selects_cities_foods_and_days(sample: OrderSample) -> None:
    day = dt.date(2015, 6, 4)
    chosen = sample.filtered(OrderFilter(cities=("Leeds", "Paris"), foods=("thai",), date_range=(day, day)))
    assert 0 < len(chosen) < 60
    assert set(chosen.frame["city"].cast(pl.String)) == {"Leeds", "Paris"}
    assert chosen.date_range == (day, day)
    assert len(sample.filtered(OrderFilter())) == len(sample)
    assert len(sample.filtered(OrderFilter(cities=("Nowhere",)))) == 0


def test_filtered_outliers_use_limit_of_all_orders(sample: OrderSample) -> None:
    inside = sample.filtered(OrderFilter(cities=("London",), exclude_outliers=True)).frame["label_time"]
    assert max(inside.to_list()) <= sample.label_limit()
    everything = exploration.distribution(sample, MEASURES["label_time"])
    assert everything is not None
    assert len(sample) - len(sample.filtered(OrderFilter(exclude_outliers=True))) == everything.outliers > 0


@pytest.mark.parametrize("measure", ["label_time", "order_value", "number_of_items"])
def test_distribution_counts_every_order(sample: OrderSample, measure: str) -> None:
    result = exploration.distribution(sample, MEASURES[measure])
    assert result is not None
    values = sample.frame[measure].to_list()
    assert (
        sum(int(item["orders"]) for item in result.bins) + result.beyond_display_limit == result.orders == len(values)
    )
    assert result.median == pytest.approx(median(values))
    assert result.q1 <= result.median <= result.q3 <= result.outlier_limit
    assert result.outliers == sum(value > result.outlier_limit for value in values)
    assert 10 <= len(result.bins) <= 110 or measure == "number_of_items"


@given(st.lists(st.floats(0, 1e5, allow_nan=False, width=32), min_size=1, max_size=50))
def test_distribution_works_for_any_orders(values: list[float]) -> None:
    frame = pl.DataFrame({"label_time": pl.Series(values, dtype=pl.Float32)})
    result = exploration.distribution(OrderSample(frame, 0), MEASURES["label_time"])
    assert result is not None
    assert sum(int(item["orders"]) for item in result.bins) + result.beyond_display_limit == len(values)
    assert len(result.bins) <= 140


def test_distribution_centers_bins_on_whole_numbers(sample: OrderSample) -> None:
    result = exploration.distribution(sample, MEASURES["number_of_items"])
    assert result is not None
    assert [result.bins[3]["low"], result.bins[3]["high"]] == [2.5, 3.5]
    assert result.bins[3]["orders"] == sample.frame["number_of_items"].to_list().count(3)


@pytest.mark.parametrize("column", ["hour", "weekday", "day", "city", "type_of_food"])
def test_summarize_groups_counts_every_order(sample: OrderSample, column: str) -> None:
    rows = exploration.summarize_groups(sample, column)
    assert sum(int(row["orders"]) for row in rows) == len(sample)
    first = rows[0]
    value = 1 if column == "weekday" else first["value"]
    of_first = sample.frame.filter(pl.col(column).cast(pl.String) == str(value))["label_time"].to_numpy()
    assert [first["q1"], first["median"], first["q3"]] == pytest.approx(np.percentile(of_first, [25, 50, 75]))
    assert first["mean"] == pytest.approx(of_first.mean(), rel=1e-5)


def test_summarize_groups_sorts_weekdays_and_cities(sample: OrderSample) -> None:
    assert [row["value"] for row in exploration.summarize_groups(sample, "weekday")] == list(exploration.WEEKDAYS)
    sizes = [int(row["orders"]) for row in exploration.summarize_groups(sample, "city")]
    assert sizes == sorted(sizes, reverse=True)


def test_correlation_matches_pearson_and_spearman() -> None:
    known = make_month()
    frame = known.with_columns(order_value_gbp=pl.col("prep_time_seconds").cast(pl.Float64) ** 3 / 1e9)
    sample = sample_of(frame)
    by_pair = {(row["a"], row["b"]): row["r"] for row in exploration.correlation(sample, ranks=False)}
    minutes, value = (sample.frame[name].to_numpy().astype(float) for name in ("label_time", "order_value"))
    assert by_pair["preparation time", "order value"] == pytest.approx(np.corrcoef(minutes, value)[0, 1], abs=1e-4)
    assert by_pair["preparation time", "order value"] == by_pair["order value", "preparation time"]
    ranked = {(row["a"], row["b"]): row["r"] for row in exploration.correlation(sample, ranks=True)}
    assert ranked["preparation time", "order value"] == pytest.approx(1.0)
    assert ranked["hour", "hour"] == 1.0


def test_correlation_of_many_orders_uses_a_sample(sample: OrderSample, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = {(row["a"], row["b"]): float(row["r"]) for row in exploration.correlation(sample, ranks=True)}
    monkeypatch.setattr(exploration, "CORRELATION_SAMPLE_SIZE", 1_000)
    sampled = {(row["a"], row["b"]): float(row["r"]) for row in exploration.correlation(sample, ranks=True)}
    assert sampled.keys() == whole.keys()
    assert max(abs(sampled[pair] - whole[pair]) for pair in whole) < 0.15
    assert sampled != whole


def test_correlation_omits_constant_columns() -> None:
    twice = make_orders(
        make_order(), make_order(order_acknowledged_at="2015-06-01 19:00:01+01:00", prep_time_seconds="599")
    )
    names = {row["a"] for row in exploration.correlation(sample_of(twice), ranks=False)}
    assert "number of items" not in names
    assert exploration.correlation(sample_of(make_orders(make_order())), ranks=False) == []


def test_summarize_restaurants_matches_direct_counts(sample: OrderSample) -> None:
    result = exploration.summarize_restaurants(sample)
    assert result.restaurants == 4
    assert sum(int(band["restaurants"]) for band in result.bands) == 4
    assert sum(int(band["orders"]) for band in result.bands) == len(sample)
    assert result.kept_by_notebook == sum(int(band["restaurants"]) for band in result.bands if band["kept"])
    assert result.orders_kept_by_notebook == sum(int(band["orders"]) for band in result.bands if band["kept"])
    top = result.table[0]
    item = sample.frame.filter(pl.col("restaurant_id") == top["restaurant_id"])["label_time"]
    assert top["orders"] == len(item)
    assert top["median"] == pytest.approx(median(item.to_list()))


def test_scatter_points_are_a_reproducible_sample(sample: OrderSample, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exploration, "SCATTER_SAMPLE_SIZE", 100)
    dots = exploration.scatter_points(sample, MEASURES["order_value"])
    assert len(dots) == 100
    assert dots == exploration.scatter_points(sample, MEASURES["order_value"])


def test_exploration_without_orders_is_empty(sample: OrderSample) -> None:
    empty = sample.filtered(OrderFilter(cities=("Nowhere",)))
    assert exploration.distribution(empty, MEASURES["label_time"]) is None
    assert exploration.summarize_groups(empty, "hour") == []
    assert exploration.correlation(empty, ranks=True) == []
    assert exploration.summarize_restaurants(empty).restaurants == 0
    assert exploration.scatter_points(empty, MEASURES["number_of_items"]) == []


@pytest.fixture(scope="module")
def delivery(tmp_path_factory: pytest.TempPathFactory) -> OrderSample:
    """The orders of a company with other columns and custom features, and without a restaurants file."""
    path = tmp_path_factory.mktemp("delivery") / "orders.csv"
    orders, restaurants = delivery_frames()
    staff = orders.join(restaurants.select("store", "staff"), on="store", how="left", maintain_order="left")["staff"]
    orders.with_columns(staff).write_csv(path, separator=";")
    return exploration.load_exploration(open_source(str(path), delivery_schema()), None).sample


def test_custom_features_are_measures_and_categories(delivery: OrderSample) -> None:
    titles = [(measure.title, measure.unit) for measure in delivery.measures]
    assert titles == [
        ("delivery time", "minutes"),
        ("order value", "USD"),
        ("number of items", "items"),
        ("busy couriers", "people"),
        ("distance to the customer", "km"),
    ]
    assert delivery.categories == {"feature.protocol": "protocol", "feature.channel": "channel"}
    rows = delivery_frames()[0]
    assert len(delivery) + delivery.excluded == len(rows)
    groups = {row["value"]: row for row in exploration.summarize_groups(delivery, "feature.protocol")}
    assert set(groups) == set(PROTOCOLS)
    of_app = delivery.frame.filter(pl.col("feature.protocol") == "app")["label_time"].to_list()
    assert groups["app"]["orders"] == len(of_app)
    assert groups["app"]["median"] == pytest.approx(median(of_app))
    assert exploration.summarize_restaurants(delivery).table[0]["restaurant_id"] in set(rows["store"])
    dollars = rows.select(pl.col("subtotal").cast(pl.Float64) / 100).to_series().to_numpy()
    assert delivery.frame["order_value"].to_numpy().mean() == pytest.approx(dollars.mean(), rel=0.05)


def test_missing_feature_values_are_counted_and_left_out(delivery: OrderSample) -> None:
    busy = next(measure for measure in delivery.measures if measure.column == "feature.busy_couriers")
    result = exploration.distribution(delivery, busy)
    assert result is not None
    known = delivery.frame["feature.busy_couriers"].drop_nulls()
    assert result.missing == len(delivery) - len(known) > 0
    assert result.orders == len(known)
    assert result.median == pytest.approx(known.median())
    assert len(exploration.scatter_points(delivery, busy)) == len(known)
    by_pair = {(row["a"], row["b"]): row["r"] for row in exploration.correlation(delivery, ranks=False)}
    pairs = delivery.frame.select("feature.busy_couriers", "label_time").drop_nulls().cast(pl.Float64).to_numpy()
    expected = np.corrcoef(pairs, rowvar=False)[0, 1]
    assert by_pair["busy couriers", "delivery time"] == pytest.approx(expected, abs=1e-4)


def test_distribution_of_values_far_from_zero_has_many_bins() -> None:
    kelvin = exploration.Measure("kelvin", "temperature", "K")
    frame = pl.DataFrame({"kelvin": np.linspace(280, 300, 500)})
    result = exploration.distribution(OrderSample(frame, 0), kelvin)
    assert result is not None
    assert len(result.bins) > 40
    assert 279 <= float(result.bins[0]["low"]) <= 280
    negative = exploration.distribution(OrderSample(frame - 290, 0), kelvin)
    assert negative is not None
    assert sum(int(item["orders"]) for item in negative.bins) + negative.beyond_display_limit == 500


def test_features_can_have_the_names_of_own_columns() -> None:
    names: dict[str, FeatureType] = {
        "hour": "number",
        "day": "category",
        "label_time": "number",
        "median": "category",
        "local_hour": "category",
    }
    features = tuple(CustomFeature(name=name, column=name, type=kind) for name, kind in names.items())
    schema = msgspec.structs.replace(TAKE_HOME_SCHEMA, features=features)
    values = [pl.int_range(pl.len()).mod(7).cast(pl.String).alias(name) for name in names]
    known = make_restaurant_index()
    frame = make_month().with_columns(values)
    sample = OrderSample.from_audited(audit_orders(frame, known, need_label=True, schema=schema), known)
    without = sample_of(make_month())
    assert exploration.summarize_groups(sample, "hour") == exploration.summarize_groups(without, "hour")
    for column in ("feature.day", "feature.median"):
        rows = exploration.summarize_groups(sample, column)
        assert {row["value"] for row in rows} == {*"0123456"}
        assert sum(int(row["orders"]) for row in rows) == len(sample)
        assert all(float(row["q1"]) <= float(row["median"]) <= float(row["q3"]) for row in rows)
    hours = next(measure for measure in sample.measures if measure.column == "feature.hour")
    result = exploration.distribution(sample, hours)
    assert result is not None
    assert result.maximum == 6
    assert sample.categories["feature.local_hour"] == "local hour (feature)"
    by_pair = {(row["a"], row["b"]): row["r"] for row in exploration.correlation(sample, ranks=False)}
    expected = {(row["a"], row["b"]): row["r"] for row in exploration.correlation(without, ranks=False)}
    assert by_pair.items() >= expected.items()
    assert by_pair["hour (feature)", "label time"] == 1.0


@pytest.mark.parametrize(
    ("largest", "digits"), [(0.04, 4), (1.0, 3), (40.0, 1), (4_000.0, 0)]
)  # the middle half is half of it
def test_decimals_depend_on_the_scale(largest: float, digits: int) -> None:
    measure = exploration.Measure("x", "x", "", digits=None)
    result = exploration.distribution(OrderSample(pl.DataFrame({"x": np.linspace(0, largest, 500)}), 0), measure)
    assert result is not None
    assert result.digits == digits
