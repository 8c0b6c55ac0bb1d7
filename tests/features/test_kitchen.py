"""The replayed state of a kitchen equals a direct count, and nothing at or after the acknowledgement matters."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from preptime.domain.orders import UNKNOWN_CODE, OrderColumns
from preptime.domain.restaurant_ids import UNKNOWN_RESTAURANT_KEY, restaurant_key
from preptime.domain.timestamps import SECONDS_PER_DAY
from preptime.features.kitchen import (
    LOG_SCALE,
    LOG_UNITS,
    NEVER,
    OPEN_SECONDS,
    RECENT_ORDERS,
    KitchenEvents,
    KitchenStates,
    count_kitchen,
    live_features,
)

MIDNIGHT = 16_600 * SECONDS_PER_DAY
"""Midnight at the start of a day in June 2015, in UTC."""
RESTAURANTS = (restaurant_key("store-7"), 3, 4)
"""A text as an identifier has a negative key."""


class Zone(NamedTuple):
    """A time zone whose offset from UTC, in seconds, changes once."""

    before: int
    after: int
    change: int = MIDNIGHT

    def local(self, utc: int) -> int:
        return utc + (self.before if utc < self.change else self.after)

    def day(self, utc: int) -> int:
        return self.local(utc) // SECONDS_PER_DAY


UTC = Zone(0, 0)
CAIRO = Zone(10_800, 7_200, MIDNIGHT - 10_800)
"""23:00 to 24:00 occurs twice."""
# In the next two, 00:10 to 01:10 occurs twice, and 00:00 to 01:00 is skipped.
ZONES = UTC, CAIRO, Zone(3_600, 0, MIDNIGHT + 600), Zone(0, 3_600)


class Event(NamedTuple):
    """An order of a restaurant. It's open until `ready`."""

    restaurant: int
    opened: int
    ready: int = NEVER
    prep: int = 0


def completed(restaurant: int, opened: int, prep: int) -> Event:
    """Return an order that was ready after `prep` seconds."""
    return Event(restaurant, opened, opened + prep, prep)


def still_open(restaurant: int, opened: int) -> Event:
    """Return an order that is never ready."""
    return Event(restaurant, opened)


# Times are close to midnight and to each other, so that many of them are equal.
times = st.integers(-30, 30).map(lambda step: MIDNIGHT + 20 * step) | st.integers(
    MIDNIGHT - 2 * OPEN_SECONDS, MIDNIGHT + 2 * OPEN_SECONDS
)
preparation_times = st.sampled_from(
    (0, 1, 20, 60, 900, OPEN_SECONDS - 1, OPEN_SECONDS, OPEN_SECONDS + 1)
) | st.integers(0, 2 * OPEN_SECONDS)
events = st.lists(
    st.builds(completed, st.sampled_from(RESTAURANTS), times, preparation_times)
    | st.builds(still_open, st.sampled_from(RESTAURANTS), times),
    max_size=25,
)
orders = st.lists(
    st.tuples(st.sampled_from((*RESTAURANTS, UNKNOWN_RESTAURANT_KEY, 10**9)), times), min_size=1, max_size=12
)


zones = st.sampled_from(ZONES)


def to_events(rows: list[Event], zone: Zone = UTC) -> KitchenEvents:
    columns = np.array(
        [(row.restaurant, row.opened, row.ready, zone.day(row.ready), row.prep) for row in rows], np.int64
    )
    return KitchenEvents(*columns.reshape(-1, 5).T)


def to_orders(rows: list[tuple[int, int]], zone: Zone = UTC) -> OrderColumns:
    restaurants, acknowledged = np.array(rows, np.int64).reshape(-1, 2).T
    unknown = np.full(len(rows), UNKNOWN_CODE, np.int32)
    return OrderColumns(
        acknowledged_at=np.array([zone.local(utc) for utc in acknowledged.tolist()]),
        acknowledged_utc=acknowledged,
        restaurant_id=restaurants,
        order_value=np.ones(len(rows)),
        number_of_items=np.ones(len(rows), np.int64),
        country=unknown,
        city=unknown,
        type_of_food=unknown,
    )


def rows_of(states: KitchenStates) -> list[tuple[int, int, int]]:
    columns = states.open_orders, states.recent_orders, states.recent_log_sum
    return list(zip(*(column.tolist() for column in columns), strict=True))


def count_directly(rows: list[Event], restaurant: int, now: int, zone: Zone) -> tuple[int, int, int]:
    """Count one kitchen as docs/models.md describes it."""
    own = [row for row in rows if row.restaurant == restaurant]
    open_orders = sum(row.opened < now <= row.ready and now - row.opened < OPEN_SECONDS for row in own)
    today = [
        (row.ready, row.prep)
        for row in own
        if row.ready < now and zone.day(row.ready) == zone.day(now) and 0 < row.prep <= OPEN_SECONDS
    ]
    recent = sorted(today)[-RECENT_ORDERS:]
    return open_orders, len(recent), sum(round(float(np.log(prep)) * LOG_SCALE) for _, prep in recent)


@given(events, orders, zones)
def test_replay_equals_direct_count(rows: list[Event], asked: list[tuple[int, int]], zone: Zone) -> None:
    states = to_events(rows, zone).replay(to_orders(asked, zone))
    assert len(states) == len(asked)
    assert rows_of(states) == [count_directly(rows, restaurant, now, zone) for restaurant, now in asked]


