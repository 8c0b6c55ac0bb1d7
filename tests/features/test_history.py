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
from preptime.features.history import History, build_history, feature_matrix
from preptime.features.history_state import HistoryState
from preptime.features.restaurant_index import RestaurantIndex
from preptime.features.spec import FEATURE_NAMES, HISTORY_FEATURES, TIME_SLOT_COUNT
from tests.features.factories import (
    FIRST,
    MORNING,
    STRANGER,
    VOCABULARIES,
    Order,
    columns,
    completed,
    directory,
    history_bytes,
    known_on,
    midnight,
    some_orders,
)

TODAY = (MORNING - FIRST).days * SECONDS_PER_DAY
"""The midnight that begins `MORNING`, as an order's `at` is counted."""
RESTAURANTS = st.sampled_from([3, 5, 8, 12, 20])


def day_features(history: History, restaurant: int) -> NDArray[np.float32]:
    """What a model is given of this restaurant's orders of the day, one each hour, and of its neighbours'."""
    day = [Order(one, TODAY + hour * 3600, 600) for hour in range(24) for one in (restaurant, 3, STRANGER)]
    return feature_matrix(columns(day), history)


@st.composite
def after_midnight(draw: st.DrawFn, restaurant: int) -> Order:
    """An order that was ready at or after the midnight; many were acknowledged before it."""
    ready = draw(st.one_of(st.just(TODAY), st.integers(TODAY, TODAY + 3 * SECONDS_PER_DAY)))
    label = draw(st.integers(0, 10_800))
    return Order(restaurant, ready - label, label, draw(st.integers(0, 20_000)), draw(st.integers(1, 40)))


@st.composite
def before_midnight(draw: st.DrawFn, restaurant: int) -> Order:
    """An order that was ready before the midnight, many in its last second."""
    ready = draw(st.one_of(st.just(TODAY - 1), st.integers(10_800, TODAY - 1)))
    label = draw(st.integers(60, 2_000))
    return Order(restaurant, ready - label, label, draw(st.integers(0, 20_000)), draw(st.integers(1, 40)))


@given(some_orders(last_day=11), RESTAURANTS, st.data())
def test_nothing_at_or_after_the_midnight_matters(orders: list[Order], restaurant: int, data: st.DataObject) -> None:
    late = data.draw(after_midnight(restaurant), label="after the midnight")
    changed = data.draw(after_midnight(restaurant), label="changed to")
    features = day_features(known_on([*orders, late]), restaurant)
    assert np.array_equal(day_features(known_on([*orders, changed]), restaurant), features)
    assert np.array_equal(day_features(known_on([*orders, late, changed, late]), restaurant), features)
    assert np.array_equal(day_features(known_on(orders), restaurant), features)
    assert history_bytes(known_on([*orders, late])) == history_bytes(known_on(orders))


@given(some_orders(last_day=11), RESTAURANTS, st.data())
def test_what_was_ready_before_the_midnight_does(orders: list[Order], restaurant: int, data: st.DataObject) -> None:
    """The control of the test above: a change that must be seen."""
    early = data.draw(before_midnight(restaurant), label="before the midnight")
    features = day_features(known_on([*orders, early]), restaurant)

    slower = early._replace(label=early.label * 4, at=early.ready - early.label * 4)
    changes = {
        "restaurant_mean_seconds": slower,
        "restaurant_recent_mean_seconds": slower,
        "restaurant_mean_value_gbp": early._replace(pence=early.pence + 1_000),
        "restaurant_mean_items": early._replace(items=early.items + 5),
    }
    for name, changed in changes.items():
        seen = day_features(known_on([*orders, changed]), restaurant)
        column = FEATURE_NAMES.index(name)
        assert not np.array_equal(seen[:, column], features[:, column]), name
    assert not np.array_equal(day_features(known_on(orders), restaurant), features)
    too_late = early._replace(at=TODAY - early.label)
    assert np.array_equal(
        day_features(known_on([*orders, too_late]), restaurant), day_features(known_on(orders), restaurant)
    )


