from __future__ import annotations

import datetime as dt
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from preptime.domain.timestamps import SECONDS_PER_DAY
from preptime.features import shrinkage
from preptime.features.history import History
from preptime.features.history_state import BIN_WIDTH, HistoryState
from preptime.features.restaurant_index import RestaurantIndex, Vocabularies
from preptime.features.shrinkage import build_history
from preptime.features.spec import HISTORY_FEATURES
from tests.features.factories import (
    AS_OF,
    FIRST_DAY,
    Order,
    completed_orders,
    example_restaurants,
    history_as_of,
    some_orders,
)

NAMES = [feature.name for feature in HISTORY_FEATURES]
QUANTILES = [NAMES.index(f"restaurant_p{level}_seconds") for level in (10, 25, 50, 75, 90)]
BIN = np.exp(BIN_WIDTH)
"""Ratio of two adjacent bins. Seconds are exact to one bin, 9.6%."""


def history_row(history: History, subject: int) -> dict[str, float]:
    return dict(zip(NAMES, history.rows[subject].tolist(), strict=True))


def state_of_repeated_orders(orders: list[Order], times: int) -> HistoryState:
    """Return the state of the same orders, repeated `times` times."""
    completed = completed_orders(orders)
    return HistoryState.from_orders(example_restaurants(), completed.take(np.tile(np.arange(len(completed)), times)))


def test_rows_with_many_orders_match_own_values() -> None:
    labels = [400, 600, 800, 1_000, 1_200]
    own = [Order(3, day * SECONDS_PER_DAY + 43_200, label, 5_000, 7) for day, label in enumerate(labels)]
    others = [Order(8, day * SECONDS_PER_DAY + 70_000, 5_000, 1_000, 1) for day in range(5)]
    values = history_row(
        build_history(state_of_repeated_orders([*own, *others], 20_000), example_restaurants(), AS_OF), 0
    )
    assert values["restaurant_mean_seconds"] == pytest.approx(np.exp(np.log(labels).mean()), rel=BIN - 1)
    assert values["restaurant_p50_seconds"] == pytest.approx(800, rel=BIN - 1)
    assert values["restaurant_p10_seconds"] == pytest.approx(400, rel=BIN - 1)
    assert values["restaurant_p90_seconds"] == pytest.approx(1_200, rel=BIN - 1)
    assert values["restaurant_spread"] == pytest.approx(np.log(labels).std(), abs=BIN_WIDTH)
    assert values["restaurant_mean_items"] == pytest.approx(7, rel=1e-3)
    assert values["restaurant_mean_order_value"] == pytest.approx(50, rel=1e-3)
    assert values["restaurant_lunch_share"] == pytest.approx(1, abs=1e-3)
    assert values["restaurant_first_lunch_second"] == pytest.approx(43_600, rel=1e-3)
    assert values["restaurant_orders"] == pytest.approx(np.log1p(100_000))
    assert values["restaurant_orders_per_day"] == pytest.approx(10_000)


@given(some_orders(last_day=9))
def test_restaurant_without_orders_has_values_of_its_group(orders: list[Order]) -> None:
    history = history_as_of([order for order in orders if order.restaurant != 5])
    group = int(
        example_restaurants().group_index(example_restaurants().city[1:2], example_restaurants().type_of_food[1:2])[0]
    )
    assert np.array_equal(history.rows[1], history.rows[len(example_restaurants()) + group])
    assert np.array_equal(history.slots[1], history.slots[len(example_restaurants()) + group])


@settings(max_examples=30)
@given(some_orders(last_day=9), st.integers(60, 10_000))
def test_mean_approaches_own_value_with_more_orders(orders: list[Order], label: int) -> None:
    """More orders with the same label never move the mean away from it."""
    others = [order for order in orders if order.restaurant not in {3, 5}]
    own = np.log(label)
    gaps = []
    for count in (0, 1, 4, 16, 64, 256):
        history = history_as_of([*others, *(Order(3, 50_000 + second, label) for second in range(count))])
        gaps.append(abs(np.log(history_row(history, 0)["restaurant_mean_seconds"]) - own))
    for fewer, more in pairwise(gaps):
        assert more <= max(fewer, BIN_WIDTH)
    assert gaps[-1] < 0.15 + BIN_WIDTH


