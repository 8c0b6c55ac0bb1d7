"""Custom features of a schema: the feature matrix, the state of categories, and orders of another schema."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from itertools import pairwise

import msgspec
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from preptime.domain.orders import UNKNOWN_CODE, OrderColumns, concatenate_orders
from preptime.features.feature_set import TAKE_HOME_FEATURES, FeatureSet, fill_value
from preptime.features.history import History, feature_matrix
from preptime.features.history_state import (
    BIN_WIDTH,
    MIN_SCALE_SECONDS,
    CompletedOrders,
    HistoryState,
    duration_bins,
)
from preptime.features.restaurant_index import RestaurantIndex, recode_orders
from preptime.features.shrinkage import K_CATEGORY, PRIOR_POSITION, build_history
from preptime.features.spec import BASE_FEATURES, HISTORY_FEATURES
from preptime.schema.schema import TAKE_HOME_SCHEMA, CustomFeature
from tests.features.factories import (
    AS_OF,
    UNKNOWN_RESTAURANT,
    VOCABULARIES,
    Order,
    completed_orders,
    example_restaurants,
    history_bytes,
    order_columns,
    some_orders,
    state_bytes,
)

FEATURES = (
    CustomFeature(name="outstanding", column="open", type="number", required=True),
    CustomFeature(name="protocol", column="protocol", type="category"),
    CustomFeature(name="driving", column="driving_s", type="number", unit="s", range=(-50.0, 7_200.0)),
    CustomFeature(name="seats", column="seats", type="number", of="restaurant"),
    CustomFeature(name="distance", column="km", type="number", unit="km", range=(0.5, 80.0)),
    CustomFeature(name="style", column="style", type="category", of="restaurant"),
)
SCHEMA = msgspec.structs.replace(
    TAKE_HOME_SCHEMA,
    orders={name: column for name, column in TAKE_HOME_SCHEMA.orders.items() if name != "number_of_items"},
    features=FEATURES,
)
FEATURE_SET = FeatureSet.from_schema(SCHEMA)
CUSTOM_NAMES = (
    *("outstanding", "driving", "distance", "driving_missing", "distance_missing"),
    *("seats", "seats_missing", "protocol", "style"),
    *("protocol_mean_seconds", "style_mean_seconds", "protocol_orders", "style_orders"),
)
PROTOCOLS, STYLES = ("app", "phone", "web"), ("fast", "fine")
STYLE_CODES = np.array([0, 1, UNKNOWN_CODE, 0, 1], np.int32)
NAN = float("nan")


def custom_restaurants() -> RestaurantIndex:
    return replace(
        example_restaurants(),
        vocabularies=replace(VOCABULARIES, custom=(PROTOCOLS, STYLES)),
        feature_set=FEATURE_SET,
        numbers=np.array([[40.0], [NAN], [12.5], [0.0], [8.0]]),
        categories=STYLE_CODES[:, None],
    )


def with_custom_values(columns: OrderColumns, seed: int) -> OrderColumns:
    """Return orders with random custom values. The style is that of the restaurant."""
    rng, n = np.random.default_rng(seed), len(columns)
    positions = example_restaurants().positions(columns.restaurant_id)
    styles = np.append(STYLE_CODES, UNKNOWN_CODE)[positions]
    numbers = np.where(rng.random((n, 3)) < 0.3, NAN, rng.uniform(1, 80, (n, 3)))
    protocols = rng.integers(UNKNOWN_CODE, len(PROTOCOLS), n)
    return replace(columns, numbers=numbers, categories=np.column_stack([protocols, styles]).astype(np.int32))


def custom_orders(orders: list[Order], seed: int = 3) -> CompletedOrders:
    completed = completed_orders(orders)
    return replace(completed, orders=with_custom_values(completed.orders, seed))


def history_of(completed: CompletedOrders, date: dt.date = AS_OF) -> History:
    restaurants = custom_restaurants()
    return build_history(HistoryState.from_orders(restaurants, completed), restaurants, date)


EXAMPLE = [Order(restaurant=restaurant, at=40_000 + 977 * number, label=300 + 60 * number)
           for number, restaurant in enumerate([3, 5, 8, 12, 3, 5, 99, 8, 3, 12])]  # fmt: skip


def test_feature_set_has_base_then_custom_columns() -> None:
    base = [feature.name for feature in BASE_FEATURES]
    without_items = [name for name in base if name not in {"number_of_items", "restaurant_mean_items"}]
    assert FEATURE_SET.names == (*without_items, *CUSTOM_NAMES)
    assert len(FEATURE_SET) == len(base) - 2 + 13
    assert TAKE_HOME_FEATURES.names == tuple(base)
    without_value = msgspec.structs.replace(
        SCHEMA, orders={name: column for name, column in SCHEMA.orders.items() if name != "order_value"}, features=()
    )
    absent = {"order_value", "restaurant_mean_order_value"}
    assert FeatureSet.from_schema(without_value).names == tuple(name for name in without_items if name not in absent)


def test_feature_set_units_are_those_of_the_schema() -> None:
    units = {feature.name: feature.unit for feature in FEATURE_SET.features}
    assert (units["order_value"], units["restaurant_mean_order_value"]) == ("GBP", "GBP")
    assert (units["driving"], units["distance"], units["protocol_mean_seconds"]) == ("s", "km", "s")


def test_fill_values_are_below_every_valid_number() -> None:
    assert [fill_value(feature) for feature in FEATURE_SET.order_numbers] == [-1.0, -51.0, -1.0]


def test_feature_matrix_custom_columns_by_hand() -> None:
    completed = custom_orders(EXAMPLE)
    history = history_of(completed)
    orders = replace(
        order_columns([Order(3, 950_000, 0), Order(5, 950_000, 0), Order(UNKNOWN_RESTAURANT, 950_000, 0, city=1)]),
        numbers=np.array([[4.0, NAN, 2.5], [0.0, 600.0, NAN], [7.0, -50.0, 80.0]]),
        categories=np.array([[2, 0], [-1, 1], [0, -1]], np.int32),
    )
    matrix = feature_matrix(orders, history)
    assert matrix.shape == (3, len(FEATURE_SET))
    assert matrix.dtype == np.float32
    custom = dict(zip(CUSTOM_NAMES, matrix[:, -len(CUSTOM_NAMES) :].T.tolist(), strict=True))
    assert custom["outstanding"] == [4.0, 0.0, 7.0]
    assert custom["driving"] == [-51.0, 600.0, -50.0]
    assert custom["distance"] == [2.5, -1.0, 80.0]
    assert (custom["driving_missing"], custom["distance_missing"]) == ([1, 0, 0], [0, 1, 0])
    # Restaurant 3 has 40 seats, restaurant 5 has none in the file, and the unknown one has no row of its own.
    assert (custom["seats"], custom["seats_missing"]) == ([40.0, -1.0, -1.0], [0, 1, 1])
    assert (custom["protocol"], custom["style"]) == ([2, -1, 0], [0, 1, -1])
    assert orders.categories is not None
    for column, name in enumerate(("protocol", "style")):
        expected = [category_values(completed, column, code) for code in orders.categories[:, column].tolist()]
        np.testing.assert_allclose(custom[f"{name}_mean_seconds"], [mean for mean, _ in expected], rtol=1e-6)
        np.testing.assert_allclose(custom[f"{name}_orders"], [np.log1p(count) for _, count in expected], rtol=1e-6)


def category_values(completed: CompletedOrders, column: int, code: int) -> tuple[float, int]:
    """Return the shrunken mean in seconds and the number of orders of one category, computed from all orders."""
    known = completed.orders.restaurant_id != UNKNOWN_RESTAURANT
    bins = duration_bins(completed.prep_time_seconds[known]).astype(np.int64)
    assert completed.orders.categories is not None
    of_category = bins[completed.orders.categories[known, column] == code]
    level = (bins.sum() + PRIOR_POSITION) / (len(bins) + 1)
    position = (of_category.sum() + K_CATEGORY * level) / (len(of_category) + K_CATEGORY)
    return MIN_SCALE_SECONDS * float(np.exp(BIN_WIDTH * (position + 0.5))), len(of_category)


def test_feature_matrix_base_columns_equal_take_home() -> None:
    """Custom features change no base feature."""
    plain = completed_orders(EXAMPLE)
    restaurants = example_restaurants()
    whole = feature_matrix(
        plain.orders, build_history(HistoryState.from_orders(restaurants, plain), restaurants, AS_OF)
    )
    kept = [TAKE_HOME_FEATURES.names.index(name) for name in FEATURE_SET.names if name in TAKE_HOME_FEATURES.names]
    custom = custom_orders(EXAMPLE)
    matrix = feature_matrix(custom.orders, history_of(custom))
    np.testing.assert_array_equal(matrix[:, : len(kept)], whole[:, kept])


def test_feature_matrix_without_custom_values_has_missing_ones() -> None:
    history = history_of(custom_orders(EXAMPLE))
    orders = order_columns(EXAMPLE)
    missing = replace(
        orders,
        numbers=np.full((len(orders), 3), NAN),
        categories=np.full((len(orders), 2), UNKNOWN_CODE, np.int32),
    )
    np.testing.assert_array_equal(feature_matrix(orders, history), feature_matrix(missing, history))


@given(some_orders(min_size=1), st.integers(0, 99))
def test_feature_matrix_rows_equal_single_orders(orders: list[Order], seed: int) -> None:
    completed = custom_orders(orders, seed)
    history = history_of(custom_orders(EXAMPLE))
    matrix = feature_matrix(completed.orders, history)
    assert np.isfinite(matrix).all()
    for row in range(len(orders)):
        single = feature_matrix(completed.orders.take(slice(row, row + 1)), history)
        np.testing.assert_array_equal(single[0], matrix[row])


@given(some_orders(last_day=60), st.lists(st.integers(0, 40), max_size=3), st.data())
def test_state_of_categories_equals_whole_for_partitions(
    orders: list[Order], cuts: list[int], data: st.DataObject
) -> None:
    restaurants, completed = custom_restaurants(), custom_orders(orders)
    bounds = sorted({0, len(orders), *(min(cut, len(orders)) for cut in cuts)})
    slices = data.draw(st.permutations([slice(low, high) for low, high in pairwise(bounds)] or [slice(0, 0)]))
    whole = HistoryState.from_orders(restaurants, completed)
    empty = HistoryState.empty(len(restaurants), restaurants.vocabularies.category_cells)
    merged, added = empty, empty
    for part in slices:
        merged = merged.merge(HistoryState.from_orders(restaurants, completed.take(part)))
        added = added.with_orders(restaurants, completed.take(part))
    assert state_bytes(merged) == state_bytes(added) == state_bytes(whole)
    known = int((completed.orders.restaurant_id != UNKNOWN_RESTAURANT).sum())
    assert whole.category_orders[: len(PROTOCOLS) + 1].sum() == known
    assert whole.category_orders[len(PROTOCOLS) + 1 :].sum() == known


def test_history_with_custom_features_round_trips() -> None:
    history = history_of(custom_orders(EXAMPLE))
    arrays = history.arrays()
    assert arrays["rows"].shape == (len(history.rows), len(HISTORY_FEATURES) + 2)
    assert {"restaurant_categories", "category_means", "category_orders"} <= arrays.keys()
    again = History.from_arrays(history.date, history.vocabularies, arrays, FEATURE_SET)
    assert history_bytes(again) == history_bytes(history)
    orders = custom_orders(EXAMPLE).orders
    np.testing.assert_array_equal(feature_matrix(orders, again), feature_matrix(orders, history))
    plain = build_history(
        HistoryState.from_orders(example_restaurants(), completed_orders(EXAMPLE)), example_restaurants(), AS_OF
    )
    assert not {"restaurant_categories", "category_means", "category_orders"} & plain.arrays().keys()


def test_recode_orders_matches_custom_features_by_name() -> None:
    """The other schema lacks `driving`, has other positions, another vocabulary, and a new feature."""
    by_name = {feature.name: feature for feature in FEATURES}
    features = (
        by_name["distance"],
        CustomFeature(name="rain", column="rain", type="number"),
        by_name["style"],
        by_name["outstanding"],
        by_name["protocol"],
        CustomFeature(name="area", column="area", type="category"),
    )
    feature_set = FeatureSet.from_schema(msgspec.structs.replace(SCHEMA, features=features))
    source = custom_restaurants()
    vocabularies = replace(source.vocabularies, custom=(("fine",), ("app", "fax", "web"), ("north",)))
    target = source.recoded(vocabularies, feature_set)
    orders = custom_orders(EXAMPLE).orders
    recoded = recode_orders(orders, source, target)
    assert orders.numbers is not None
    assert orders.categories is not None
    expected_numbers = np.column_stack([orders.numbers[:, 2], np.full(len(orders), NAN), orders.numbers[:, 0]])
    np.testing.assert_array_equal(recoded.numbers, expected_numbers)
    protocols = [{0: 0, 2: 2}.get(code, UNKNOWN_CODE) for code in orders.categories[:, 0].tolist()]
    styles = [0 if code == 1 else UNKNOWN_CODE for code in orders.categories[:, 1].tolist()]
    expected_codes = np.column_stack([styles, protocols, np.full(len(orders), UNKNOWN_CODE)])
    np.testing.assert_array_equal(recoded.categories, expected_codes)
    assert target.categories is not None
    assert target.categories[:, 0].tolist() == [UNKNOWN_CODE, 0, UNKNOWN_CODE, UNKNOWN_CODE, 0]
    plain = recode_orders(orders, source, source.recoded(VOCABULARIES, TAKE_HOME_FEATURES))
    assert (plain.numbers, plain.categories) == (None, None)


def test_take_and_concatenate_keep_custom_columns() -> None:
    orders = custom_orders(EXAMPLE).orders
    joined = concatenate_orders([orders.take(slice(0, 4)), orders.take(slice(4, None))])
    pairs: list[tuple[NDArray[np.generic] | None, NDArray[np.generic] | None]] = [
        (joined.numbers, orders.numbers),
        (joined.categories, orders.categories),
    ]
    for actual, expected in pairs:
        np.testing.assert_array_equal(actual, expected)