@given(some_orders(last_day=20), st.integers(1, 20))
def test_adding_a_day_is_building_from_scratch(orders: list[Order], days: int) -> None:
    date = FIRST + dt.timedelta(days=days)
    ready_day = [order.ready // SECONDS_PER_DAY for order in orders]
    state = HistoryState.from_orders(directory(), completed([]))
    for number in range(days):
        that_day = [order for order, when in zip(orders, ready_day, strict=True) if when == number]
        state = state.with_orders(directory(), completed(that_day))
    assert history_bytes(build_history(state, directory(), date)) == history_bytes(known_on(orders, date))


@given(st.integers(0, 3 * SECONDS_PER_DAY))
def test_a_state_that_knows_the_future_is_refused(late: int) -> None:
    state = HistoryState.from_orders(directory(), completed([Order(3, 0, 600), Order(3, TODAY + late, 0)]))
    with pytest.raises(UsageError, match="Can.t build the history as of 2015-06-11"):
        build_history(state, directory(), MORNING)


def test_the_last_second_of_the_evening_is_known_and_the_next_one_is_not() -> None:
    state = HistoryState.from_orders(directory(), completed([Order(3, TODAY - 601, 600)]))
    assert build_history(state, directory(), MORNING).fallback_level[0] == FALLBACK_LEVELS.index("restaurant")
    state.add_orders(directory(), completed([Order(3, TODAY - 600, 600)]))
    with pytest.raises(UsageError):
        build_history(state, directory(), MORNING)


@pytest.mark.parametrize("size", [0, 1, 5])
def test_a_history_without_any_order_knows_the_first_guesses(size: int) -> None:
    of = directory()
    few = RestaurantIndex(
        VOCABULARIES,
        of.restaurant_id[:size],
        *(codes[:size] for codes in (of.country, of.city, of.type_of_food, of.time_zone)),
    )
    history = build_history(HistoryState.empty(size), few, MORNING)
    assert len(history.rows) == size + few.group_count
    assert np.isfinite(history.rows).all()
    assert np.isfinite(history.slots).all()
    assert {FALLBACK_LEVELS[code] for code in history.fallback_level} == {"global"}
    assert history.global_median_seconds == pytest.approx(820)
    # Nobody is told apart from anybody.
    assert (history.rows == history.rows[0]).all()


def test_one_order_is_known_at_every_level() -> None:
    history = known_on([Order(3, 12 * 3600, 3_000)])
    asked = [
        Order(3, TODAY, 0),
        Order(5, TODAY, 0),  # the other Italian in London
        Order(8, TODAY, 0),  # a Thai in Leeds
        Order(STRANGER, TODAY, 0, city=1, food=1),
        Order(STRANGER, TODAY, 0, city=1, food=2),
        Order(STRANGER, TODAY, 0, city=2, food=1),
        Order(STRANGER, TODAY, 0, city=1),
        Order(STRANGER, TODAY, 0, food=1),
        Order(STRANGER, TODAY, 0, city=0, food=0),
        Order(STRANGER, TODAY, 0),
    ]
    basis = [FALLBACK_LEVELS[code] for code in history.fallback_level_for(columns(asked))]
    assert basis == [
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
    lookup = history.lookup(columns(asked))
    # The closer to the slow order, the slower.
    assert lookup[0] > lookup[1] == lookup[3] > lookup[6] > lookup[9] == lookup[2]
    assert lookup[9] == history.global_median_seconds
    assert lookup.dtype == np.float32


def test_the_basis_is_the_finest_level_with_an_order_behind_it() -> None:
    """Of a restaurant that is listed nowhere the orders count for no city and no food."""
    history = known_on([Order(20, 12 * 3600, 600), Order(STRANGER, 12 * 3600, 600, city=2, food=0)])
    asked = [Order(20, TODAY, 0), Order(3, TODAY, 0), Order(STRANGER, TODAY, 0, city=2, food=0)]
    assert [FALLBACK_LEVELS[code] for code in history.fallback_level_for(columns(asked))] == [
        "restaurant",
        "global",
        "global",
    ]


@given(some_orders(last_day=9))
def test_the_lookup_is_the_median_column_and_the_basis_is_of_the_same_row(orders: list[Order]) -> None:
    history = known_on(orders)
    asked = columns([Order(one, TODAY, 0, city=1, food=UNKNOWN_CODE) for one in (3, 5, 8, 12, 20, STRANGER)])
    features = feature_matrix(asked, history)
    assert np.array_equal(history.lookup(asked), features[:, FEATURE_NAMES.index("restaurant_p50_seconds")])
    counted = {order.restaurant for order in orders if order.ready < TODAY} - {STRANGER}
    own = [FALLBACK_LEVELS[code] == "restaurant" for code in history.fallback_level_for(asked)]
    assert own == [one in counted for one in asked.restaurant_id.tolist()]


@pytest.mark.parametrize("mode", [None, "r"])
def test_arrays_make_the_same_history_again_mapped_or_not(tmp_path: Path, mode: str | None) -> None:
    history = known_on([Order(3, hour * 3600, 300 + hour) for hour in range(200)])
    mapped: dict[str, NDArray[np.generic]] = {}
    for name, array in history.arrays().items():
        np.save(tmp_path / f"{name}.npy", array)
        mapped[name] = np.load(tmp_path / f"{name}.npy", mmap_mode="r" if mode else None)
    again = History.from_arrays(history.date, history.vocabularies, mapped)
    assert history_bytes(again) == history_bytes(history)
    assert (again.date, again.vocabularies) == (history.date, history.vocabularies)
    assert all(np.shares_memory(array, mapped[name]) for name, array in again.arrays().items() if array.size > 1)
    asked = columns([Order(one, TODAY + 70_000, 0) for one in (3, 5, STRANGER)])
    assert np.array_equal(feature_matrix(asked, again), feature_matrix(asked, history))
    assert np.array_equal(again.fallback_level_for(asked), history.fallback_level_for(asked))


@given(some_orders(last_day=9))
def test_types_and_shapes_are_as_declared(orders: list[Order]) -> None:
    history = known_on(orders)
    subjects = len(directory()) + directory().group_count
    assert history.rows.shape == (subjects, len(HISTORY_FEATURES))
    assert history.slots.shape == (subjects, TIME_SLOT_COUNT)
    assert history.fallback_level.shape == (subjects,)
    assert [one.dtype for one in (history.rows, history.slots, history.fallback_level)] == [
        np.float32,
        np.float32,
        np.int8,
    ]
    assert history.date == MORNING.isoformat()
    assert midnight(MORNING) == midnight(FIRST) + TODAY
    assert all(array.flags.c_contiguous for array in history.arrays().values())