@given(events, orders)
def test_replay_ignores_everything_from_acknowledgement_on(rows: list[Event], asked: list[tuple[int, int]]) -> None:
    """Drop later orders, and make orders that are ready later never ready. The state is the same."""
    restaurant, now = asked[0]
    known = [row if row.ready < now else row._replace(ready=NEVER, prep=0) for row in rows if row.opened < now]
    later = [Event(restaurant, now, now + 5, 5), Event(restaurant, now + 1), Event(restaurant, now - 9, now, 9)]
    expected = to_events([*known, later[2]._replace(ready=NEVER, prep=0)]).replay(to_orders(asked[:1]))
    assert rows_of(to_events([*rows, *later]).replay(to_orders(asked[:1]))) == rows_of(expected)


@given(events, orders, zones)
def test_request_counts_equal_replay_bit_by_bit(rows: list[Event], asked: list[tuple[int, int]], zone: Zone) -> None:
    """A request sends the open and the completed orders of its restaurant, in any order."""
    counted = []
    for restaurant, now in asked:
        own = [row for row in reversed(rows) if row.restaurant == restaurant]
        open_orders = [row.opened for row in own if row.ready >= now]
        done = [(row.ready, zone.day(row.ready), row.prep) for row in own if row.ready < NEVER]
        counted.append(count_kitchen(now, zone.day(now), open_orders, done))
    states = to_events(rows, zone).replay(to_orders(asked, zone))
    assert counted == rows_of(states)
    usual = np.random.default_rng(len(rows)).uniform(0, 2_000, len(asked)).astype(np.float32)
    replayed, requested = live_features(states, usual), live_features(KitchenStates.from_rows(counted), usual)
    assert replayed.tobytes() == requested.tobytes()
    assert replayed.shape == (len(asked), 2)
    assert np.isfinite(replayed).all()


@given(events.flatmap(lambda rows: st.tuples(st.just(rows), st.permutations(rows))), orders)
def test_replay_ignores_the_order_of_events(
    pair: tuple[list[Event], list[Event]], asked: list[tuple[int, int]]
) -> None:
    rows, shuffled = pair
    assert rows_of(to_events(shuffled).replay(to_orders(asked))) == rows_of(to_events(rows).replay(to_orders(asked)))


def state_at(now: int, *rows: Event) -> tuple[int, int, int]:
    (state,) = rows_of(to_events(list(rows)).replay(to_orders([(3, now)])))
    return state


NOON = MIDNIGHT + 12 * 3600


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (Event(3, NOON - 1), (1, 0, 0)),
        (Event(3, NOON), (0, 0, 0)),  # acknowledged in the same second
        (Event(4, NOON - 1), (0, 0, 0)),  # of another restaurant
        (Event(3, NOON - OPEN_SECONDS + 1), (1, 0, 0)),
        (Event(3, NOON - OPEN_SECONDS), (0, 0, 0)),  # without a ready time
        (completed(3, NOON - 600, 599), (0, 1, int(LOG_UNITS[599]))),
        (completed(3, NOON - 600, 600), (1, 0, 0)),  # ready in the same second
        (completed(3, MIDNIGHT - 600, 600), (0, 1, int(LOG_UNITS[600]))),  # ready at midnight
        (completed(3, MIDNIGHT - 600, 599), (0, 0, 0)),  # ready on the day before
        (completed(3, NOON - OPEN_SECONDS - 9, OPEN_SECONDS), (0, 1, int(LOG_UNITS[OPEN_SECONDS]))),
        (completed(3, NOON - OPEN_SECONDS - 9, OPEN_SECONDS + 1), (0, 0, 0)),
        (Event(3, NOON - 600, NOON - 5, 0), (0, 0, 0)),  # without a label
        (Event(3, NOON - 600, NOON - 700, 900), (0, 1, int(LOG_UNITS[900]))),  # ready before its acknowledgement
    ],
)
def test_state_at_the_limits(event: Event, expected: tuple[int, int, int]) -> None:
    assert state_at(NOON, event) == expected


def test_state_counts_only_the_latest_three_completed_orders() -> None:
    rows = [completed(3, NOON - 900 - 10 * number, 600 + number) for number in range(5)]
    assert state_at(NOON, *rows) == (0, 3, sum(int(LOG_UNITS[600 + number]) for number in range(3)))


def test_state_in_a_repeated_hour_is_strictly_before() -> None:
    """In Cairo, local time goes from 24:00 back to 23:00. Orders of 23:50 and 23:55 are ready at 23:10 and 23:20."""
    change = CAIRO.change
    rows = [completed(3, change - 600, 1_200), completed(3, change - 300, 1_500), completed(3, change + 300, 1_500)]
    asked = [(3, row.opened) for row in rows]
    orders = to_orders(asked, CAIRO)
    assert orders.acknowledged_at[2] < orders.acknowledged_at[0]
    assert rows_of(to_events(rows, CAIRO).replay(orders)) == [(0, 0, 0), (1, 0, 0), (2, 0, 0)]


def test_replay_needs_times_in_utc() -> None:
    orders = replace(to_orders([(3, NOON)]), acknowledged_utc=None)
    with pytest.raises(ValueError, match="no times in UTC"):
        to_events([still_open(3, NOON - 1)]).replay(orders)


def test_live_features_are_counts_and_mean_logs() -> None:
    states = KitchenStates(np.array([5, 0]), np.array([3, 0]), np.array([3 * LOG_UNITS[1_200], 0]))
    open_orders, residual = live_features(states, np.array([600.0, 0.0], np.float32)).T
    assert open_orders.tolist() == [5, 0]
    assert residual.tolist() == pytest.approx([3 * np.log(2) / 4, 0])


def test_take_and_from_rows_keep_states() -> None:
    rows = [(1, 2, 3), (4, 5, 6), (7, 8, 9)]
    states = KitchenStates.from_rows(iter(rows))
    assert rows_of(states) == rows
    assert rows_of(states.take(np.array([True, False, True]))) == [rows[0], rows[2]]
    assert rows_of(KitchenStates.from_rows([])) == []
