"""Tests of the training data: its sort order, and the masks of what each order is used for."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from preptime.domain.validation_reasons import VALIDATION_RULES, Purpose, ValidationReason
from preptime.errors import DataError
from preptime.features.kitchen import NEVER
from preptime.training.training_data import TrainingData, date_from_day_number, day_number, rows_as_of
from preptime.validation.audit import audit_orders
from tests.training.factories import SyntheticData, equal_training_data, june

QUICK = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@given(seed=st.integers(0, 2**32 - 1))
@QUICK
def test_training_data_is_independent_of_row_order(data: SyntheticData, seed: int) -> None:
    # Without order IDs, some rows are equal in all columns.
    orders = pl.concat([data.orders.head(300), data.orders.head(20)]).drop("order_id")
    shuffled = orders.sample(fraction=1.0, shuffle=True, seed=seed)
    first, second = (
        TrainingData.from_orders(audit_orders(rows, data.restaurant_index, need_label=True), data.restaurant_index)
        for rows in (orders, shuffled)
    )
    assert equal_training_data(first, second)
    assert first.fingerprint() == second.fingerprint()


def test_training_data_sorts_rows_that_differ_only_in_city(data: SyntheticData) -> None:
    similar = pl.concat(
        [data.orders.head(3).with_columns(city=pl.lit(city)) for city in data.restaurant_index.vocabularies.city[:2]]
    )
    similar = similar.with_columns(order_id=pl.Series(range(6)))
    fingerprints = {
        TrainingData.from_orders(
            audit_orders(rows, data.restaurant_index, need_label=True), data.restaurant_index
        ).fingerprint()
        for rows in (similar, similar.reverse())
    }
    assert len(fingerprints) == 1


def test_training_data_is_sorted_by_acknowledgement(data: SyntheticData) -> None:
    assert (np.diff(data.training_data.orders.acknowledged_at) >= 0).all()
    assert (data.training_data.first_day, data.training_data.last_day) == (june(1), june(15))


def test_training_data_masks_follow_validation_rules(data: SyntheticData) -> None:
    reasons = data.audited.reasons
    for purpose, mask in (
        (Purpose.FITTING, data.training_data.is_fitting),
        (Purpose.HISTORY, data.training_data.is_history),
        (Purpose.EVALUATION, data.training_data.is_evaluation),
    ):
        excluding_bits = [rule.reason.bit for rule in VALIDATION_RULES if purpose in rule.excluded_from]
        expected = sum(not any(int(bits) & bit for bit in excluding_bits) for bits in reasons)
        assert int(mask.sum()) == expected
    zeros = data.training_data.labels == 0
    assert zeros.any()
    assert data.training_data.is_evaluation[zeros].all()
    assert not data.training_data.is_fitting[zeros].any()
    assert not data.training_data.is_history[zeros].any()
    assert (data.training_data.labels <= 10_800).all()


def test_unknown_restaurant_is_fitted_but_not_in_history(data: SyntheticData) -> None:
    orders = data.orders.head(50).with_columns(restaurant_id=pl.lit(999_999))
    training_data = TrainingData.from_orders(
        audit_orders(orders, data.restaurant_index, need_label=True), data.restaurant_index
    )
    assert training_data.is_evaluation.all()
    assert training_data.is_fitting.sum() == (training_data.labels > 0).sum()
    assert not training_data.is_history.any()


def test_as_of_keeps_orders_ready_before_midnight(data: SyntheticData) -> None:
    known = data.training_data.as_of(june(8))
    assert (known.ready_day < day_number(june(8))).all()
    assert len(known) == (data.training_data.ready_day < day_number(june(8))).sum()
    with pytest.raises(DataError, match="No completed order is left"):
        data.training_data.as_of(june(1))


def test_rows_as_of_ignores_later_rows(data: SyntheticData) -> None:
    """A later duplicate and a later change of opening hours don't change earlier validation results."""
    first = data.orders.row(0, named=True)
    late = june(14)
    again = data.orders.head(1).with_columns(
        order_acknowledged_at=first["order_acknowledged_at"] + dt.timedelta(days=13),
        order_ready_at=first["order_ready_at"] + dt.timedelta(days=13),
    )
    # The file has the later order first, so without the date, the earlier one is the duplicate.
    orders = pl.concat([again, data.orders])
    audited = audit_orders(orders, data.restaurant_index, need_label=True)
    assert int(audited.reasons[1]) & ValidationReason.DUPLICATE.bit
    known = rows_as_of(audited, data.restaurant_index, june(10))
    alone = data.as_of(june(10)).audited
    assert known.frame.equals(alone.frame)
    assert len(rows_as_of(audited, data.restaurant_index, late)) > len(known)


