"""The gate before training: is this data worth a model of date D?"""

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
"""From here on seven days are held out instead of three (D7) and every weekday has been seen four times."""
NOISE_SIGMAS = 2.0
"""A day's count is only called low when chance (Poisson: its own square root) would not explain it."""


@dataclass(frozen=True, slots=True)
class GateThresholds:
    """What the data must reach. Each can be set; the defaults say why."""

    min_days: int = 7
    """Three are held out, and four are the least to learn an evening from; every weekday has been seen once."""
    min_orders: int = 1_000
    """A tenth of three held-out days must be enough orders (about 40) to place the outer quantiles."""
    max_days_behind: int = 1
    """Days between D and the last order: 1 means that yesterday is there. An older history is stale every evening."""
    recent_days: int = 3
    """How many of the last days are looked at for volume: those that the gate of promotion will judge by."""
    min_recent_volume: float = 0.6
    """Against the usual count of the same weekday. Real days lie between 0.8 and 1.2 of it; half an export does not."""
    max_evening_gap_hours: float = 3.0
    """How much earlier than usual the last order of yesterday may come: an export at 18:00 has no evening."""
    max_unknown_restaurant_share: float = 0.1
    """Share of orders. In a week about 5 % come from new restaurants; more means that the restaurants file is old."""
    max_unusable_share: float = 0.1
    """Share of orders kept out of fitting. It is 0.9 % in real data; a tenth is a broken export, not bad luck."""


def thresholds_from_settings(settings: Mapping[str, float]) -> GateThresholds:
    """The declared thresholds with some of them set otherwise. Raises `UsageError` for a name that is none of them."""
    defaults = asdict(GateThresholds())
    unknown = sorted(settings.keys() - defaults.keys())
    if unknown:
        raise UsageError(f"The data gate has no threshold {unknown[0]!r}.", f"It has {', '.join(defaults)}.")
    try:
        return msgspec.convert(defaults | dict(settings), GateThresholds, strict=False)
    except msgspec.ValidationError as error:
        raise UsageError(
            f"A threshold of the data gate cannot be read: {error}.", "Counts are whole numbers."
        ) from error


class GateCheck(msgspec.Struct, frozen=True):
    """One threshold and how the data stands to it."""

    name: str
    value: float
    threshold: float
    passed: bool
    message: str


class GateResult(msgspec.Struct, frozen=True):
    """The gate's document: every rule, and what to expect less of although it passed."""

    date: str
    passed: bool
    checks: tuple[GateCheck, ...]
    notes: tuple[str, ...]


def evaluate_gate(audited: AuditedOrders, as_of: date, thresholds: GateThresholds) -> GateResult:
    """Judge the orders acknowledged before the morning of `day`, by the restaurants' wall clocks."""
    midnight = datetime.combine(as_of, time())
    is_known = (audited.frame["acknowledged_local"] < midnight).fill_null(value=False).to_numpy()
    known_orders = audited.frame.filter(pl.Series(is_known))
    counts = _daily_counts(known_orders)
    usable_count = int(np.count_nonzero(audited.usable_for(Purpose.FITTING) & is_known))
    # An order whose time cannot be read may be of any day, so it counts as dirty; behind all others it came later.
    is_undated = audited.frame["acknowledged_local"].is_null() & ~trailing_undated(audited.frame, pl.Series(is_known))
    checked_count = int(np.count_nonzero(is_known)) + int(is_undated.sum())
    checks = (
        _check_minimum("days", counts["day"].n_unique(), thresholds.min_days, "days with orders"),
        _check_minimum("orders", usable_count, thresholds.min_orders, "orders that can be learned from"),
        _check_freshness(counts, as_of, thresholds),
        _check_volume(counts, as_of, thresholds),
        _check_last_evening(counts, as_of, thresholds),
        _check_share("unknown_restaurants", _count_with_reason(known_orders, ValidationReason.UNKNOWN_RESTAURANT), len(known_orders),
               thresholds.max_unknown_restaurant_share, "of a restaurant that is not in the restaurants file"),
        _check_share("unusable_orders", checked_count - usable_count, checked_count, thresholds.max_unusable_share, "kept out of fitting by their verdicts"),
    )  # fmt: skip
    return GateResult(str(as_of), all(check.passed for check in checks), checks, _notes(counts))


def evaluate_daily_counts(orders_by_day: Mapping[date, int], as_of: date, thresholds: GateThresholds) -> GateResult:
    """Judge completed orders by day alone, before they become a history: is yesterday there, and whole?"""
    days = sorted(orders_by_day)
    counts = pl.DataFrame(
        {"day": days, "orders": [orders_by_day[day] for day in days]}, {"day": pl.Date, "orders": pl.Int64}
    )
    checks = (_check_freshness(counts, as_of, thresholds), _check_volume(counts, as_of, thresholds))
    return GateResult(str(as_of), all(day.passed for day in checks), checks, ())


