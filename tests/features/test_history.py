from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from preptime.domain.orders import FALLBACK_LEVELS, UNKNOWN_CODE
from preptime.domain.timestamps import SECONDS_PER_DAY
from preptime.errors import UsageError
from preptime.features.feature_set import TAKE_HOME_FEATURES
from preptime.features.history import History, feature_matrix
from preptime.features.history_state import HistoryState
from preptime.features.restaurant_index import RestaurantIndex
from preptime.features.shrinkage import build_history
from preptime.features.spec import HISTORY_FEATURES, TIME_SLOT_COUNT
from tests.features.factories import (
    AS_OF,
    FIRST_DAY,
    UNKNOWN_RESTAURANT,
    VOCABULARIES,
    Order,
    completed_orders,
    example_restaurants,
    history_as_of,
    history_bytes,
    midnight_seconds,
    order_columns,
    some_orders,
)

TODAY = (AS_OF - FIRST_DAY).days * SECONDS_PER_DAY
"""Midnight at the start of `AS_OF`, in the unit of `Order.at`."""
RESTAURANTS = st.sampled_from([3, 5, 8, 12, 20])


def day_features(history: History, restaurant: int) -> NDArray[np.float32]:
    """Return the features of one order per hour of the day for this restaurant and two others."""
    day = [
        Order(restaurant_id, TODAY + hour * 3600, 600)
        for hour in range(24)
        for restaurant_id in (restaurant, 3, UNKNOWN_RESTAURANT)
    ]
    return feature_matrix(order_columns(day), history)


@st.composite
def orders_after_midnight(draw: st.DrawFn, restaurant: int) -> Order:
    """Draw an order that was ready at or after midnight. Many were acknowledged before it."""
    ready = draw(st.one_of(st.just(TODAY), st.integers(TODAY, TODAY + 3 * SECONDS_PER_DAY)))
    label = draw(st.integers(0, 10_800))
    return Order(restaurant, ready - label, label, draw(st.integers(0, 20_000)), draw(st.integers(1, 40)))


@st.composite
def orders_before_midnight(draw: st.DrawFn, restaurant: int) -> Order:
    """Draw an order that was ready before midnight, often in the last second."""
    ready = draw(st.one_of(st.just(TODAY - 1), st.integers(10_800, TODAY - 1)))
    label = draw(st.integers(60, 2_000))
    return Order(restaurant, ready - label, label, draw(st.integers(0, 20_000)), draw(st.integers(1, 40)))


@given(some_orders(last_day=11), RESTAURANTS, st.data())
def test_features_ignore_orders_ready_at_or_after_midnight(
    orders: list[Order], restaurant: int, data: st.DataObject
) -> None:
    late = data.draw(orders_after_midnight(restaurant), label="after the midnight")
    changed = data.draw(orders_after_midnight(restaurant), label="changed to")
    features = day_features(history_as_of([*orders, late]), restaurant)
    assert np.array_equal(day_features(history_as_of([*orders, changed]), restaurant), features)
    assert np.array_equal(day_features(history_as_of([*orders, late, changed, late]), restaurant), features)
    assert np.array_equal(day_features(history_as_of(orders), restaurant), features)
    assert history_bytes(history_as_of([*orders, late])) == history_bytes(history_as_of(orders))


@given(some_orders(last_day=11), RESTAURANTS, st.data())
def test_features_depend_on_orders_ready_before_midnight(
    orders: list[Order], restaurant: int, data: st.DataObject
) -> None:
    """The control of the previous test: a change that must have an effect."""
    early = data.draw(orders_before_midnight(restaurant), label="before the midnight")
    features = day_features(history_as_of([*orders, early]), restaurant)

    slower = early._replace(label=early.label * 4, at=early.ready - early.label * 4)
    changes = {
        "restaurant_mean_seconds": slower,
        "restaurant_recent_mean_seconds": slower,
        "restaurant_mean_order_value": early._replace(pence=early.pence + 1_000),
        "restaurant_mean_items": early._replace(items=early.items + 5),
    }
    for name, changed in changes.items():
        changed_features = day_features(history_as_of([*orders, changed]), restaurant)
        column = TAKE_HOME_FEATURES.names.index(name)
        assert not np.array_equal(changed_features[:, column], features[:, column]), name
    assert not np.array_equal(day_features(history_as_of(orders), restaurant), features)
    too_late = early._replace(at=TODAY - early.label)
    assert np.array_equal(
        day_features(history_as_of([*orders, too_late]), restaurant), day_features(history_as_of(orders), restaurant)
    )


