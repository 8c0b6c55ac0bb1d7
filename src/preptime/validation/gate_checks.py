"""The checks of the data gate on orders: how many there are, how recent, how complete, and how many are usable."""

from __future__ import annotations

import datetime as dt
import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace

import msgspec
import numpy as np
import polars as pl

from preptime.domain.cells import THOUSANDS_MARKS, NumberFormat
from preptime.domain.validation_reasons import ValidationReason
from preptime.formatting import format_count
from preptime.schema.schema import Schema
from preptime.schema.toml_text import toml_value
from preptime.validation.audit import AuditedOrders
from preptime.validation.daily_baselines import SHARE_TOLERANCE, count_noise, usual_for_weekday
from preptime.validation.data_gate import GateCheck, GateResult, GateThresholds, round_up, share_check
from preptime.validation.label_checks import check_labels, check_share_rise
from preptime.validation.label_counts import LabelCounts, day_date, day_number, day_text
from preptime.validation.order_counts import OrderCounts
from preptime.validation.parsing import parse_floats

FULL_WINDOW_DAYS = 14
"""From this number of days, the gate has seven days instead of three (decision 7), and every weekday occurs twice."""
_MAX_CELLS = 10_000
"""Cells of a column of numbers that are read with other marks. A column has one format."""
_MIN_READABLE = 0.95
"""Share of the cells of a column that the right marks read. The inference of a schema requires it, too."""
_NUMBER_REASONS = (ValidationReason.UNPARSABLE_NUMBER, ValidationReason.INVALID_FEATURE)
NOISE_SIGMAS = 2.0
"""A count is low only if it's this many standard deviations below the minimum. Monitoring allows four, because it also
tests every city every day."""


def evaluate_gate(audited: AuditedOrders, as_of: dt.date, thresholds: GateThresholds) -> GateResult:
    """Check the orders that were acknowledged before local midnight of `as_of`, before models are fitted on them."""
    orders = OrderCounts.from_audited(audited, as_of)
    counts = {day: of_day.orders for day, of_day in orders.by_day.items()}
    checks = (
        _check_minimum(
            "days",
            orders.days,
            thresholds.min_days,
            f"There {_is_or_are(orders.days)} {format_count(orders.days, 'day')} with orders",
        ),
        _check_minimum(
            "orders",
            orders.usable,
            thresholds.min_orders,
            f"{orders.usable:,} of {format_count(orders.orders, 'order')} {_open_text(orders)}can be used for fitting",
        ),
        _check_freshness(counts, as_of, thresholds),
        _check_volume(counts, as_of, thresholds),
        *_check_orders(orders, as_of, thresholds, describe_number_marks(audited)),
        *check_labels(LabelCounts.from_audited(audited, as_of), thresholds, audited.schema),
    )
    return GateResult(str(as_of), all(check.passed for check in checks), checks, _notes(orders))


def evaluate_history(
    completed_by_day: Mapping[int, int],
    labels: LabelCounts,
    as_of: dt.date,
    thresholds: GateThresholds,
    *,
    orders: OrderCounts,
    schema: Schema,
) -> GateResult:
    """Check orders before they are used as history, with the checks before training.

    The numbers of days and orders aren't checked, because a history can be short. The freshness and the volume are
    those of completed orders, which a history consists of.

    Args:
        completed_by_day: The completed orders of the latest days, by day number.
        labels: The labels of all orders known as of the date.
        as_of: As-of date.
        thresholds: The thresholds of the checks.
        orders: Counts of all orders known as of the date.
        schema: The schema of the orders.
    """
    checks = (
        _check_freshness(completed_by_day, as_of, thresholds),
        _check_volume(completed_by_day, as_of, thresholds, noun="completed order"),
        *_check_orders(orders, as_of, thresholds),
        *(_with_training(check) for check in check_labels(labels, thresholds, schema)),
    )
    return GateResult(str(as_of), all(check.passed for check in checks), checks, ())


def _check_orders(
    orders: OrderCounts, as_of: dt.date, thresholds: GateThresholds, number_marks: str = ""
) -> tuple[GateCheck, ...]:
    """Check the last evening, and the shares of orders of unknown restaurants, unusable orders, and open orders.

    `number_marks` says how numbers of unusable orders can be read (`describe_number_marks`).
    """
    return (
        _check_last_evening(orders, thresholds),
        share_check(
            "unknown_restaurants",
            orders.unknown_restaurants,
            orders.orders,
            thresholds.max_unknown_restaurant_share,
            "orders are of restaurants that aren't in the restaurants file",
        ),
        _check_unusable(orders, thresholds, number_marks),
        *_check_open(orders, as_of, thresholds),
    )


def _with_training(check: GateCheck) -> GateCheck:
    """Add to a remedy in the schema that a refresh can't change the schema."""
    if not check.remedy or check.name not in {"short_labels", "long_labels"}:
        return check
    remedy = f"{check.remedy} A refresh uses the schema of the champion, so train with the changed one."
    return msgspec.structs.replace(check, remedy=remedy)


