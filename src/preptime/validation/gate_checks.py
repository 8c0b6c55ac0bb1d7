"""The checks of the data gate on orders: how many there are, how recent, how complete, and how many are usable."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from preptime.domain.validation_reasons import Purpose, ValidationReason, exclusion_mask, reasons_in_mask
from preptime.formatting import format_count
from preptime.schema.schema import Schema
from preptime.validation.audit import AuditedOrders, trailing_undated
from preptime.validation.daily_baselines import SHARE_TOLERANCE, count_noise, usual_for_weekday
from preptime.validation.data_gate import GateCheck, GateResult, GateThresholds, round_up, share_check
from preptime.validation.label_checks import check_labels, check_share_rise
from preptime.validation.label_counts import LabelCounts, day_number, is_open

FULL_WINDOW_DAYS = 14
"""From this number of days, the gate has seven days instead of three (decision 7), and every weekday occurs twice."""
NOISE_SIGMAS = 2.0
"""A count is low only if it's this many standard deviations below the minimum. Monitoring allows four, because it also
tests every city every day."""


def evaluate_gate(audited: AuditedOrders, as_of: dt.date, thresholds: GateThresholds) -> GateResult:
    """Check the orders that were acknowledged before local midnight of `as_of`."""
    known = _KnownOrders.from_audited(audited, as_of)
    counts, usable = _daily_counts(known.orders), int(np.count_nonzero(known.is_usable))
    day_count = counts["day"].n_unique()
    checks = (
        _check_minimum(
            "days",
            day_count,
            thresholds.min_days,
            f"There {_is_or_are(day_count)} {format_count(day_count, 'day')} with orders",
        ),
        _check_minimum(
            "orders",
            usable,
            thresholds.min_orders,
            f"{usable:,} of {format_count(len(known.orders), 'order')} {known.open_text}can be used for fitting",
        ),
        _check_freshness(counts, as_of, thresholds),
        _check_volume(counts, as_of, thresholds),
        _check_last_evening(counts, thresholds),
        share_check(
            "unknown_restaurants",
            _count_with_reason(known.orders, ValidationReason.UNKNOWN_RESTAURANT),
            len(known.orders),
            thresholds.max_unknown_restaurant_share,
            "orders are of restaurants that aren't in the restaurants file",
        ),
        _check_unusable(audited, known, thresholds),
        *_check_open(known, as_of, thresholds),
        *check_labels(LabelCounts.from_audited(audited, as_of), thresholds, audited.schema),
    )
    return GateResult(str(as_of), all(check.passed for check in checks), checks, _notes(counts, known))


def evaluate_history(
    orders_by_day: Mapping[dt.date, int],
    labels: LabelCounts,
    as_of: dt.date,
    thresholds: GateThresholds,
    schema: Schema,
) -> GateResult:
    """Check completed orders before they are used as history: how recent they are, their number, and their labels.

    `orders_by_day` has the completed orders of the latest days, and `labels` are those of all orders known as of the
    date. The checks of labels are the same as before training.
    """
    counts = pl.DataFrame(sorted(orders_by_day.items()), {"day": pl.Date, "orders": pl.Int64}, orient="row")
    checks = (
        _check_freshness(counts, as_of, thresholds),
        _check_volume(counts, as_of, thresholds, noun="completed order"),
        *(_with_training(check) for check in check_labels(labels, thresholds, schema)),
    )
    return GateResult(str(as_of), all(check.passed for check in checks), checks, ())


def _with_training(check: GateCheck) -> GateCheck:
    """Add to a remedy in the schema that a refresh can't change the schema."""
    if not check.remedy or check.name not in {"short_labels", "long_labels"}:
        return check
    remedy = f"{check.remedy} A refresh uses the schema of the champion, so train with the changed one."
    return msgspec.structs.replace(check, remedy=remedy)


