from __future__ import annotations

import datetime as dt
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from preptime.domain.timestamps import SECONDS_PER_DAY
from preptime.features import shrinkage
from preptime.features.history import History, build_history
from preptime.features.history_state import BIN_WIDTH, HistoryState
from preptime.features.restaurant_index import RestaurantIndex, Vocabularies
from preptime.features.spec import HISTORY_FEATURES
from tests.features.factories import FIRST, MORNING, Order, completed, directory, known_on, some_orders

NAMES = [feature.name for feature in HISTORY_FEATURES]
QUANTILES = [NAMES.index(f"restaurant_p{level}_seconds") for level in (10, 25, 50, 75, 90)]
BIN = np.exp(BIN_WIDTH)
"""Seconds are exact to a bin: 9.6 %."""


def row(history: History, subject: int) -> dict[str, float]:
    return dict(zip(NAMES, history.rows[subject].tolist(), strict=True))


def many(orders: list[Order], times: int) -> HistoryState:
    """The state of the same orders so many times over."""
    one = completed(orders)
    return HistoryState.from_orders(directory(), one.take(np.tile(np.arange(len(one)), times)))


def test_with_many_orders_a_restaurants_own_values_win() -> None:
    labels = [400, 600, 800, 1_000, 1_200]
    own = [Order(3, day * SECONDS_PER_DAY + 43_200, label, 5_000, 7) for day, label in enumerate(labels)]
    others = [Order(8, day * SECONDS_PER_DAY + 70_000, 5_000, 1_000, 1) for day in range(5)]
    found = row(build_history(many([*own, *others], 20_000), directory(), MORNING), 0)
    assert found["restaurant_mean_seconds"] == pytest.approx(np.exp(np.log(labels).mean()), rel=BIN - 1)
    assert found["restaurant_p50_seconds"] == pytest.approx(800, rel=BIN - 1)
    assert found["restaurant_p10_seconds"] == pytest.approx(400, rel=BIN - 1)
    assert found["restaurant_p90_seconds"] == pytest.approx(1_200, rel=BIN - 1)
    assert found["restaurant_spread"] == pytest.approx(np.log(labels).std(), abs=BIN_WIDTH)
    assert found["restaurant_mean_items"] == pytest.approx(7, rel=1e-3)
    assert found["restaurant_mean_value_gbp"] == pytest.approx(50, rel=1e-3)
    assert found["restaurant_lunch_share"] == pytest.approx(1, abs=1e-3)
    assert found["restaurant_first_lunch_second"] == pytest.approx(43_600, rel=1e-3)
    assert found["restaurant_orders"] == pytest.approx(np.log1p(100_000))
    assert found["restaurant_orders_per_day"] == pytest.approx(10_000)


@given(some_orders(last_day=9))
def test_without_orders_a_restaurant_has_what_its_place_gives(orders: list[Order]) -> None:
    history = known_on([order for order in orders if order.restaurant != 5])
    place = int(directory().group_index(directory().city[1:2], directory().type_of_food[1:2])[0])
    assert np.array_equal(history.rows[1], history.rows[len(directory()) + place])
    assert np.array_equal(history.slots[1], history.slots[len(directory()) + place])


@settings(max_examples=30)
@given(some_orders(last_day=9), st.integers(60, 10_000))
def test_the_more_orders_the_nearer_to_their_own(orders: list[Order], label: int) -> None:
    """Each further order of one length moves the mean no farther from it."""
    others = [order for order in orders if order.restaurant not in {3, 5}]
    own = np.log(label)
    gaps = []
    for count in (0, 1, 4, 16, 64, 256):
        history = known_on([*others, *(Order(3, 50_000 + second, label) for second in range(count))])
        gaps.append(abs(np.log(row(history, 0)["restaurant_mean_seconds"]) - own))
    for fewer, more in pairwise(gaps):
        assert more <= max(fewer, BIN_WIDTH)
    assert gaps[-1] < 0.15 + BIN_WIDTH