def _check_unusable(orders: OrderCounts, thresholds: GateThresholds, remedy: str) -> GateCheck:
    """Compare the share of unusable orders with its maximum. Open orders count neither as usable nor as unusable."""
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in orders.reason_counts.items())
    check = share_check(
        "unusable_orders",
        orders.unusable,
        orders.usable + orders.unusable,
        thresholds.max_unusable_share,
        f"orders can't be used for fitting{f' ({reasons})' if reasons else ''}",
    )
    return msgspec.structs.replace(_without_option_for_all(check), remedy="" if check.passed else remedy)


def _without_option_for_all(check: GateCheck) -> GateCheck:
    """Remove the option that accepts a share of all orders, because no order would be left."""
    return msgspec.structs.replace(check, accepted_by=None) if check.value >= 1 else check


def _check_open(orders: OrderCounts, as_of: dt.date, thresholds: GateThresholds) -> tuple[GateCheck, GateCheck]:
    """Compare the share of open orders with its maximum, and that of each recent day with its usual share.

    On a day, an order is open if it wasn't ready by the end of that day, so that all days are comparable. Where labels
    arrive late, the latest day has more open orders than the days before, so this share can rise by the maximum.
    """
    return (
        _without_option_for_all(
            share_check(
                "open_orders",
                orders.open_orders,
                orders.orders,
                thresholds.max_open_share,
                f"orders have no label as of {as_of}, so they are open",
            )
        ),
        check_share_rise(
            "latest_open_orders",
            {day: (of_day.open_at_end, of_day.orders) for day, of_day in orders.by_day.items()},
            thresholds.max_open_share,
            thresholds.recent_days,
            "orders were open at the end of the day",
        ),
    )


def _open_text(orders: OrderCounts) -> str:
    """Return the number of open orders as part of a sentence, or an empty text."""
    count = orders.open_orders
    return f"({count:,} {_is_or_are(count)} open) " if count else ""


def _is_or_are(count: int) -> str:
    return "is" if count == 1 else "are"


def _check_minimum(name: str, value: int, threshold: int, description: str) -> GateCheck:
    message = f"{description}; the minimum is {threshold:,}."
    return GateCheck(name, value, threshold, value >= threshold, message, value or None)


def _check_freshness(counts: Mapping[int, int], as_of: dt.date, thresholds: GateThresholds) -> GateCheck:
    """Compare the age of the last order with its maximum. `counts` are the orders by day number."""
    last_day = _last_day(counts)
    days_behind = (as_of - last_day).days if last_day else 10_000
    message = (
        f"The last order was acknowledged on {last_day}, {format_count(days_behind, 'day')} before {as_of}"
        f"{_missing_days(last_day, as_of)}; the maximum is {thresholds.max_days_behind}."
        if last_day
        else f"There is no order before {as_of}."
    )
    return GateCheck(
        "freshness",
        days_behind,
        thresholds.max_days_behind,
        days_behind <= thresholds.max_days_behind,
        message,
        days_behind if last_day else None,
    )


def _missing_days(last_day: dt.date, as_of: dt.date) -> str:
    """Return the days between two dates as text, such as ` (none on 2015-06-17)`."""
    first, last = last_day + dt.timedelta(days=1), as_of - dt.timedelta(days=1)
    if first > last:
        return ""
    return f" (none on {first})" if first == last else f" (none from {first} to {last})"


def _check_volume(
    counts: Mapping[int, int], as_of: dt.date, thresholds: GateThresholds, noun: str = "order"
) -> GateCheck:
    """Compare the recent days with the usual number of orders of their weekdays, allowing for random variation.

    Days after the last order are the subject of the check of the freshness.
    """
    last_day = _last_day(counts)
    first_days_back = max(thresholds.max_days_behind, (as_of - last_day).days if last_day else 0)
    worst_description, worst_ratio, passed = "", math.inf, True
    for days_back in range(thresholds.recent_days, 0, -1):
        day = as_of - dt.timedelta(days=days_back)
        if days_back < first_days_back:
            continue  # this day has no order, or the freshness threshold allows it to be missing
        expected = _expected_orders(counts, day_number(day))
        if expected is None:
            continue
        orders = counts.get(day_number(day), 0)
        minimum = thresholds.min_recent_volume * expected
        if orders / expected < worst_ratio:
            worst_ratio, worst_description = (
                orders / expected,
                f"{day} has {format_count(orders, noun)}, and the usual number is {expected:,.0f}",
            )
        passed &= orders + count_noise(minimum, NOISE_SIGMAS) >= minimum
    if not worst_description:
        return GateCheck("volume", 1.0, thresholds.min_recent_volume, True, "There is no earlier day to compare with.")
    message = (
        f"{worst_description} ({worst_ratio:.0%}); the minimum is {100 * thresholds.min_recent_volume:g}%, "
        "minus random variation."
    )
    accepted_by = math.floor(100 * worst_ratio) / 100
    return GateCheck("volume", worst_ratio, thresholds.min_recent_volume, passed, message, accepted_by)


