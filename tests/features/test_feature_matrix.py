from __future__ import annotations

import datetime as dt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from preptime.domain.orders import UNKNOWN_CODE, OrderColumns
from preptime.domain.timestamps import SECONDS_PER_DAY
from preptime.features.feature_set import TAKE_HOME_FEATURES
from preptime.features.history import History, feature_matrix
from preptime.features.history_state import HistoryState
from preptime.features.shrinkage import build_history
from preptime.features.spec import time_slot
from tests.features.factories import (
    AS_OF,
    UNKNOWN_RESTAURANT,
    Order,
    example_restaurants,
    history_as_of,
    midnight_seconds,
    order_columns,
    some_orders,
)


def single_value_columns(
    values: st.SearchStrategy[int] | st.SearchStrategy[float], kind: type[np.generic]
) -> st.SearchStrategy[NDArray[np.generic]]:
    """Return a strategy for columns with one value."""
    return values.map(lambda value: np.array([value], kind))


LONG_HISTORY = history_as_of(
    [Order(one, hour * 3600, 300 + hour * one) for hour in range(200) for one in (3, 5, 8, 12)]
)


@given(some_orders(min_size=1), some_orders(last_day=9), st.data())
def test_feature_matrix_is_equal_row_by_row_and_in_any_order(
    new_orders: list[Order], past_orders: list[Order], data: st.DataObject
) -> None:
    history = history_as_of(past_orders)
    orders = order_columns(new_orders)
    matrix = feature_matrix(orders, history)
    row_by_row = [feature_matrix(orders.take(slice(row, row + 1)), history) for row in range(len(orders))]
    assert np.concatenate(row_by_row).tobytes() == matrix.tobytes()
    mixed = np.array(data.draw(st.permutations(range(len(orders)))), np.intp)
    assert feature_matrix(orders.take(mixed), history).tobytes() == matrix[mixed].tobytes()


def test_feature_matrix_without_orders_has_no_rows() -> None:
    assert feature_matrix(order_columns([]), LONG_HISTORY).shape == (0, len(TAKE_HOME_FEATURES.names))


EXTREME_ORDERS = st.builds(
    OrderColumns,
    st.builds(
        lambda date, second: np.array([midnight_seconds(date) + second]),
        st.dates(dt.date(2000, 1, 1), dt.date(2099, 12, 31)),
        st.one_of(st.sampled_from([0, SECONDS_PER_DAY - 1]), st.integers(0, SECONDS_PER_DAY - 1)),
    ),
    single_value_columns(
        st.one_of(st.sampled_from([3, 20, UNKNOWN_RESTAURANT, 0, 2**63 - 1]), st.integers(0, 2**63 - 1)), np.int64
    ),
    single_value_columns(st.one_of(st.just(1e9), st.floats(0, 1e9)), np.float64),
    single_value_columns(st.integers(1, 10**6), np.int64),
    single_value_columns(st.integers(UNKNOWN_CODE, 1), np.int32),
    single_value_columns(st.integers(UNKNOWN_CODE, 2), np.int32),
    single_value_columns(st.integers(UNKNOWN_CODE, 2), np.int32),
)


@given(
    EXTREME_ORDERS,
    st.sampled_from([LONG_HISTORY, history_as_of([]), history_as_of([Order(3, 0, 10_800, 10**11, 10**6)])]),
)
def test_feature_matrix_is_finite_for_extreme_orders(order: OrderColumns, history: History) -> None:
    matrix = feature_matrix(order, history)
    assert np.isfinite(matrix).all()
    assert matrix.dtype == np.float32
    assert matrix.flags.c_contiguous
    row = dict(zip(TAKE_HOME_FEATURES.names, matrix[0].tolist(), strict=True))
    assert row["acknowledged_second"] == order.acknowledged_at[0] % SECONDS_PER_DAY
    assert row["order_value"] == np.float32(order.order_value[0])
    assert row["number_of_items"] == order.number_of_items[0]
    assert (row["city"], row["type_of_food"]) == (order.city[0], order.type_of_food[0])


def test_relation_features_use_order_time_and_history() -> None:
    order = order_columns([Order(5, 10 * SECONDS_PER_DAY + 18 * 3600, 0)])
    row = dict(zip(TAKE_HOME_FEATURES.names, feature_matrix(order, LONG_HISTORY)[0].tolist(), strict=True))
    assert row["seconds_to_lunch"] == pytest.approx(row["restaurant_first_lunch_second"] - 18 * 3600, abs=0.01)
    assert row["seconds_to_dinner"] == pytest.approx(row["restaurant_first_dinner_second"] - 18 * 3600, abs=0.01)
    assert row["slot_mean_seconds"] == LONG_HISTORY.slots[1, time_slot(np.array([18 * 3600]))[0]]
    assert row["restaurant_orders"] == pytest.approx(np.log1p(200))


def test_feature_matrix_uses_city_and_food_of_the_order() -> None:
    order = order_columns([Order(3, 10 * SECONDS_PER_DAY, 0)])
    elsewhere = OrderColumns(
        order.acknowledged_at,
        order.restaurant_id,
        order.order_value,
        order.number_of_items,
        order.country,
        np.array([2], np.int32),
        np.array([UNKNOWN_CODE], np.int32),
    )
    at_home, away = feature_matrix(order, LONG_HISTORY)[0], feature_matrix(elsewhere, LONG_HISTORY)[0]
    different = [
        name
        for name, home_value, away_value in zip(TAKE_HOME_FEATURES.names, at_home, away, strict=True)
        if home_value != away_value
    ]
    assert different == ["city", "type_of_food"]


def test_restaurant_without_orders_has_row_of_its_group() -> None:
    history = build_history(HistoryState.empty(5), example_restaurants(), AS_OF)
    unknown = order_columns([Order(UNKNOWN_RESTAURANT, 0, 0, city=1, food=1)])
    assert np.array_equal(feature_matrix(order_columns([Order(3, 0, 0)]), history), feature_matrix(unknown, history))
