from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from preptime.domain.timestamps import SECONDS_PER_DAY
from preptime.features.history_state import (
    BIN_COUNT,
    LAST_ORDER_COUNT,
    NEVER_READY,
    NO_ORDER,
    RECENT_DAYS,
    HistoryState,
    duration_bins,
)
from preptime.features.spec import local_day
from tests.features.factories import (
    FIRST_DAY,
    UNKNOWN_RESTAURANT,
    Order,
    completed_orders,
    example_restaurants,
    midnight_seconds,
    some_orders,
    state_bytes,
)


def state_of(orders: list[Order]) -> HistoryState:
    return HistoryState.from_orders(example_restaurants(), completed_orders(orders))


# Sixty days, so that some orders are older than the days with separate sums.
LONG = some_orders(last_day=60)


@given(LONG, st.data())
def test_state_is_independent_of_row_order(orders: list[Order], data: st.DataObject) -> None:
    mixed = data.draw(st.permutations(orders))
    assert state_bytes(state_of(mixed)) == state_bytes(state_of(orders))


@given(LONG, st.lists(st.integers(0, 40), max_size=4), st.data())
def test_state_of_any_partitions_equals_whole(orders: list[Order], cuts: list[int], data: st.DataObject) -> None:
    bounds = sorted({0, len(orders), *(min(cut, len(orders)) for cut in cuts)})
    parts = data.draw(st.permutations([orders[low:high] for low, high in pairwise(bounds)] or [[]]))
    whole = state_bytes(state_of(orders))

    merged = HistoryState.empty(len(example_restaurants()))
    added = HistoryState.empty(len(example_restaurants()))
    counted = HistoryState.empty(len(example_restaurants()))
    for part in parts:
        merged = merged.merge(state_of(part))
        added = added.with_orders(example_restaurants(), completed_orders(part))
        counted.add_orders(example_restaurants(), completed_orders(part))
    assert state_bytes(merged) == whole
    assert state_bytes(added) == whole
    assert state_bytes(counted) == whole


@given(LONG, LONG, LONG)
def test_merge_is_associative_and_commutative(first: list[Order], second: list[Order], third: list[Order]) -> None:
    a, b, c = state_of(first), state_of(second), state_of(third)
    assert state_bytes(a.merge(b)) == state_bytes(b.merge(a))
    assert state_bytes(a.merge(b).merge(c)) == state_bytes(a.merge(b.merge(c)))


@given(LONG, LONG)
def test_derived_states_do_not_change_the_original(orders: list[Order], more: list[Order]) -> None:
    state, other = state_of(orders), state_of(more)
    before, other_before = state_bytes(state), state_bytes(other)
    derived_states = [
        state.with_orders(example_restaurants(), completed_orders(more)),
        state.with_orders(example_restaurants(), completed_orders([])),
        state.merge(other),
    ]
    for derived in derived_states:
        derived.add_orders(example_restaurants(), completed_orders([Order(3, 0, 600), *more]))
    assert state_bytes(state) == before
    assert state_bytes(other) == other_before


@given(LONG)
def test_state_sums_match_direct_counts(orders: list[Order]) -> None:
    state = state_of(orders)
    for position, restaurant in enumerate(example_restaurants().restaurant_id.tolist()):
        own = [order for order in orders if order.restaurant == restaurant]
        bins = duration_bins(np.array([order.label for order in own], np.int64)).tolist()
        assert state.bin_orders[position].tolist() == np.bincount(bins, minlength=BIN_COUNT).tolist()
        assert state.orders[position] == len(own)
        assert state.bin_sums[position] == sum(bins)
        assert state.value_cents[position] == sum(order.pence for order in own)
        assert state.items[position] == sum(order.items for order in own)
        dinner = [
            (order.ready % SECONDS_PER_DAY >= 60_300) or (order.ready % SECONDS_PER_DAY < 18_000) for order in own
        ]
        assert state.meal_period_orders[position].tolist() == [len(own) - sum(dinner), sum(dinner)]
        lunches = [order.ready % SECONDS_PER_DAY for order, late in zip(own, dinner, strict=True) if not late]
        assert state.first_ready[position, 0] == min(lunches, default=NEVER_READY)
        latest = sorted(
            (midnight_seconds(FIRST_DAY) + order.ready) * BIN_COUNT + bin_
            for order, bin_ in zip(own, bins, strict=True)
        )
        kept = latest[-LAST_ORDER_COUNT:]
        assert state.latest_orders[position].tolist() == [NO_ORDER] * (LAST_ORDER_COUNT - len(kept)) + kept


@given(LONG)
def test_state_keeps_separate_sums_for_recent_days(orders: list[Order]) -> None:
    state = state_of(orders)
    known = [order for order in orders if order.restaurant != UNKNOWN_RESTAURANT]
    days = {midnight_seconds(FIRST_DAY) // SECONDS_PER_DAY + order.ready // SECONDS_PER_DAY for order in known}
    last = max(days, default=None)
    assert state.last_day == last
    assert set(state.recent_days) == {day for day in days if last is not None and day > last - RECENT_DAYS}
    for when, (counts, bins) in state.recent_days.items():
        rows = completed_orders(known).take(local_day(completed_orders(known).ready_at) == when)
        assert counts.sum() == len(rows)
        assert bins.sum() == duration_bins(rows.prep_time_seconds).sum()


def test_state_ignores_unknown_restaurants() -> None:
    assert state_bytes(state_of([Order(UNKNOWN_RESTAURANT, 0, 600)])) == state_bytes(HistoryState.empty(5))


def test_first_ready_ignores_orders_after_midnight() -> None:
    state = state_of([Order(3, SECONDS_PER_DAY + 600, 600)])
    assert state.first_ready[0].tolist() == [NEVER_READY, NEVER_READY]
    assert state.meal_period_orders[0].tolist() == [0, 1]


def test_latest_orders_with_large_time_span_are_correct() -> None:
    far = completed_orders([Order(3, 0, 600), Order(5, 10, 700), Order(3, 20, 800)])
    far.ready_at[1] = 2**56
    state = HistoryState.from_orders(example_restaurants(), far)
    assert state.latest_orders[0, -2:].tolist() == [
        (midnight_seconds(FIRST_DAY) + order.ready) * BIN_COUNT + int(duration_bins(np.array([order.label]))[0])
        for order in (Order(3, 0, 600), Order(3, 20, 800))
    ]
    assert state.latest_orders[1, -1] == 2**56 * BIN_COUNT + int(duration_bins(np.array([700]))[0])


def test_slice_restaurants_returns_their_state() -> None:
    orders = [Order(3, 100, 600), Order(8, 200, 700), Order(8, 300, 800)]
    part = state_of(orders).slice_restaurants(slice(2, 4))
    assert part.orders.tolist() == [2, 0]
    assert [sums[0].tolist() for sums in part.recent_days.values()] == [[2, 0]]


def test_state_needs_documented_bytes_per_restaurant() -> None:
    busy = state_of([Order(restaurant, 0, 600) for restaurant in example_restaurants().restaurant_id.tolist()])
    fields = [getattr(busy, name) for name in HistoryState.__dataclass_fields__ if name != "recent_days"]
    assert sum(array.nbytes for array in fields) / len(example_restaurants()) == 412
    assert [sums.nbytes / len(example_restaurants()) for sums in busy.recent_days.values()] == [8]