@dataclass(frozen=True)
class _KnownOrders:
    """The orders acknowledged before local midnight of a date, as [N] masks of all rows."""

    orders: pl.DataFrame
    """The audited rows that the masks select."""
    is_known: NDArray[np.bool_]
    is_undated: NDArray[np.bool_]
    """Rows without a valid time, which can belong to any day. Those after all other rows came later."""
    is_open: NDArray[np.bool_]
    """Known orders without a label as of the date."""
    is_usable: NDArray[np.bool_]
    """Known orders that can be used for fitting."""

    @classmethod
    def from_audited(cls, audited: AuditedOrders, as_of: dt.date) -> _KnownOrders:
        """Return the orders known as of a date."""
        frame, midnight = audited.frame, dt.datetime.combine(as_of, dt.time())
        is_known = (frame["acknowledged_local"] < midnight).fill_null(value=False).to_numpy()
        is_undated = frame["acknowledged_local"].is_null() & ~trailing_undated(frame, pl.Series(is_known))
        is_later = (frame["ready_local"] >= midnight).fill_null(value=False).to_numpy()
        is_open_order = is_known & (is_open(audited) | is_later)
        is_usable = audited.usable_for(Purpose.FITTING) & is_known & ~is_open_order
        return cls(frame.filter(pl.Series(is_known)), is_known, is_undated.to_numpy(), is_open_order, is_usable)

    @property
    def open_orders(self) -> int:
        """The number of open orders."""
        return int(np.count_nonzero(self.is_open))

    @property
    def open_text(self) -> str:
        """The number of open orders as part of a sentence, or an empty text."""
        return f"({self.open_orders:,} {_is_or_are(self.open_orders)} open) " if self.open_orders else ""


def _check_unusable(audited: AuditedOrders, known: _KnownOrders, thresholds: GateThresholds) -> GateCheck:
    """Compare the share of unusable orders with its maximum. Open orders count neither as usable nor as unusable."""
    is_checked = (known.is_known & ~known.is_open) | known.is_undated
    is_unusable = is_checked & ~known.is_usable
    return share_check(
        "unusable_orders",
        int(np.count_nonzero(is_unusable)),
        int(np.count_nonzero(is_checked)),
        thresholds.max_unusable_share,
        f"orders can't be used for fitting{_fitting_reasons(audited, is_unusable)}",
    )


def _check_open(known: _KnownOrders, as_of: dt.date, thresholds: GateThresholds) -> tuple[GateCheck, GateCheck]:
    """Compare the share of open orders with its maximum, and that of each recent day with its usual share.

    On a day, an order is open if it wasn't ready by the end of that day, so that all days are comparable. Where labels
    arrive late, the latest day has more open orders than the days before, so this share can rise by the maximum.
    """
    frame = known.orders
    days = frame["acknowledged_local"].dt.date()
    is_open_at_end = (frame["ready_local"].dt.date() > days).fill_null(value=False) | pl.Series(
        known.is_open[known.is_known]
    )
    by_day = pl.DataFrame({"day": days, "open": is_open_at_end}).group_by("day").agg(pl.col("open").sum(), pl.len())
    return (
        share_check(
            "open_orders",
            known.open_orders,
            len(frame),
            thresholds.max_open_share,
            f"orders have no label as of {as_of}, so they are open",
        ),
        check_share_rise(
            "latest_open_orders",
            {day_number(day): (open_orders, orders) for day, open_orders, orders in by_day.iter_rows()},
            thresholds.max_open_share,
            thresholds.recent_days,
            "orders were open at the end of the day",
        ),
    )


def _is_or_are(count: int) -> str:
    return "is" if count == 1 else "are"


def _daily_counts(orders: pl.DataFrame) -> pl.DataFrame:
    """Return the number of orders and the second of the last order, for each local day."""
    local = pl.col("acknowledged_local")
    last_second = (local - local.dt.truncate("1d")).max().dt.total_seconds().alias("last")
    return orders.group_by(local.dt.date().alias("day")).agg(pl.len().alias("orders"), last_second).sort("day")


def _check_minimum(name: str, value: int, threshold: int, description: str) -> GateCheck:
    message = f"{description}; the minimum is {threshold:,}."
    return GateCheck(name, value, threshold, value >= threshold, message, value or None)