@given(some_orders(last_day=9))
def test_quantiles_ascend_and_times_are_plausible(orders: list[Order]) -> None:
    history = history_as_of(orders)
    assert np.all(np.diff(history.rows[:, QUANTILES], axis=1) > -1e-3)
    times = [column for column, name in enumerate(NAMES) if name.endswith("_seconds") and "first" not in name]
    # The effects of city and food are added, so a group can be outside of both, but never below 0.
    assert history.rows[:, times].min() > 0
    assert history.rows[:, times].max() < 2 * SECONDS_PER_DAY
    assert history.rows[:, NAMES.index("restaurant_spread")].min() > 0
    for service in ("lunch", "dinner"):
        first = history.rows[:, NAMES.index(f"restaurant_first_{service}_second")]
        assert first.min() >= 0
        assert first.max() < SECONDS_PER_DAY


def test_shrinkage_uses_the_declared_weights() -> None:
    """One restaurant in its own group, computed directly: root, city, food, group, restaurant."""
    history = history_as_of([Order(8, 43_200, 3_000)] * 4)
    first = shrinkage.PRIOR_POSITION
    bin_ = 50.0  # 3,000 s is ln(100) / BIN_WIDTH = 50.07
    root = (4 * bin_ + first) / 5
    city = (4 * bin_ + shrinkage.K_CITY * root) / (4 + shrinkage.K_CITY)
    food = (4 * bin_ + shrinkage.K_FOOD * root) / (4 + shrinkage.K_FOOD)
    added = city + food - root
    group = (4 * bin_ + shrinkage.K_CITY_FOOD * added) / (4 + shrinkage.K_CITY_FOOD)
    restaurant = (4 * bin_ + shrinkage.K_RESTAURANT * group) / (4 + shrinkage.K_RESTAURANT)
    recent = (4 * bin_ * 0.5 ** (9 / 5) + shrinkage.K_RECENT * restaurant) / (4 * 0.5 ** (9 / 5) + shrinkage.K_RECENT)
    last = (4 * bin_ + shrinkage.K_RECENT * restaurant) / (4 + shrinkage.K_RECENT)
    values = history_row(history, 2)
    for name, position in (
        ("restaurant_mean_seconds", restaurant),
        ("restaurant_recent_mean_seconds", recent),
        ("restaurant_last_orders_mean_seconds", last),
    ):
        assert values[name] == pytest.approx(30 * np.exp(BIN_WIDTH * (position + 0.5)), rel=1e-5), name


def test_recent_mean_reacts_to_recent_change() -> None:
    slow = [Order(3, day * SECONDS_PER_DAY + 43_200, 2_400) for day in range(8, 10)]
    quick = [Order(3, day * SECONDS_PER_DAY + 43_200, 600) for day in range(8) for _ in range(5)]
    values = history_row(history_as_of(quick + slow), 0)
    assert values["restaurant_recent_mean_seconds"] > values["restaurant_mean_seconds"]
    assert values["restaurant_last_orders_mean_seconds"] > values["restaurant_recent_mean_seconds"]


def test_orders_per_day_decreases_on_days_without_orders() -> None:
    orders = [Order(3, 43_200, 600)] * 12
    rates = [
        history_row(history_as_of(orders, FIRST_DAY + dt.timedelta(days=days)), 0)["restaurant_orders_per_day"]
        for days in (1, 2, 12, 28, 29, 400)
    ]
    assert rates == pytest.approx([12, 6, 1, 12 / 28, 0, 0])


def test_rows_are_equal_across_chunk_boundaries() -> None:
    """Rows are computed in chunks. The rows on both sides of a boundary must be equal."""
    size = shrinkage._CHUNK_ROWS + 3
    codes = np.zeros(size, np.int32)
    vocabularies = Vocabularies(("UK",), ("London",), ("thai",), ("Europe/London",))
    wide = RestaurantIndex(vocabularies, np.arange(size), codes, codes, codes, codes)
    completed = completed_orders([Order(1, 43_200, 600)])
    edge = completed.take(np.zeros(2, np.intp))
    edge.orders.restaurant_id[:] = [shrinkage._CHUNK_ROWS - 1, shrinkage._CHUNK_ROWS]
    history = build_history(HistoryState.from_orders(wide, edge), wide, AS_OF)
    assert np.array_equal(history.rows[shrinkage._CHUNK_ROWS - 1], history.rows[shrinkage._CHUNK_ROWS])
    assert np.array_equal(history.rows[0], history.rows[size - 1])
    assert not np.array_equal(history.rows[0], history.rows[shrinkage._CHUNK_ROWS])
