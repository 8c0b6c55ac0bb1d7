"""The corpus: one order of rows whatever the file's, and what each may be used for."""

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
from preptime.training.training_data import TrainingData, date_from_day_number, day_number, rows_as_of
from preptime.validation.audit import audit_orders
from tests.training.factories import Data, june, same

QUICK = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@given(seed=st.integers(0, 2**32 - 1))
@QUICK
def test_any_order_of_rows_gives_the_same_corpus(data: Data, seed: int) -> None:
    # Without ids, so that rows alike in every column are told apart by nothing.
    orders = pl.concat([data.orders.head(300), data.orders.head(20)]).drop("order_id")
    shuffled = orders.sample(fraction=1.0, shuffle=True, seed=seed)
    one, other = (
        TrainingData.from_orders(audit_orders(rows, data.directory, need_label=True), data.directory)
        for rows in (orders, shuffled)
    )
    assert same(one, other)
    assert one.fingerprint() == other.fingerprint()


def test_rows_alike_in_all_but_the_city_stand_in_one_order(data: Data) -> None:
    twins = pl.concat(
        [data.orders.head(3).with_columns(city=pl.lit(city)) for city in data.directory.vocabularies.city[:2]]
    )
    twins = twins.with_columns(order_id=pl.Series(range(6)))
    prints = {
        TrainingData.from_orders(audit_orders(rows, data.directory, need_label=True), data.directory).fingerprint()
        for rows in (twins, twins.reverse())
    }
    assert len(prints) == 1


def test_orders_stand_by_their_acknowledgement(data: Data) -> None:
    assert (np.diff(data.corpus.orders.acknowledged_at) >= 0).all()
    assert (data.corpus.first_day, data.corpus.last_day) == (june(1), june(15))


def test_what_an_order_may_be_used_for_is_what_the_policy_says(data: Data) -> None:
    reasons = data.audited.reasons
    for purpose, mask in (
        (Purpose.FITTING, data.corpus.is_fitting),
        (Purpose.HISTORY, data.corpus.is_history),
        (Purpose.EVALUATION, data.corpus.is_evaluation),
    ):
        forbidden = [rule.reason.bit for rule in VALIDATION_RULES if purpose in rule.excluded_from]
        expected = sum(not any(int(bits) & bit for bit in forbidden) for bits in reasons)
        assert int(mask.sum()) == expected
    zeros = data.corpus.labels == 0
    assert zeros.any()
    assert data.corpus.is_evaluation[zeros].all()
    assert not data.corpus.is_fitting[zeros].any()
    assert not data.corpus.is_history[zeros].any()
    assert (data.corpus.labels <= 10_800).all()


def test_an_order_of_an_unknown_restaurant_is_learned_from_and_judged_but_not_counted(data: Data) -> None:
    orders = data.orders.head(50).with_columns(restaurant_id=pl.lit(999_999))
    found = TrainingData.from_orders(audit_orders(orders, data.directory, need_label=True), data.directory)
    assert found.is_evaluation.all()
    assert found.is_fitting.sum() == (found.labels > 0).sum()
    assert not found.is_history.any()


def test_known_on_a_morning_is_what_was_ready_before_its_midnight(data: Data) -> None:
    known = data.corpus.as_of(june(8))
    assert (known.ready_day < day_number(june(8))).all()
    assert len(known) == (data.corpus.ready_day < day_number(june(8))).sum()
    with pytest.raises(DataError, match="No order is left"):
        data.corpus.as_of(june(1))


def test_rows_of_later_days_say_nothing_about_those_known(data: Data) -> None:
    """A duplicate that came later, and a restaurant that opens earlier than it did, change no verdict."""
    first = data.orders.row(0, named=True)
    late = june(14)
    again = data.orders.head(1).with_columns(
        order_acknowledged_at=first["order_acknowledged_at"] + dt.timedelta(days=13),
        order_ready_at=first["order_ready_at"] + dt.timedelta(days=13),
    )
    # The file has the later row of that id first, so by itself it is the earlier one that counts as the duplicate.
    orders = pl.concat([again, data.orders])
    audited = audit_orders(orders, data.directory, need_label=True)
    assert int(audited.reasons[1]) & ValidationReason.DUPLICATE.bit
    known = rows_as_of(audited, data.directory, june(10))
    alone = data.known_on(june(10)).audited
    assert known.frame.equals(alone.frame)
    assert len(rows_as_of(audited, data.directory, late)) > len(known)


def test_rows_whose_times_cannot_be_read_stay_in_the_audit_of_every_morning(data: Data) -> None:
    orders = data.orders.with_columns(pl.col("order_acknowledged_at").cast(pl.String))
    orders = orders.with_columns(
        order_acknowledged_at=pl.when(pl.int_range(pl.len()) < 7)
        .then(pl.lit("soon"))
        .otherwise("order_acknowledged_at")
    )
    known = rows_as_of(audit_orders(orders, data.directory, need_label=True), data.directory, june(5))
    assert int(np.count_nonzero(known.reasons & np.uint32(ValidationReason.UNPARSABLE_TIME.bit))) == 7


def test_nothing_usable_is_refused(data: Data) -> None:
    orders = data.orders.head(5).with_columns(order_value_gbp=pl.lit(-1.0))
    with pytest.raises(DataError, match="None of 5 orders"):
        TrainingData.from_orders(audit_orders(orders, data.directory, need_label=True), data.directory)


def test_recoded_orders_have_the_codes_of_another_vocabulary(data: Data) -> None:
    words = data.directory.vocabularies
    without = words.city[1:]
    older = data.directory.recoded(replace(words, city=without))
    recoded = data.corpus.recoded(older)
    assert recoded.restaurants is older
    for mine, theirs in zip(data.corpus.orders.city.tolist(), recoded.orders.city.tolist(), strict=True):
        assert theirs == (-1 if words.city[mine] not in without else without.index(words.city[mine]))
    assert np.array_equal(recoded.orders.type_of_food, data.corpus.orders.type_of_food)
    assert np.array_equal(recoded.labels, data.corpus.labels)


def test_the_fingerprint_changes_with_any_value(data: Data) -> None:
    other = data.corpus.completed.prep_time_seconds.copy()
    other[17] += 1
    changed = TrainingData(
        data.directory,
        type(data.corpus.completed)(data.corpus.orders, data.corpus.completed.ready_at, other),
        data.corpus.is_fitting,
        data.corpus.is_history,
        data.corpus.is_evaluation,
    )
    assert changed.fingerprint() != data.corpus.fingerprint()
    assert data.corpus.as_of(june(9)).fingerprint() != data.corpus.fingerprint()


@given(number=st.integers(-1_000, 40_000))
def test_day_numbers_and_dates_are_one_to_one(number: int) -> None:
    assert day_number(date_from_day_number(number)) == number
