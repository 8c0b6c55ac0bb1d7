"""Tests of the counts of orders by day."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest

from preptime.domain.validation_reasons import ValidationReason
from preptime.validation.audit import audit_orders
from preptime.validation.label_counts import day_number
from preptime.validation.order_counts import DayOrders, OrderCounts, OrderRows
from tests.validation.factories import make_order, make_orders, make_restaurant_index

AS_OF = dt.date(2015, 6, 3)
FIRST_DAY = day_number(dt.date(2015, 6, 1))
OPEN = {"order_ready_at": None, "prep_time_seconds": None}
ROWS = [
    make_order(order_id="1"),
    make_order(order_id="2", restaurant_id="99"),
    make_order(order_id="3", order_acknowledged_at="2015-06-01 22:10:05+01:00", **OPEN),
    make_order(order_id="4", number_of_items="many"),
    make_order(order_id="5", order_acknowledged_at="yesterday"),
    # Ready on the next day.
    make_order(
        order_id="6",
        order_acknowledged_at="2015-06-01 23:50:00+01:00",
        order_ready_at="2015-06-02 00:10:00+01:00",
        prep_time_seconds="1200",
    ),
    # Ready after the date, so it's open as of the date.
    make_order(
        order_id="7",
        order_acknowledged_at="2015-06-02 23:50:00+01:00",
        order_ready_at="2015-06-03 00:10:00+01:00",
        prep_time_seconds="1200",
    ),
    make_order(order_id="8", order_acknowledged_at="2015-06-03 12:00:00+01:00", order_ready_at=None),
    make_order(order_id="9", order_acknowledged_at="tomorrow"),
]


def count(*batches: list[dict[str, str | None]]) -> OrderCounts:
    counts = OrderCounts()
    for batch in batches:
        audited = audit_orders(make_orders(*batch), make_restaurant_index(), need_label=True)
        counts.append(OrderCounts.of_batch(OrderRows.from_audited(audited, AS_OF)))
    return counts


@pytest.mark.parametrize("split", range(len(ROWS)))
def test_counts_are_those_of_the_date_in_any_batches(split: int) -> None:
    """Rows without a time count if an order of the date follows, in the same batch or in a later one."""
    counts = count(*filter(None, (ROWS[:split], ROWS[split:])))
    assert counts.by_day == {
        FIRST_DAY: DayOrders(5, 2, 23 * 3600 + 50 * 60),
        FIRST_DAY + 1: DayOrders(1, 1, 23 * 3600 + 50 * 60),
    }
    assert (counts.days, counts.orders, counts.open_orders, counts.unknown_restaurants) == (2, 6, 2, 1)
    assert (counts.usable, counts.unusable, counts.undated, counts.later_undated) == (3, 2, 1, 1)
    assert counts.reason_counts == {ValidationReason.UNPARSABLE_TIME: 1, ValidationReason.UNPARSABLE_NUMBER: 1}


def test_duplicates_in_other_batches_are_unusable_unless_open() -> None:
    rows = OrderRows.from_audited(audit_orders(make_orders(*ROWS), make_restaurant_index(), need_label=True), AS_OF)
    counts = OrderCounts.of_batch(rows.with_duplicates(np.array([0, 2])))
    later = OrderCounts.of_batch(rows)
    later.reject_duplicates(usable=1, unusable=0)
    assert later.reason_counts == counts.reason_counts
    assert (later.usable, later.unusable) == (counts.usable, counts.unusable)
    assert (counts.orders, counts.open_orders, counts.usable, counts.unusable) == (6, 2, 2, 3)
    assert counts.reason_counts[ValidationReason.DUPLICATE] == 1


def test_rows_without_a_time_are_unusable_if_all_are() -> None:
    counts = count(ROWS[4:5], ROWS[8:])
    assert (counts.orders, counts.days, counts.usable, counts.unusable) == (0, 0, 0, 2)
    assert counts.reason_counts == {ValidationReason.UNPARSABLE_TIME: 2}
