"""The data gate: checks before training whether the data is complete and recent enough for a model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date, datetime, time, timedelta

import msgspec
import numpy as np
import polars as pl

from preptime.domain.validation_reasons import Purpose, ValidationReason
from preptime.errors import DataError, UsageError
from preptime.validation.audit import AuditedOrders, trailing_undated

FULL_WINDOW_DAYS = 28
"""From this number of days, seven days are held out instead of three (decision 7), and every weekday occurs four
times."""
NOISE_SIGMAS = 2.0
"""A count is low only if it's this many standard deviations below the minimum. The standard deviation of a Poisson
count is its square root."""


@dataclass(frozen=True, slots=True)
class GateThresholds:
    """The thresholds of the data gate. Each can be set."""

    min_days: int = 7
    """Days with orders. Three are held out, and four is the minimum for fitting. Every weekday occurs once."""
    min_orders: int = 1_000
    """Orders that can be used for fitting. A tenth of three held-out days must be enough orders (about 40) to estimate
    the outer quantiles."""
    max_days_behind: int = 1
    """Days between the as-of date and the last order: 1 means that yesterday is present. An older history makes the
    predictions of every evening stale."""
    recent_days: int = 3
    """Number of most recent days whose volume is checked. The promotion gate evaluates models on these days."""
    min_recent_volume: float = 0.6
    """Orders of a day divided by the usual number for its weekday. It's between 0.8 and 1.2 on real days, and lower for
    half an export."""
    max_evening_gap_hours: float = 3.0
    """How much earlier than usual the last order of yesterday can be. An export at 18:00 has no evening orders."""
    max_unknown_restaurant_share: float = 0.1
    """Share of orders from unknown restaurants. About 5% of a week's orders come from new restaurants. A higher share
    means that the restaurants file is outdated."""
    max_unusable_share: float = 0.1
    """Share of orders excluded from fitting. It's 0.9% in real data. A tenth indicates a broken export."""


def thresholds_from_settings(settings: Mapping[str, float]) -> GateThresholds:
    """Return the default thresholds with `settings` applied. Raises `UsageError` for an unknown name or a bad value."""
    defaults = asdict(GateThresholds())
    unknown = sorted(settings.keys() - defaults.keys())
    if unknown:
        raise UsageError(
            f"The data gate has no threshold {unknown[0]!r}.", f"The thresholds are {', '.join(defaults)}."
        )
    try:
        return msgspec.convert(defaults | dict(settings), GateThresholds, strict=False)
    except msgspec.ValidationError as error:
        raise UsageError(
            f"A threshold of the data gate has an invalid value: {error}.", "Use a whole number for a count."
        ) from error


class GateCheck(msgspec.Struct, frozen=True):
    """The result of one check: the value compared with the threshold."""

    name: str
    value: float
    threshold: float
    passed: bool
    message: str


class GateResult(msgspec.Struct, frozen=True):
    """The result of the data gate: every check, and notes about limits of data that passed."""

    date: str
    passed: bool
    checks: tuple[GateCheck, ...]
    notes: tuple[str, ...]


def evaluate_gate(audited: AuditedOrders, as_of: date, thresholds: GateThresholds) -> GateResult:
    """Check the orders that were acknowledged before local midnight of `as_of`."""
    midnight = datetime.combine(as_of, time())
    is_known = (audited.frame["acknowledged_local"] < midnight).fill_null(value=False).to_numpy()
    known_orders = audited.frame.filter(pl.Series(is_known))
    known_count = len(known_orders)
    counts = _daily_counts(known_orders)
    usable_count = int(np.count_nonzero(audited.usable_for(Purpose.FITTING) & is_known))
    # An order without a valid time can belong to any day, so it counts as unusable. After all others, it came later.
    is_undated = audited.frame["acknowledged_local"].is_null() & ~trailing_undated(audited.frame, pl.Series(is_known))
    checked_count = known_count + int(is_undated.sum())
    checks = (
        _check_minimum("days", counts["day"].n_unique(), thresholds.min_days, "days with orders"),
        _check_minimum("orders", usable_count, thresholds.min_orders, "orders that can be used for fitting"),
        _check_freshness(counts, as_of, thresholds),
        _check_volume(counts, as_of, thresholds),
        _check_last_evening(counts, as_of, thresholds),
        _check_share(
            "unknown_restaurants",
            _count_with_reason(known_orders, ValidationReason.UNKNOWN_RESTAURANT),
            known_count,
            thresholds.max_unknown_restaurant_share,
            "come from a restaurant that isn't in the restaurants file",
        ),
        _check_share(
            "unusable_orders",
            checked_count - usable_count,
            checked_count,
            thresholds.max_unusable_share,
            "are excluded from fitting by their validation reasons",
        ),
    )
    return GateResult(str(as_of), all(check.passed for check in checks), checks, _notes(counts))


def evaluate_daily_counts(orders_by_day: Mapping[date, int], as_of: date, thresholds: GateThresholds) -> GateResult:
    """Check only the freshness and volume of completed orders, before they are used as history."""
    counts = pl.DataFrame(sorted(orders_by_day.items()), {"day": pl.Date, "orders": pl.Int64}, orient="row")
    checks = (_check_freshness(counts, as_of, thresholds), _check_volume(counts, as_of, thresholds))
    return GateResult(str(as_of), all(check.passed for check in checks), checks, ())


