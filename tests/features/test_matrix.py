from __future__ import annotations

import datetime as dt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from preptime.domain.orders import UNKNOWN_CODE, OrderColumns
from preptime.domain.timestamps import SECONDS_PER_DAY
from preptime.features.history import History, build_history, feature_matrix
from preptime.features.history_state import HistoryState
from preptime.features.spec import FEATURE_NAMES, time_slot
from tests.features.factories import MORNING, STRANGER, Order, columns, directory, known_on, midnight, some_orders


def one_of_a_kind(
    values: st.SearchStrategy[int] | st.SearchStrategy[float], kind: type[np.generic]
) -> st.SearchStrategy[NDArray[np.generic]]:
    """A column of one value."""
    return values.map(lambda value: np.array([value], kind))


LONG_HISTORY = known_on([Order(one, hour * 3600, 300 + hour * one) for hour in range(200) for one in (3, 5, 8, 12)])


@given(some_orders(min_size=1), some_orders(last_day=9), st.data())
def test_one_by_one_is_all_at_once_is_any_order_of_rows(
    asked: list[Order], past: list[Order], data: st.DataObject
) -> None:
    history = known_on(past)
    orders = columns(asked)
    together = feature_matrix(orders, history)
    alone = [feature_matrix(orders.take(slice(row, row + 1)), history) for row in range(len(orders))]
    assert np.concatenate(alone).tobytes() == together.tobytes()
    mixed = np.array(data.draw(st.permutations(range(len(orders)))), np.intp)
    assert feature_matrix(orders.take(mixed), history).tobytes() == together[mixed].tobytes()


def test_no_order_is_no_row() -> None:
    assert feature_matrix(columns([]), LONG_HISTORY).shape == (0, len(FEATURE_NAMES))


EXTREME_ORDERS = st.builds(
    OrderColumns,
    st.builds(
        lambda date, second: np.array([midnight(date) + second]),
        st.dates(dt.date(2000, 1, 1), dt.date(2099, 12, 31)),
        st.one_of(st.sampled_from([0, SECONDS_PER_DAY - 1]), st.integers(0, SECONDS_PER_DAY - 1)),
    ),
    one_of_a_kind(st.one_of(st.sampled_from([3, 20, STRANGER, 0, 2**63 - 1]), st.integers(0, 2**63 - 1)), np.int64),
    one_of_a_kind(st.one_of(st.just(1e9), st.floats(0, 1e9)), np.float64),
    one_of_a_kind(st.integers(1, 10**6), np.int64),
    one_of_a_kind(st.integers(UNKNOWN_CODE, 1), np.int32),
    one_of_a_kind(st.integers(UNKNOWN_CODE, 2), np.int32),
    one_of_a_kind(st.integers(UNKNOWN_CODE, 2), np.int32),
)


@given(EXTREME_ORDERS, st.sampled_from([LONG_HISTORY, known_on([]), known_on([Order(3, 0, 10_800, 10**11, 10**6)])]))
def test_every_value_is_finite_whatever_is_asked(order: OrderColumns, history: History) -> None:
    matrix = feature_matrix(order, history)
    assert np.isfinite(matrix).all()
    assert matrix.dtype == np.float32
    assert matrix.flags.c_contiguous
    row = dict(zip(FEATURE_NAMES, matrix[0].tolist(), strict=True))
    assert row["acknowledged_second"] == order.acknowledged_at[0] % SECONDS_PER_DAY
    assert row["order_value_gbp"] == np.float32(order.order_value_gbp[0])
    assert row["number_of_items"] == order.number_of_items[0]
    assert (row["city"], row["type_of_food"]) == (order.city[0], order.type_of_food[0])


def test_what_lies_between_an_order_and_its_restaurant() -> None:
    order = columns([Order(5, 10 * SECONDS_PER_DAY + 18 * 3600, 0)])
    row = dict(zip(FEATURE_NAMES, feature_matrix(order, LONG_HISTORY)[0].tolist(), strict=True))
    assert row["seconds_to_lunch"] == pytest.approx(row["restaurant_first_lunch_second"] - 18 * 3600, abs=0.01)
    assert row["seconds_to_dinner"] == pytest.approx(row["restaurant_first_dinner_second"] - 18 * 3600, abs=0.01)
    assert row["slot_mean_seconds"] == LONG_HISTORY.slots[1, time_slot(np.array([18 * 3600]))[0]]
    assert row["restaurant_orders"] == pytest.approx(np.log1p(200))


def test_the_orders_own_city_and_food_are_features_and_the_restaurants_give_its_history() -> None:
    order = columns([Order(3, 10 * SECONDS_PER_DAY, 0)])
    elsewhere = OrderColumns(
        order.acknowledged_at,
        order.restaurant_id,
        order.order_value_gbp,
        order.number_of_items,
        order.country,
        np.array([2], np.int32),
        np.array([UNKNOWN_CODE], np.int32),
    )
    at_home, away = feature_matrix(order, LONG_HISTORY)[0], feature_matrix(elsewhere, LONG_HISTORY)[0]
    different = [name for name, one, other in zip(FEATURE_NAMES, at_home, away, strict=True) if one != other]
    assert different == ["city", "type_of_food"]


def test_a_restaurant_without_an_order_has_its_places_row() -> None:
    history = build_history(HistoryState.empty(5), directory(), MORNING)
    stranger = columns([Order(STRANGER, 0, 0, city=1, food=1)])
    assert np.array_equal(feature_matrix(columns([Order(3, 0, 0)]), history), feature_matrix(stranger, history))