def test_rows_as_of_empties_outcomes_from_midnight_on(data: SyntheticData) -> None:
    """A training as of a date doesn't depend on whether the outcome of an order that was open at midnight is known."""
    then, later = (
        TrainingData.from_orders(rows_as_of(audited, data.restaurant_index, june(10)), data.restaurant_index)
        for audited in (data.as_of(june(10)).audited, data.audited)
    )
    assert then.fingerprint() == later.fingerprint()
    frame, midnight = data.audited.frame, dt.datetime(2015, 6, 10)
    open_orders = ((frame["acknowledged_local"] < midnight) & (frame["ready_local"] >= midnight)).sum()
    assert open_orders > 0
    assert np.count_nonzero(later.events.ready_utc == NEVER) == open_orders
    assert len(later) == (data.training_data.ready_day < day_number(june(10))).sum()


def test_rows_as_of_keeps_rows_with_unreadable_times(data: SyntheticData) -> None:
    orders = data.orders.with_columns(pl.col("order_acknowledged_at").cast(pl.String))
    orders = orders.with_columns(
        order_acknowledged_at=pl.when(pl.int_range(pl.len()) < 7)
        .then(pl.lit("soon"))
        .otherwise("order_acknowledged_at")
    )
    known = rows_as_of(audit_orders(orders, data.restaurant_index, need_label=True), data.restaurant_index, june(5))
    assert int(np.count_nonzero(known.reasons & np.uint32(ValidationReason.UNPARSABLE_TIME.bit))) == 7


def test_training_data_rejects_orders_without_usable_rows(data: SyntheticData) -> None:
    orders = data.orders.head(5).with_columns(order_value_gbp=pl.lit(-1.0))
    with pytest.raises(DataError, match="None of 5 orders"):
        TrainingData.from_orders(audit_orders(orders, data.restaurant_index, need_label=True), data.restaurant_index)


def test_recoded_uses_codes_of_other_vocabulary(data: SyntheticData) -> None:
    vocabularies = data.restaurant_index.vocabularies
    without = vocabularies.city[1:]
    older = data.restaurant_index.recoded(replace(vocabularies, city=without))
    recoded = data.training_data.recoded(older)
    assert recoded.restaurants is older
    for code, older_code in zip(data.training_data.orders.city.tolist(), recoded.orders.city.tolist(), strict=True):
        assert older_code == (-1 if vocabularies.city[code] not in without else without.index(vocabularies.city[code]))
    assert np.array_equal(recoded.orders.type_of_food, data.training_data.orders.type_of_food)
    assert np.array_equal(recoded.labels, data.training_data.labels)


def test_fingerprint_changes_with_any_value(data: SyntheticData) -> None:
    original = data.training_data
    changed_labels = original.completed.prep_time_seconds.copy()
    changed_labels[17] += 1
    completed = replace(original.completed, prep_time_seconds=changed_labels)
    assert replace(original, completed=completed).fingerprint() != original.fingerprint()
    opened = original.events.acknowledged_utc.copy()
    opened[17] -= 1
    events = replace(original.events, acknowledged_utc=opened)
    assert replace(original, events=events).fingerprint() != original.fingerprint()
    assert replace(original).fingerprint() == original.fingerprint()
    assert original.as_of(june(9)).fingerprint() != original.fingerprint()


@given(number=st.integers(-1_000, 40_000))
def test_day_number_round_trips(number: int) -> None:
    assert day_number(date_from_day_number(number)) == number
