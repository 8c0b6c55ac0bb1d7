"""Tests of the counts of labels by day."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from preptime.domain.validation_reasons import MAX_LABEL_SECONDS
from preptime.validation.audit import audit_orders
from preptime.validation.label_counts import (
    MEDIAN_DAYS,
    DayLabels,
    LabelCounts,
    LabelRows,
    day_number,
    day_text,
    is_open,
)
from tests.validation.factories import equal_counts, make_order, make_orders, make_restaurant_index

AS_OF = dt.date(2015, 6, 3)
FIRST_DAY = day_number(dt.date(2015, 6, 1))


def make_rows(labels: list[tuple[int, int]]) -> LabelRows:
    """Return labels from pairs of day and seconds."""
    day, seconds = (np.array([pair[index] for pair in labels], np.int64) for index in (0, 1))
    return LabelRows(np.arange(len(labels)), day, seconds, np.zeros(len(labels), np.bool_))


def count(*batches: list[tuple[int, int]]) -> LabelCounts:
    counts = LabelCounts()
    for batch in batches:
        counts.add(make_rows(batch))
    return counts


LABELS = st.lists(st.tuples(st.integers(0, 100), st.sampled_from([0, 59, 60, 800, 10_800, 10_801, 2**40])), min_size=1)


@settings(max_examples=50, deadline=None)
@given(st.lists(LABELS, min_size=1, max_size=5))
def test_label_counts_do_not_depend_on_batches(batches: list[list[tuple[int, int]]]) -> None:
    whole = [pair for batch in batches for pair in batch]
    counts = count(whole)
    assert equal_counts(counts, count(*batches))
    assert equal_counts(counts, count(*reversed(batches)))
    latest = max(day for day, _ in whole)
    assert counts.latest.keys() == {day for day, _ in whole if day > latest - MEDIAN_DAYS}
    assert counts.labels == len(whole)
    assert counts.short == sum(seconds < 60 for _, seconds in whole)
    assert counts.long == sum(seconds > MAX_LABEL_SECONDS for _, seconds in whole)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, MAX_LABEL_SECONDS), min_size=1, max_size=60))
def test_median_is_exact_up_to_the_limit(seconds: list[int]) -> None:
    counts = count([(3, value) for value in seconds])
    assert counts.median() == np.median(seconds)
    assert counts.median_of_days(3, 3) == np.median(seconds)
    assert counts.median_of_days(4, 9) is None


def test_median_of_long_labels_is_within_a_percent() -> None:
    for seconds in (10_801, 20_000, 820_000, 3 * 86_400):
        assert count([(0, seconds)]).median() == pytest.approx(seconds, rel=0.01)


def test_label_rows_are_known_as_of_the_date_without_duplicates() -> None:
    kept = [
        make_order(prep_time_seconds="30", order_ready_at=None),
        make_order(prep_time_seconds="0", order_ready_at=None),
        make_order(prep_time_seconds="10801", order_ready_at=None),
        make_order(restaurant_id="7"),
        make_order(order_acknowledged_at="2015-06-02 20:00:00+01:00", order_ready_at=None),
    ]
    left_out = [
        make_order(restaurant_id="7"),
        make_order(prep_time_seconds=None, order_ready_at=None),
        make_order(order_acknowledged_at="yesterday"),
        make_order(order_acknowledged_at="2015-06-02 23:55:00+01:00", order_ready_at=None),
        make_order(order_acknowledged_at="2015-06-03 20:00:00+01:00", order_ready_at=None),
        make_order(prep_time_seconds=None, order_ready_at="2015-06-01 12:00:00+01:00"),
    ]
    audited = audit_orders(make_orders(*kept, *left_out), make_restaurant_index(), need_label=True)
    labels = LabelRows.from_audited(audited, AS_OF)
    assert labels.rows.tolist() == [0, 1, 2, 3, 4]
    assert labels.seconds.tolist() == [30, 0, 10_801, 600, 600]
    counts = LabelCounts.from_audited(audited, AS_OF)
    assert counts.by_day == {FIRST_DAY: DayLabels(4, 2, 1), FIRST_DAY + 1: DayLabels(1, 0, 0)}
    assert counts.last_day is not None
    assert day_text(counts.last_day) == "2015-06-02"
    assert labels.without(np.array([1, 4])).rows.tolist() == [0, 2, 3]


def test_label_rows_include_fractions_that_cannot_be_used() -> None:
    """Labels in minutes or hours often are fractions. Without them, their unit couldn't be recognized."""
    orders = make_orders(
        *(make_order(prep_time_seconds=text, order_ready_at=None) for text in ("12.5", "0.21", "600", "?", "1e300"))
    )
    audited = audit_orders(orders, make_restaurant_index(), need_label=True)
    labels = LabelRows.from_audited(audited, AS_OF)
    assert labels.rows.tolist()[:3] == [0, 1, 2]
    assert labels.seconds.tolist()[:3] == [12, 0, 600]
    assert labels.is_fraction.tolist()[:3] == [True, True, False]
    assert 3 not in labels.rows


def test_open_orders_only_miss_their_label() -> None:
    """Flags, such as an unknown restaurant, don't make an order without a label unusable."""
    missing: dict[str, str | None] = {"prep_time_seconds": None, "order_ready_at": None}
    orders = make_orders(
        make_order(**missing),
        make_order(**missing, restaurant_id="7"),
        make_order(**missing, number_of_items="-1"),
        make_order(**missing, order_acknowledged_at="yesterday"),
        make_order(prep_time_seconds="?", order_ready_at=None),
        make_order(),
    )
    audited = audit_orders(orders, make_restaurant_index(), need_label=True)
    assert is_open(audited).tolist() == [True, True, False, False, False, False]