def _expected_orders(counts: Mapping[int, int], day: int) -> float | None:
    """Return the usual count of the weekday, or else the lowest count of an earlier day.

    Fridays to Sundays have 50% more orders than other days, so other weekdays provide only a lower bound.
    """
    usual = usual_for_weekday(counts, day)
    earlier_counts = [orders for other_day, orders in counts.items() if other_day < day]
    return min(earlier_counts, default=None) if usual is None else usual


def _check_last_evening(orders: OrderCounts, thresholds: GateThresholds) -> GateCheck:
    """Check that the last day is complete. An export that ends in the afternoon can still have a normal count."""
    last_seconds = [orders.by_day[day].last_second for day in sorted(orders.by_day)]
    if len(last_seconds) < 2:
        message = "There is no other day to compare the evening with."
        return GateCheck("last_evening", 0.0, thresholds.max_evening_gap_hours, True, message)
    gap_hours = max(0.0, (float(np.median(last_seconds[:-1])) - last_seconds[-1]) / 3600)
    message = (
        f"The last order of {day_text(max(orders.by_day))} came {gap_hours:.1f} h earlier than the last order of a day "
        f"usually does; the maximum is {thresholds.max_evening_gap_hours:g} h."
    )
    return GateCheck(
        "last_evening",
        gap_hours,
        thresholds.max_evening_gap_hours,
        gap_hours <= thresholds.max_evening_gap_hours,
        message,
        round_up(gap_hours, 1),
    )


def _last_day(counts: Mapping[int, int]) -> dt.date | None:
    return day_date(max(counts)) if counts else None


def _notes(orders: OrderCounts) -> tuple[str, ...]:
    """Return the limits of a model that is trained on so few days or labels."""
    notes = []
    if orders.days < FULL_WINDOW_DAYS:
        notes.append(
            f"The data has {orders.days} days, fewer than {FULL_WINDOW_DAYS}. The gate has three days instead of "
            "seven, so its comparisons are less certain."
        )
        notes.append("No weekday occurs twice, so weekday effects can't be distinguished from random variation.")
    if orders.open_orders > SHARE_TOLERANCE * orders.orders:
        notes.append(
            f"{orders.open_orders:,} of {format_count(orders.orders, 'order')} "
            f"({orders.open_orders / orders.orders:.1%}) are open: they have no label, so they aren't used for "
            "training."
        )
    return tuple(notes)


def describe_number_marks(audited: AuditedOrders) -> str:
    """Return the lines of the schema with which almost all numbers of a column can be read, as a sentence.

    It's empty if the marks of the schema read them, or if no other marks do.
    """
    source = audited.schema.source
    lines: dict[str, None] = {}
    columns = []
    for name, number_format in _unread_columns(audited):
        readings = _better_marks(audited.raw[name].head(_MAX_CELLS), number_format)
        columns += [name] if readings else []
        for marks in readings:
            changed = {key: value for key, value in marks.items() if value != getattr(source, key)}
            lines[" and ".join(f"{key} = {toml_value(value)}" for key, value in changed.items())] = None
    if not columns:
        return ""
    return (
        f"Numbers of {', '.join(columns)} have other marks than the schema. Set under [source] in schema.toml: "
        f"{', or '.join(lines)}."
    )


def _unread_columns(audited: AuditedOrders) -> Iterator[tuple[str, NumberFormat]]:
    """Yield each column of numbers that has unreadable cells, and its format."""
    schema = audited.schema
    columns = [schema.column(name) for name in schema.orders]
    formats = {
        column.source: column.number_format
        for column in columns
        if column.declaration.data_type in {"number", "integer"}
    }
    formats |= {feature.column: schema.number_format for feature in schema.order_features if feature.type == "number"}
    found = {finding.column for finding in audited.findings if finding.reason in _NUMBER_REASONS}
    yield from ((name, formats[name]) for name in formats if name in found and name in audited.raw.columns)


def _better_marks(cells: pl.Series, current: NumberFormat) -> list[dict[str, str]]:
    """Return the marks that read almost all cells of a column, if the current ones don't: as few marks as possible."""
    if _readable_share(cells, current) >= _MIN_READABLE:
        return []
    found: dict[str, dict[str, str]] = {}
    for thousands, decimal in itertools.product(THOUSANDS_MARKS, (".", ",")):
        is_tried = decimal not in found and decimal != thousands
        other = replace(current, decimal=decimal, thousands=thousands)
        if is_tried and _readable_share(cells, other) >= _MIN_READABLE:
            found[decimal] = {"decimal": decimal, "thousands": thousands}
    return [*found.values()]


def _readable_share(cells: pl.Series, number_format: NumberFormat) -> float:
    parsed = parse_floats(cells, number_format)
    filled = int(np.count_nonzero(~parsed.missing))
    return 1.0 - np.count_nonzero(parsed.invalid) / filled if filled else 0.0