@given(some_orders(last_day=20), st.integers(1, 20))
def test_history_day_by_day_equals_build_from_scratch(orders: list[Order], days: int) -> None:
    date = FIRST_DAY + dt.timedelta(days=days)
    ready_day = [order.ready // SECONDS_PER_DAY for order in orders]
    state = HistoryState.from_orders(example_restaurants(), completed_orders([]))
    for number in range(days):
        that_day = [order for order, when in zip(orders, ready_day, strict=True) if when == number]
        state = state.with_orders(example_restaurants(), completed_orders(that_day))
    assert history_bytes(build_history(state, example_restaurants(), date)) == history_bytes(
        history_as_of(orders, date)
    )


@given(st.integers(0, 3 * SECONDS_PER_DAY))
def test_build_history_with_future_order_raises(late: int) -> None:
    state = HistoryState.from_orders(
        example_restaurants(), completed_orders([Order(3, 0, 600), Order(3, TODAY + late, 0)])
    )
    with pytest.raises(UsageError, match=r"Can't build the history as of 2015-06-11"):
        build_history(state, example_restaurants(), AS_OF)


def test_build_history_includes_last_second_before_midnight() -> None:
    state = HistoryState.from_orders(example_restaurants(), completed_orders([Order(3, TODAY - 601, 600)]))
    assert build_history(state, example_restaurants(), AS_OF).fallback_level[0] == FALLBACK_LEVELS.index("restaurant")
    state.add_orders(example_restaurants(), completed_orders([Order(3, TODAY - 600, 600)]))
    with pytest.raises(UsageError):
        build_history(state, example_restaurants(), AS_OF)


@pytest.mark.parametrize("size", [0, 1, 5])
def test_history_without_orders_has_prior_values(size: int) -> None:
    restaurants = example_restaurants()
    few = RestaurantIndex(
        VOCABULARIES,
        restaurants.restaurant_id[:size],
        restaurants.country[:size],
        restaurants.city[:size],
        restaurants.type_of_food[:size],
        restaurants.time_zone[:size],
    )
    history = build_history(HistoryState.empty(size), few, AS_OF)
    assert len(history.rows) == size + few.group_count
    assert np.isfinite(history.rows).all()
    assert np.isfinite(history.slots).all()
    assert {FALLBACK_LEVELS[code] for code in history.fallback_level} == {"global"}
    assert history.global_median_seconds == pytest.approx(820)
    # All rows are equal.
    assert (history.rows == history.rows[0]).all()


def test_history_with_one_order_affects_every_level() -> None:
    history = history_as_of([Order(3, 12 * 3600, 3_000)])
    orders = [
        Order(3, TODAY, 0),
        Order(5, TODAY, 0),  # the other Italian restaurant in London
        Order(8, TODAY, 0),  # a Thai restaurant in Leeds
        Order(UNKNOWN_RESTAURANT, TODAY, 0, city=1, food=1),
        Order(UNKNOWN_RESTAURANT, TODAY, 0, city=1, food=2),
        Order(UNKNOWN_RESTAURANT, TODAY, 0, city=2, food=1),
        Order(UNKNOWN_RESTAURANT, TODAY, 0, city=1),
        Order(UNKNOWN_RESTAURANT, TODAY, 0, food=1),
        Order(UNKNOWN_RESTAURANT, TODAY, 0, city=0, food=0),
        Order(UNKNOWN_RESTAURANT, TODAY, 0),
    ]
    levels = [FALLBACK_LEVELS[code] for code in history.fallback_level_for(order_columns(orders))]
    assert levels == [
        "restaurant",
        "city_food",
        "global",
        "city_food",
        "city",
        "food",
        "city",
        "food",
        "global",
        "global",
    ]
    lookup = history.lookup(order_columns(orders))
    # The more an order has in common with the slow order, the slower its lookup.
    assert lookup[0] > lookup[1] == lookup[3] > lookup[6] > lookup[9] == lookup[2]
    assert lookup[9] == history.global_median_seconds
    assert lookup.dtype == np.float32


def test_fallback_level_is_finest_level_with_an_order() -> None:
    """Orders of an unknown restaurant aren't counted for a city or a type of food."""
    history = history_as_of([Order(20, 12 * 3600, 600), Order(UNKNOWN_RESTAURANT, 12 * 3600, 600, city=2, food=0)])
    orders = [Order(20, TODAY, 0), Order(3, TODAY, 0), Order(UNKNOWN_RESTAURANT, TODAY, 0, city=2, food=0)]
    assert [FALLBACK_LEVELS[code] for code in history.fallback_level_for(order_columns(orders))] == [
        "restaurant",
        "global",
        "global",
    ]


@given(some_orders(last_day=9))
def test_lookup_and_fallback_level_use_the_same_row(orders: list[Order]) -> None:
    history = history_as_of(orders)
    new_orders = order_columns(
        [Order(restaurant, TODAY, 0, city=1, food=UNKNOWN_CODE) for restaurant in (3, 5, 8, 12, 20, UNKNOWN_RESTAURANT)]
    )
    features = feature_matrix(new_orders, history)
    assert np.array_equal(
        history.lookup(new_orders), features[:, TAKE_HOME_FEATURES.names.index("restaurant_p50_seconds")]
    )
    counted = {order.restaurant for order in orders if order.ready < TODAY} - {UNKNOWN_RESTAURANT}
    has_own_level = [FALLBACK_LEVELS[code] == "restaurant" for code in history.fallback_level_for(new_orders)]
    assert has_own_level == [restaurant in counted for restaurant in new_orders.restaurant_id.tolist()]


@pytest.mark.parametrize("mode", [None, "r"])
def test_history_from_arrays_equals_original(tmp_path: Path, mode: str | None) -> None:
    history = history_as_of([Order(3, hour * 3600, 300 + hour) for hour in range(200)])
    mapped: dict[str, NDArray[np.generic]] = {}
    for name, array in history.arrays().items():
        np.save(tmp_path / f"{name}.npy", array)
        mapped[name] = np.load(tmp_path / f"{name}.npy", mmap_mode="r" if mode else None)
    restored = History.from_arrays(history.date, history.vocabularies, mapped)
    assert history_bytes(restored) == history_bytes(history)
    assert (restored.date, restored.vocabularies) == (history.date, history.vocabularies)
    assert all(np.shares_memory(array, mapped[name]) for name, array in restored.arrays().items() if array.size > 1)
    orders = order_columns([Order(restaurant, TODAY + 70_000, 0) for restaurant in (3, 5, UNKNOWN_RESTAURANT)])
    assert np.array_equal(feature_matrix(orders, restored), feature_matrix(orders, history))
    assert np.array_equal(restored.fallback_level_for(orders), history.fallback_level_for(orders))


@given(some_orders(last_day=9))
def test_history_arrays_have_declared_types_and_shapes(orders: list[Order]) -> None:
    history = history_as_of(orders)
    row_count = len(example_restaurants()) + example_restaurants().group_count
    assert history.rows.shape == (row_count, len(HISTORY_FEATURES))
    assert history.slots.shape == (row_count, TIME_SLOT_COUNT)
    assert history.fallback_level.shape == (row_count,)
    assert [array.dtype for array in (history.rows, history.slots, history.fallback_level)] == [
        np.float32,
        np.float32,
        np.int8,
    ]
    assert history.date == AS_OF.isoformat()
    assert midnight_seconds(AS_OF) == midnight_seconds(FIRST_DAY) + TODAY
    assert all(array.flags.c_contiguous for array in history.arrays().values())
