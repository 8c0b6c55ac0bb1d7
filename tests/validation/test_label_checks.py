"""Tests of the data gate's checks of labels: at, below, and above each threshold."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Iterable, Mapping

import numpy as np
import pytest

from preptime.schema.schema import TAKE_HOME_SCHEMA, OrderColumn, Schema
from preptime.validation.data_gate import GateCheck, GateThresholds
from preptime.validation.label_checks import check_labels, check_share_rise
from preptime.validation.label_counts import LabelCounts, LabelRows, day_number

THRESHOLDS = GateThresholds()
MONDAY = day_number(dt.date(2015, 6, 1))


def in_unit(unit: str) -> Schema:
    """Return the default schema with labels only as durations in a unit."""
    orders = {name: column for name, column in TAKE_HOME_SCHEMA.orders.items() if name != "order_ready_at"}
    column = OrderColumn(column="prep", unit=unit)
    return Schema(orders=orders | {"prep_time_seconds": column})


def make_counts(labels_by_day: Mapping[int, Iterable[int]], *, fractions: bool = False) -> LabelCounts:
    """Return the counts of labels in seconds, by days since 1 June."""
    counts = LabelCounts()
    for day, labels in labels_by_day.items():
        seconds = np.array([*labels], np.int64)
        is_fraction = np.full(len(seconds), fractions)
        counts.add(LabelRows(np.arange(len(seconds)), np.full(len(seconds), MONDAY + day), seconds, is_fraction))
    return counts


def check(
    counts: LabelCounts, name: str, thresholds: GateThresholds = THRESHOLDS, schema: Schema | None = None
) -> GateCheck:
    return next(
        result for result in check_labels(counts, thresholds, schema or TAKE_HOME_SCHEMA) if result.name == name
    )


def days(count: int, seconds: int = 800, per_day: int = 100) -> dict[int, list[int]]:
    return {day: [seconds] * per_day for day in range(count)}


@pytest.mark.parametrize(("short", "passed"), [(399, True), (400, True), (401, False)])
def test_short_labels_at_most_forty_percent(short: int, passed: bool) -> None:
    counts = make_counts({0: [0] * 10 + [59] * (short - 10) + [60] * (1_000 - short)})
    result = check(counts, "short_labels")
    assert (result.value, result.threshold, result.passed) == (short / 1_000, 0.4, passed)
    assert result.accepted_by == (0.41 if short > 400 else 0.4)
    assert result.message.startswith(f"{short} of 1,000 labels are under a minute; the maximum is 40% (now ")


@pytest.mark.parametrize(("long", "passed"), [(49, True), (50, True), (51, False)])
def test_long_labels_at_most_five_percent(long: int, passed: bool) -> None:
    counts = make_counts({0: [10_801] * long + [10_800] * (1_000 - long)})
    result = check(counts, "long_labels")
    assert (result.value, result.threshold, result.passed) == (long / 1_000, 0.05, passed)
    assert f"{long} of 1,000 labels are over 3 hours; the maximum is 5%" in result.message


@pytest.mark.parametrize(
    ("name", "bad"), [("latest_short_labels", 59), ("latest_long_labels", 10_801)], ids=["short", "long"]
)
@pytest.mark.parametrize(("affected", "passed"), [(11, True), (12, False)])
def test_latest_share_above_usual_is_refused(name: str, bad: int, affected: int, passed: bool) -> None:
    """With 100 labels a day, 11% is 4.97 standard errors beyond five percentage points, and 12% is 5.61."""
    result = check(make_counts(days(10) | {10: [bad] * affected + [800] * (100 - affected)}), name)
    assert (result.value, result.threshold, result.passed) == (affected / 100, 0.05, passed)
    assert result.accepted_by == affected / 100
    assert f"On 2015-06-11, {affected}% of 100 labels are" in result.message
    assert "and 0% are usual; the maximum is 5 percentage points more" in result.message
    lenient = dataclasses.replace(THRESHOLDS, max_share_rise=0.12)
    assert check(make_counts(days(10) | {10: [bad] * affected + [800] * (100 - affected)}), name, lenient).passed


def test_latest_share_with_constant_share_is_usual() -> None:
    """A company with many short orders isn't refused because of them."""
    assert check(make_counts({day: [50] * 30 + [90] * 70 for day in range(10)}), "latest_short_labels").value == 0.0


@pytest.mark.parametrize(("orders", "passed"), [(29, True), (30, False)])
def test_latest_day_needs_thirty_labels(orders: int, passed: bool) -> None:
    counts = make_counts(days(10) | {10: [13] * orders})
    assert check(counts, "latest_short_labels").passed == passed
    assert check(counts, "latest_median").passed == passed


@pytest.mark.parametrize("back", [0, 1, 2, 3])
def test_latest_days_are_the_recent_days(back: int) -> None:
    """The day with the wrong unit is the last one, or up to three days before it."""
    counts = make_counts(days(10) | {9 - back: [13] * 100})
    for name in ("latest_short_labels", "latest_median"):
        assert check(counts, name).passed == (back == 3), name


@pytest.mark.parametrize(("seconds", "passed"), [(400, True), (399, False), (1_600, True), (1_601, False)])
def test_latest_median_at_most_twice_or_half_the_usual(seconds: int, passed: bool) -> None:
    """Without the same weekday, the usual median is that of all earlier days."""
    result = check(make_counts(days(5) | {5: [seconds] * 50}), "latest_median")
    assert result.passed == passed
    assert result.value == max(seconds / 800, 800 / seconds)
    assert f"The median label of 2015-06-06 is {seconds:,} s, and 800 s is usual (" in result.message
    assert result.message.endswith("the maximum is 2 times.")