def _fitting_reasons(audited: AuditedOrders, rows: NDArray[np.bool_]) -> str:
    """Return the reasons that exclude `rows` from fitting, with their numbers of orders, such as ` (label_zero 3)`."""
    counts = {
        reason: int(np.count_nonzero(audited.reasons[rows] & np.uint32(reason.bit)))
        for reason in reasons_in_mask(exclusion_mask(Purpose.FITTING))
    }
    text = ", ".join(f"{reason} {count:,}" for reason, count in counts.items() if count)
    return f" ({text})" if text else ""


def _check_freshness(counts: pl.DataFrame, as_of: dt.date, thresholds: GateThresholds) -> GateCheck:
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


def _check_volume(counts: pl.DataFrame, as_of: dt.date, thresholds: GateThresholds, noun: str = "order") -> GateCheck:
    """Compare the recent days with the usual number of orders of their weekdays, allowing for random variation.

    Days after the last order are the subject of the check of the freshness.
    """
    last_day = _last_day(counts)
    first_days_back = max(thresholds.max_days_behind, (as_of - last_day).days if last_day else 0)
    orders_by_day = {day_number(day): float(orders) for day, orders in counts.select("day", "orders").iter_rows()}
    worst_description, worst_ratio, passed = "", math.inf, True
    for days_back in range(thresholds.recent_days, 0, -1):
        day = as_of - dt.timedelta(days=days_back)
        if days_back < first_days_back:
            continue  # this day has no order, or the freshness threshold allows it to be missing
        expected = _expected_orders(orders_by_day, day_number(day))
        if expected is None:
            continue
        orders = int(orders_by_day.get(day_number(day), 0))
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


def _expected_orders(orders_by_day: Mapping[int, float], day: int) -> float | None:
    """Return the usual count of the weekday, or else the lowest count of an earlier day.

    Fridays to Sundays have 50% more orders than other days, so other weekdays provide only a lower bound.
    """
    usual = usual_for_weekday(orders_by_day, day)
    earlier_counts = [orders for other_day, orders in orders_by_day.items() if other_day < day]
    return min(earlier_counts, default=None) if usual is None else usual


def _check_last_evening(counts: pl.DataFrame, thresholds: GateThresholds) -> GateCheck:
    """Check that the last day is complete. An export that ends in the afternoon can still have a normal count."""
    last_day = _last_day(counts)
    if last_day is None or len(counts) < 2:
        message = "There is no other day to compare the evening with."
        return GateCheck("last_evening", 0.0, thresholds.max_evening_gap_hours, True, message)
    usual_last_second = float(np.median(counts["last"].to_numpy()[:-1]))
    gap_hours = max(0.0, (usual_last_second - float(counts["last"][-1])) / 3600)
    message = (
        f"The last order of {last_day} came {gap_hours:.1f} h earlier than the last order of a day usually does; "
        f"the maximum is {thresholds.max_evening_gap_hours:g} h."
    )
    return GateCheck(
        "last_evening",
        gap_hours,
        thresholds.max_evening_gap_hours,
        gap_hours <= thresholds.max_evening_gap_hours,
        message,
        round_up(gap_hours, 1),
    )


def _last_day(counts: pl.DataFrame) -> dt.date | None:
    last = counts["day"].max()
    return last if isinstance(last, dt.date) else None


def _count_with_reason(orders: pl.DataFrame, reason: ValidationReason) -> int:
    return int(np.count_nonzero(orders["reasons"].to_numpy() & np.uint32(reason.bit)))


def _notes(counts: pl.DataFrame, known: _KnownOrders) -> tuple[str, ...]:
    """Return the limits of a model that is trained on so few days or labels."""
    days = counts["day"].n_unique()
    notes = []
    if days < FULL_WINDOW_DAYS:
        notes.append(
            f"The data has {days} days, fewer than {FULL_WINDOW_DAYS}. The gate has three days instead of seven, so "
            "its comparisons are less certain."
        )
        notes.append("No weekday occurs twice, so weekday effects can't be distinguished from random variation.")
    if known.open_orders > SHARE_TOLERANCE * len(known.orders):
        notes.append(
            f"{known.open_orders:,} of {format_count(len(known.orders), 'order')} "
            f"({known.open_orders / len(known.orders):.1%}) are open: they have no label, so they aren't used for "
            "training."
        )
    return tuple(notes)
