"""The checks of the data gate on labels: their unit, their shares under a minute and over the limit, and their median.

Each is checked for the whole window and for the latest days, before any model or history is published.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from preptime.domain.validation_reasons import MAX_LABEL_SECONDS, SHORT_LABEL_SECONDS
from preptime.schema.schema import DURATION_UNITS, PREP_TIME, Schema
from preptime.schema.toml_text import toml_value
from preptime.validation.audit import AuditedOrders
from preptime.validation.daily_baselines import (
    MIN_ORDERS,
    SHARE_ERRORS,
    WEEKS,
    measure_share_rise,
    usual_for_weekday,
)
from preptime.validation.data_gate import GateCheck, GateThresholds, round_up, share_check
from preptime.validation.label_counts import LabelCounts, day_text, label_mapping

_UNIT_NAMES = {"ms": "milliseconds", "s": "seconds", "min": "minutes", "h": "hours"}


def check_labels(labels: LabelCounts, thresholds: GateThresholds, schema: Schema) -> tuple[GateCheck, ...]:
    """Return the results of all checks of labels. Without any label, they pass: other checks fail.

    Days that have fewer than 30 labels aren't compared with others.
    """
    return (
        *_check_shares(labels, thresholds, schema),
        check_share_rise(
            "latest_short_labels",
            {day: (counts.short, counts.labels) for day, counts in labels.by_day.items()},
            thresholds.max_share_rise,
            thresholds.recent_days,
            "labels are under a minute",
        ),
        check_share_rise(
            "latest_long_labels",
            {day: (counts.long, counts.labels) for day, counts in labels.by_day.items()},
            thresholds.max_share_rise,
            thresholds.recent_days,
            f"labels are over {MAX_LABEL_SECONDS // 3600} hours",
        ),
        _check_latest_median(labels, thresholds, schema),
        _check_weekly_median(labels, thresholds),
    )


def _check_shares(labels: LabelCounts, thresholds: GateThresholds, schema: Schema) -> tuple[GateCheck, GateCheck]:
    """Return the checks of all labels: those under a minute, and those over the limit, each with the probable unit."""
    short = share_check(
        "short_labels", labels.short, labels.labels, thresholds.max_short_label_share, "labels are under a minute"
    )
    long = share_check(
        "long_labels",
        labels.long,
        labels.labels,
        thresholds.max_long_label_share,
        f"labels are over {MAX_LABEL_SECONDS // 3600} hours",
    )
    return _with_unit(short, labels, schema), _with_unit(long, labels, schema)


def describe_wrong_labels(audited: AuditedOrders) -> tuple[str, ...]:
    """Return the messages and remedies of the checks of all labels that fail with the default thresholds."""
    labels = LabelCounts.from_audited(audited, dt.date.max)
    checks = _check_shares(labels, GateThresholds(), audited.schema)
    return tuple(f"{check.message} {check.remedy}".strip() for check in checks if not check.passed)


def check_share_rise(
    name: str, shares: Mapping[int, tuple[float, float]], limit: float, recent_days: int, description: str
) -> GateCheck:
    """Compare the share of each recent day with the share of the days before it, as monitoring does.

    `shares` has the count and its total by day number, and `limit` is the largest rise. The day with the largest rise
    is reported.
    """
    worst_rise, message, passed = -math.inf, "There is no earlier day to compare with.", True
    days = sorted(shares)
    for day in _recent_days(days, recent_days):
        through = [shares[other_day] for other_day in days if other_day <= day]
        if len(through) < 2 or day not in shares or shares[day][1] < MIN_ORDERS:
            continue
        table = np.array(through, np.float64)
        rise = measure_share_rise(table[:, 0], table[:, 1])
        passed &= rise.statistic(limit) < SHARE_ERRORS
        if rise.current - rise.usual > worst_rise:
            worst_rise = rise.current - rise.usual
            message = (
                f"On {day_text(day)}, {100 * rise.current:.4g}% of {shares[day][1]:,.0f} {description}, and "
                f"{100 * rise.usual:.4g}% are usual; the maximum is {100 * limit:g} percentage points more, plus "
                "random variation."
            )
    value = max(worst_rise, 0.0)
    return GateCheck(name, value, limit, passed, message, round_up(value, 2))


def _recent_days(days: Iterable[int], recent_days: int) -> range:
    """Return the latest days, up to the last day that has data."""
    last_day = max(days, default=0)
    return range(last_day - recent_days + 1, last_day + 1)


def _check_latest_median(labels: LabelCounts, thresholds: GateThresholds, schema: Schema) -> GateCheck:
    """Compare the median of each recent day with the usual one of its weekday, or else of all earlier days."""
    medians = {
        day: median
        for day, counts in labels.by_day.items()
        if counts.labels >= MIN_ORDERS and (median := labels.median_of_days(day, day)) is not None
    }
    worst_ratio, message, remedy = 1.0, "There is no earlier day to compare with.", ""
    for day in _recent_days(labels.by_day, thresholds.recent_days):
        earlier = [median for other_day, median in medians.items() if other_day < day]
        if day not in medians or not earlier:
            continue
        usual = usual_for_weekday(medians, day)
        weekday_text = " for its weekday" if usual is not None else ""
        usual = float(np.median(earlier)) if usual is None else usual
        ratio, comparison = _compare(medians[day], usual)
        if ratio >= worst_ratio:
            worst_ratio = ratio
            units = _plausible_units(medians[day], labels, schema)
            message = (
                f"The median label of {day_text(day)} is {medians[day]:,.0f} s, and {usual:,.0f} s is usual"
                f"{weekday_text} ({comparison}); the maximum is {thresholds.max_median_ratio:g} times."
                f"{_unit_question(units)}"
            )
            remedy = (
                f"If the labels of {day_text(day)} are in another unit than those of earlier days, convert them. "
                "The schema has one unit for all orders."
                if units
                else ""
            )
    return _ratio_check("latest_median", worst_ratio, thresholds, message, remedy)


def _check_weekly_median(labels: LabelCounts, thresholds: GateThresholds) -> GateCheck:
    """Compare the medians of the latest four weeks with each other. A single unusual day hardly changes them."""
    weeks = sorted(_weekly_medians(labels))
    if len(weeks) < 2:
        return _ratio_check("weekly_median", 1.0, thresholds, "There is no earlier week to compare with.")
    (low, low_days), (high, high_days) = weeks[0], weeks[-1]
    ratio, comparison = _compare(high, low)
    message = (
        f"The median label is {high:,.0f} s {high_days} and {low:,.0f} s {low_days} ({comparison}); the maximum is "
        f"{thresholds.max_median_ratio:g} times."
    )
    return _ratio_check("weekly_median", ratio, thresholds, message)


def _weekly_medians(labels: LabelCounts) -> Iterator[tuple[float, str]]:
    """Yield the median of each of the latest weeks with enough labels, and the days of the week as text."""
    if labels.last_day is None:
        return
    for week in range(WEEKS):
        last = labels.last_day - 7 * week
        first = last - 6
        count = sum(counts.labels for day, counts in labels.by_day.items() if first <= day <= last)
        median = labels.median_of_days(first, last)
        if count >= MIN_ORDERS and median is not None:
            yield median, f"from {day_text(max(first, min(labels.by_day)))} to {day_text(last)}"


def _compare(median: float, other: float) -> tuple[float, str]:
    """Return how many times the larger median is the smaller one, and the same as text."""
    larger, smaller = max(median, other, 1.0), max(min(median, other), 1.0)
    ratio = larger / smaller
    return ratio, f"{ratio:.3g} times {'as high' if median >= other else 'lower'}"


def _ratio_check(name: str, ratio: float, thresholds: GateThresholds, message: str, remedy: str = "") -> GateCheck:
    limit = thresholds.max_median_ratio
    return GateCheck(name, ratio, limit, ratio <= limit, message, round_up(ratio, 2), remedy)


def _with_unit(check: GateCheck, labels: LabelCounts, schema: Schema) -> GateCheck:
    """Add the median, the unit that the labels probably have, and the line of the schema that sets it."""
    if check.passed:
        return check
    units = _plausible_units(labels.median(), labels, schema)
    message = f"{check.message} The median is {labels.median():,.0f} s.{_unit_question(units)}"
    return GateCheck(
        check.name,
        check.value,
        check.threshold,
        check.passed,
        message,
        check.accepted_by,
        _unit_remedy(units, schema),
    )


def _plausible_units(median: float, labels: LabelCounts, schema: Schema) -> list[str]:
    """Return the other units in which an implausible median would be between a minute and three hours."""
    mapping = label_mapping(schema)
    only_zeros = median < 1 and labels.fractions == 0
    if mapping is None or only_zeros or SHORT_LABEL_SECONDS <= median <= MAX_LABEL_SECONDS:
        return []
    current = mapping.unit or "s"
    multiplier, divisor = DURATION_UNITS[current]
    # Labels are rounded down, so the middle of the second is the best estimate.
    written = (median + 0.5) * divisor / multiplier
    seconds = {unit: written * factor / unit_divisor for unit, (factor, unit_divisor) in DURATION_UNITS.items()}
    return [
        unit for unit, value in seconds.items() if unit != current and SHORT_LABEL_SECONDS <= value <= MAX_LABEL_SECONDS
    ]


def _unit_question(units: list[str]) -> str:
    return f" Are the labels in {' or '.join(_UNIT_NAMES[unit] for unit in units)}?" if units else ""


def _unit_remedy(units: list[str], schema: Schema) -> str:
    mapping = label_mapping(schema)
    if mapping is None:
        start, end = (schema.orders[name].column for name in ("order_acknowledged_at", "order_ready_at"))
        return f"The label is the time from {start} to {end}. Check both columns in the schema."
    lines = [f"{PREP_TIME} = {toml_value({'column': mapping.column, 'unit': unit})}" for unit in units]
    if not lines:
        return ""
    names = " or ".join(_UNIT_NAMES[unit] for unit in units)
    return f"If the labels are in {names}, set the unit under [orders] in the schema: {' or '.join(lines)}."