def gate_error(result: GateResult) -> DataError:
    """The error for data that did not pass, naming every rule that failed."""
    failed_checks = [check for check in result.checks if not check.passed]
    messages = " ".join(check.message for check in failed_checks)
    names = ", ".join(check.name for check in failed_checks)
    return DataError(
        f"The data known on the morning of {result.date} was refused. {messages}",
        f"Repair the data, or set another threshold if this is how it should be ({names}).",
    )


def _daily_counts(orders: pl.DataFrame) -> pl.DataFrame:
    """Per local day: how many orders, and the hour of the last."""
    local = pl.col("acknowledged_local")
    return (
        orders.group_by(local.dt.date().alias("day"))
        .agg(pl.len().alias("orders"), (local - local.dt.truncate("1d")).max().dt.total_seconds().alias("last"))
        .sort("day")
    )


def _check_minimum(name: str, value: int, threshold: int, description: str) -> GateCheck:
    message = f"There are {value:,} {description}; at least {threshold:,} are needed."
    return GateCheck(name, value, threshold, value >= threshold, message)


def _check_share(name: str, count: int, total: int, threshold: float, description: str) -> GateCheck:
    share = count / total if total else 1.0
    message = f"{share:.1%} of the orders ({count:,}) are {description}; at most {threshold:.0%} may be."
    return GateCheck(name, share, threshold, share <= threshold, message)


def _check_freshness(counts: pl.DataFrame, as_of: date, thresholds: GateThresholds) -> GateCheck:
    last_day = _last_day(counts)
    days_behind = (as_of - last_day).days if last_day else 10_000
    when = f"on {last_day}, {days_behind} days before {as_of}" if last_day else "never"
    message = f"The last order was acknowledged {when}; at most {thresholds.max_days_behind} may lie between."
    return GateCheck(
        "freshness", days_behind, thresholds.max_days_behind, days_behind <= thresholds.max_days_behind, message
    )


def _check_volume(counts: pl.DataFrame, as_of: date, thresholds: GateThresholds) -> GateCheck:
    """The worst of the last days against what its weekday usually has, chance allowed for."""
    orders_by_day: dict[date, int] = dict(zip(counts["day"].to_list(), counts["orders"].to_list(), strict=True))
    worst_description, worst_ratio, passed = "", math.inf, True
    for days_back in range(thresholds.recent_days, 0, -1):
        day = as_of - timedelta(days=days_back)
        if days_back < thresholds.max_days_behind:
            continue  # the caller allows for that day not to be there
        expected = _expected_orders(orders_by_day, day)
        if expected is None:
            continue
        orders = orders_by_day.get(day, 0)
        minimum = thresholds.min_recent_volume * expected
        if orders / expected < worst_ratio:
            worst_ratio, worst_description = (
                orders / expected,
                f"{day} has {orders:,} orders where {expected:,.0f} are usual",
            )
        passed &= orders + NOISE_SIGMAS * math.sqrt(max(minimum, 1.0)) >= minimum
    if not worst_description:
        return GateCheck("volume", 1.0, thresholds.min_recent_volume, True, "There is no other day to compare with.")
    message = f"{worst_description} ({worst_ratio:.0%}); at least {thresholds.min_recent_volume:.0%} are needed, chance allowed for."
    return GateCheck("volume", worst_ratio, thresholds.min_recent_volume, passed, message)


def _expected_orders(orders_by_day: dict[date, int], day: date) -> float | None:
    """The median count of the same weekday in the four weeks before; without one, of the quietest other day.

    Fridays to Sundays have half as many orders again as other days, so other weekdays only tell a lower bound.
    """
    same_weekday = [
        orders_by_day[other_day] for week in range(1, 5) if (other_day := day - timedelta(weeks=week)) in orders_by_day
    ]
    if same_weekday:
        return float(np.median(same_weekday))
    earlier_counts = [orders for other_day, orders in orders_by_day.items() if other_day < day]
    return float(min(earlier_counts)) if earlier_counts else None


def _check_last_evening(counts: pl.DataFrame, as_of: date, thresholds: GateThresholds) -> GateCheck:
    """Whether yesterday ran to its end: an export cut short in the afternoon may still have a normal count."""
    last_day = _last_day(counts)
    if last_day is None or len(counts) < 2 or (as_of - last_day).days > thresholds.max_days_behind:
        message = "There is no last day whose evening could be looked at."
        return GateCheck("last_evening", 0.0, thresholds.max_evening_gap_hours, True, message)
    usual_last_second = float(np.median(counts["last"].to_numpy()[:-1]))
    gap_hours = max(0.0, (usual_last_second - float(counts["last"][-1])) / 3600)
    message = (
        f"The last order of {last_day} came {gap_hours:.1f} h earlier than a day's last order usually does; "
        f"at most {thresholds.max_evening_gap_hours:g} h are allowed."
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
    """What to expect less of with this much data."""
    days = counts["day"].n_unique()
    notes = []
    if days < FULL_WINDOW_DAYS:
        notes.append(
            f"{days} days are fewer than {FULL_WINDOW_DAYS}: three days are held out instead of seven, so calibration "
            "and the comparison with the champion stand on fewer orders."
        )
    if days < 14:
        notes.append("No weekday has been seen twice: what the weekday does is hardly told from chance.")
    return tuple(notes)