@given(some_orders(last_day=9))
def test_quantiles_ascend_and_every_time_is_one(orders: list[Order]) -> None:
    history = known_on(orders)
    assert np.all(np.diff(history.rows[:, QUANTILES], axis=1) > -1e-3)
    times = [place for place, name in enumerate(NAMES) if name.endswith("_seconds") and "first" not in name]
    # A city's and a food's effects are added, so a place can lie beyond both, though never below nothing.
    assert history.rows[:, times].min() > 0
    assert history.rows[:, times].max() < 2 * SECONDS_PER_DAY
    assert history.rows[:, NAMES.index("restaurant_spread")].min() > 0
    for service in ("lunch", "dinner"):
        first = history.rows[:, NAMES.index(f"restaurant_first_{service}_second")]
        assert first.min() >= 0
        assert first.max() < SECONDS_PER_DAY


def test_pulls_are_by_the_declared_number_of_orders() -> None:
    """One restaurant in a place of its own, by hand: root, city, food, both, restaurant."""
    history = known_on([Order(8, 43_200, 3_000)] * 4)
    first = shrinkage.PRIOR_POSITION
    bin_ = 50.0  # 3,000 s is ln(100) / BIN_WIDTH = 50.07
    root = (4 * bin_ + first) / 5
    city = (4 * bin_ + shrinkage.K_CITY * root) / (4 + shrinkage.K_CITY)
    food = (4 * bin_ + shrinkage.K_FOOD * root) / (4 + shrinkage.K_FOOD)
    added = city + food - root
    place = (4 * bin_ + shrinkage.K_CITY_FOOD * added) / (4 + shrinkage.K_CITY_FOOD)
    own = (4 * bin_ + shrinkage.K_RESTAURANT * place) / (4 + shrinkage.K_RESTAURANT)
    recent = (4 * bin_ * 0.5 ** (9 / 5) + shrinkage.K_RECENT * own) / (4 * 0.5 ** (9 / 5) + shrinkage.K_RECENT)
    last = (4 * bin_ + shrinkage.K_RECENT * own) / (4 + shrinkage.K_RECENT)
    found = row(history, 2)
    for name, position in (
        ("restaurant_mean_seconds", own),
        ("restaurant_recent_mean_seconds", recent),
        ("restaurant_last_orders_mean_seconds", last),
    ):
        assert found[name] == pytest.approx(30 * np.exp(BIN_WIDTH * (position + 0.5)), rel=1e-5), name


def test_a_recent_change_is_seen_in_the_recent_mean_first() -> None:
    slow = [Order(3, day * SECONDS_PER_DAY + 43_200, 2_400) for day in range(8, 10)]
    quick = [Order(3, day * SECONDS_PER_DAY + 43_200, 600) for day in range(8) for _ in range(5)]
    found = row(known_on(quick + slow), 0)
    assert found["restaurant_recent_mean_seconds"] > found["restaurant_mean_seconds"]
    assert found["restaurant_last_orders_mean_seconds"] > found["restaurant_recent_mean_seconds"]


def test_days_without_orders_make_the_rate_a_day_smaller_and_the_recency_older() -> None:
    orders = [Order(3, 43_200, 600)] * 12
    rates = [
        row(known_on(orders, FIRST + dt.timedelta(days=days)), 0)["restaurant_orders_per_day"]
        for days in (1, 2, 12, 28, 29, 400)
    ]
    assert rates == pytest.approx([12, 6, 1, 12 / 28, 0, 0])


def test_a_million_places_need_no_orders() -> None:
    """Subjects are finished in chunks; what lies on either side of a chunk's edge is finished alike."""
    size = shrinkage._CHUNK_ROWS + 3
    codes = np.zeros(size, np.int32)
    words = Vocabularies(("UK",), ("London",), ("thai",), ("Europe/London",))
    wide = RestaurantIndex(words, np.arange(size), codes, codes, codes, codes)
    one = completed([Order(1, 43_200, 600)])
    edge = one.take(np.zeros(2, np.intp))
    edge.orders.restaurant_id[:] = [shrinkage._CHUNK_ROWS - 1, shrinkage._CHUNK_ROWS]
    history = build_history(HistoryState.from_orders(wide, edge), wide, MORNING)
    assert np.array_equal(history.rows[shrinkage._CHUNK_ROWS - 1], history.rows[shrinkage._CHUNK_ROWS])
    assert np.array_equal(history.rows[0], history.rows[size - 1])
    assert not np.array_equal(history.rows[0], history.rows[shrinkage._CHUNK_ROWS])