def gate_error(result: GateResult) -> DataError:
    """Return the error for data that didn't pass. It names every failed check."""
    failed_checks = [check for check in result.checks if not check.passed]
    messages = " ".join(check.message for check in failed_checks)
    names = ", ".join(check.name for check in failed_checks)
    return DataError(
        f"The data as of {result.date} didn't pass the data gate. {messages}",
        f"Repair the data. If it's correct, set another threshold ({names}).",
    )


def _daily_counts(orders: pl.DataFrame) -> pl.DataFrame:
    """Return the number of orders and the second of the last order, for each local day."""
    local = pl.col("acknowledged_local")
    last_second = (local - local.dt.truncate("1d")).max().dt.total_seconds().alias("last")
    return orders.group_by(local.dt.date().alias("day")).agg(pl.len().alias("orders"), last_second).sort("day")


def _check_minimum(name: str, value: int, threshold: int, description: str) -> GateCheck:
    message = f"There are {value:,} {description}; the minimum is {threshold:,}."
    return GateCheck(name, value, threshold, value >= threshold, message)


def _check_share(name: str, count: int, total: int, threshold: float, description: str) -> GateCheck:
    share = count / total if total else 1.0
    message = f"{share:.1%} of the orders ({count:,}) {description}; the maximum is {threshold:.0%}."
    return GateCheck(name, share, threshold, share <= threshold, message)


def _check_freshness(counts: pl.DataFrame, as_of: date, thresholds: GateThresholds) -> GateCheck:
    last_day = _last_day(counts)
    days_behind = (as_of - last_day).days if last_day else 10_000
    message = (
        f"The last order was acknowledged on {last_day}, {days_behind} days before {as_of}; "
        f"the maximum is {thresholds.max_days_behind}."
        if last_day
        else f"There is no order before {as_of}."
    )
    return GateCheck(
        "freshness", days_behind, thresholds.max_days_behind, days_behind <= thresholds.max_days_behind, message
    )


def _check_volume(counts: pl.DataFrame, as_of: date, thresholds: GateThresholds) -> GateCheck:
    """Compare the recent days with the usual number of orders of their weekdays, allowing for random variation."""
    orders_by_day: dict[date, int] = dict(zip(counts["day"].to_list(), counts["orders"].to_list(), strict=True))
    worst_description, worst_ratio, passed = "", math.inf, True
    for days_back in range(thresholds.recent_days, 0, -1):
        day = as_of - timedelta(days=days_back)
        if days_back < thresholds.max_days_behind:
            continue  # the freshness threshold allows this day to be missing
        expected = _expected_orders(orders_by_day, day)
        if expected is None:
            continue
        orders = orders_by_day.get(day, 0)
        minimum = thresholds.min_recent_volume * expected
        if orders / expected < worst_ratio:
            worst_ratio, worst_description = (
                orders / expected,
                f"{day} has {orders:,} orders, and the usual number is {expected:,.0f}",
            )
        passed &= orders + NOISE_SIGMAS * math.sqrt(max(minimum, 1.0)) >= minimum
    if not worst_description:
        return GateCheck("volume", 1.0, thresholds.min_recent_volume, True, "There is no earlier day to compare with.")
    message = (
        f"{worst_description} ({worst_ratio:.0%}); the minimum is {thresholds.min_recent_volume:.0%}, "
        "minus random variation."
    )
    return GateCheck("volume", worst_ratio, thresholds.min_recent_volume, passed, message)


def _expected_orders(orders_by_day: dict[date, int], day: date) -> float | None:
    """Return the median count of the same weekday in the four weeks before, or else the lowest count of an earlier day.

    Fridays to Sundays have 50% more orders than other days, so other weekdays provide only a lower bound.
    """
    same_weekday = [
        orders_by_day[other_day] for week in range(1, 5) if (other_day := day - timedelta(weeks=week)) in orders_by_day
    ]
    if same_weekday:
        return float(np.median(same_weekday))
    earlier_counts = [orders for other_day, orders in orders_by_day.items() if other_day < day]
    return float(min(earlier_counts)) if earlier_counts else None


def _check_last_evening(counts: pl.DataFrame, as_of: date, thresholds: GateThresholds) -> GateCheck:
    """Check that yesterday is complete. An export that ends in the afternoon can still have a normal count."""
    last_day = _last_day(counts)
    if last_day is None or len(counts) < 2 or (as_of - last_day).days > thresholds.max_days_behind:
        message = "There is no recent day whose evening could be checked."
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
    )


def _last_day(counts: pl.DataFrame) -> date | None:
    last = counts["day"].max()
    return last if isinstance(last, date) else None


def _count_with_reason(orders: pl.DataFrame, reason: ValidationReason) -> int:
    return int(np.count_nonzero(orders["reasons"].to_numpy() & np.uint32(reason.bit)))


def _notes(counts: pl.DataFrame) -> tuple[str, ...]:
    """Return the limits of a model that is trained on so few days."""
    days = counts["day"].n_unique()
    notes = []
    if days < FULL_WINDOW_DAYS:
        notes.append(
            f"The data has {days} days, fewer than {FULL_WINDOW_DAYS}. Three days are held out instead of seven, so "
            "calibration and the comparison with the champion use fewer orders."
        )
    if days < 14:
        notes.append("No weekday occurs twice, so weekday effects can't be distinguished from random variation.")
    return tuple(notes)