def test_latest_median_is_compared_with_the_same_weekday() -> None:
    weekend = {day: [2_000] * 50 for day in (5, 6, 12, 13)}
    assert check(make_counts(days(14) | weekend | {19: [2_000] * 50}), "latest_median").value == 1.0
    result = check(make_counts(days(14) | weekend | {16: [2_000] * 50}), "latest_median")
    assert (result.value, result.passed, result.accepted_by) == (2.5, False, 2.5)
    assert "2,000 s, and 800 s is usual for its weekday (2.5 times as high)" in result.message


def test_latest_median_asks_for_the_unit_of_the_day() -> None:
    result = check(make_counts(days(14) | {14: [13] * 100}), "latest_median")
    assert "(61.5 times lower); the maximum is 2 times. Are the labels in minutes?" in result.message
    assert result.remedy == (
        "If the labels of 2015-06-15 are in another unit than those of earlier days, convert them. "
        "The schema has one unit for all orders."
    )
    assert result.accepted_by == 61.54


@pytest.mark.parametrize(("seconds", "passed"), [(1_600, True), (1_601, False)])
def test_weekly_medians_differ_at_most_by_the_ratio(seconds: int, passed: bool) -> None:
    """The first week had another time zone, for example. The latest days are as usual."""
    counts = make_counts({day: [seconds if day < 7 else 800] * 40 for day in range(28)})
    result = check(counts, "weekly_median")
    assert (result.passed, result.value) == (passed, seconds / 800)
    assert result.message.startswith(
        f"The median label is {seconds:,} s from 2015-06-01 to 2015-06-07 and 800 s from 2015-06-08 to 2015-06-14 ("
    )
    assert check(counts, "latest_median").passed


def test_weekly_median_ignores_a_single_day_and_earlier_weeks() -> None:
    one_day = make_counts({day: [9_000 if day == 10 else 800] * 40 for day in range(28)})
    assert check(one_day, "weekly_median").value == 1.0
    old = make_counts({day: [9_000 if day < 7 else 800] * 40 for day in range(35)})
    assert check(old, "weekly_median").value == 1.0


@pytest.mark.parametrize(
    ("schema", "seconds", "fractions", "names", "lines"),
    [
        (in_unit(""), 13, False, "minutes", ['prep_time = { column = "prep", unit = "min" }']),
        (in_unit("s"), 59, False, "minutes", ['unit = "min"']),
        (in_unit(""), 2, False, "minutes or hours", ['unit = "min"', 'unit = "h"']),
        (in_unit(""), 0, True, "hours", ['unit = "h"']),
        (in_unit(""), 820_000, False, "milliseconds", ['unit = "ms"']),
        (in_unit("min"), 820 * 60, False, "seconds", ['unit = "s"']),
        (in_unit("ms"), 0, True, "seconds", ['unit = "s"']),
    ],
    ids=["minutes", "long-minutes", "two-hours", "fractions-of-hours", "milliseconds", "seconds", "too-small"],
)
def test_wrong_unit_names_the_line_of_the_schema(
    schema: Schema, seconds: int, fractions: bool, names: str, lines: list[str]
) -> None:
    counts = make_counts({0: [seconds] * 100}, fractions=fractions)
    name = "short_labels" if seconds < 60 else "long_labels"
    result = check(counts, name, schema=schema)
    assert not result.passed
    assert f"Are the labels in {names}?" in result.message
    assert result.remedy.startswith(f"If the labels are in {names}, set the unit under [orders] in the schema: ")
    assert all(line in result.remedy for line in lines)


def test_labels_of_zero_have_no_unit() -> None:
    """Whole zeros show that both times are the same, not that the unit is wrong."""
    result = check(make_counts({0: [0] * 100}), "short_labels")
    assert result.message.endswith("The median is 0 s.")
    assert result.remedy == ""


def test_labels_from_two_times_name_both_columns() -> None:
    orders = {name: column for name, column in TAKE_HOME_SCHEMA.orders.items() if name != "prep_time_seconds"}
    result = check(make_counts({0: [5] * 100}), "short_labels", schema=Schema(orders=orders))
    assert result.remedy == (
        "The label is the time from order_acknowledged_at to order_ready_at. Check both columns in the schema."
    )


@pytest.mark.parametrize("sigma", [0.3, 0.6, 0.8])
@pytest.mark.parametrize("step", [1, 60], ids=["seconds", "whole-minutes"])
def test_coffee_shop_is_accepted(sigma: float, step: int) -> None:
    """The median is 90 s. With the largest spread, 31% of the labels are under a minute."""
    rng = np.random.default_rng(4)
    labels = {day: np.rint(90 * rng.lognormal(0, sigma, 300) / step) * step for day in range(28)}
    failed = [
        result.name
        for result in check_labels(
            make_counts({day: of.astype(int) for day, of in labels.items()}), THRESHOLDS, in_unit("")
        )
        if not result.passed
    ]
    assert failed == []


def test_checks_pass_without_labels_and_with_one_day() -> None:
    for counts in (LabelCounts(), make_counts({0: [800] * 50})):
        results = check_labels(counts, THRESHOLDS, TAKE_HOME_SCHEMA)
        assert all(result.passed for result in results)
        assert "There is no earlier" in results[-1].message


def test_share_rise_of_open_orders_uses_its_own_limit() -> None:
    shares = dict.fromkeys(range(10), (0.0, 100.0)) | {10: (40.0, 100.0)}
    assert check_share_rise("latest_open_orders", shares, 0.3, 3, "orders were open").passed
    refused = check_share_rise("latest_open_orders", shares | {10: (48.0, 100.0)}, 0.3, 3, "orders were open")
    assert (refused.passed, refused.value, refused.accepted_by) == (False, 0.48, 0.48)
    assert check_share_rise("latest_open_orders", shares, 0.05, 0, "orders were open").passed
