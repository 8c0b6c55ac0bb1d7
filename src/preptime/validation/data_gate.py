"""The data gate: checks before training whether the data is complete and recent enough for a model."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime, time, timedelta

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from preptime.domain.validation_reasons import Purpose, ValidationReason, exclusion_mask, reasons_in_mask
from preptime.errors import DataError, UsageError
from preptime.formatting import format_count
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


THRESHOLDS_BY_CHECK = {
    "days": "min_days",
    "orders": "min_orders",
    "freshness": "max_days_behind",
    "volume": "min_recent_volume",
    "last_evening": "max_evening_gap_hours",
    "unknown_restaurants": "max_unknown_restaurant_share",
    "unusable_orders": "max_unusable_share",
}
"""The threshold of each check. `recent_days` has no check of its own: it widens the check of the volume."""


def gate_option(threshold: str, value: float) -> str:
    """Return the option that sets a threshold, as a user types it.

    Example:
        >>> gate_option("min_days", 3), gate_option("max_unusable_share", 0.25)
        ('--gate min_days=3', '--gate max_unusable_share=0.25')
    """
    return f"--gate {threshold}={value:.12g}"


def thresholds_from_settings(settings: Mapping[str, float]) -> GateThresholds:
    """Return the default thresholds with `settings` applied. Raises `UsageError` for an unknown name or a bad value."""
    defaults = asdict(GateThresholds())
    unknown = sorted(settings.keys() - defaults.keys())
    if unknown:
        names = [*THRESHOLDS_BY_CHECK, *defaults]
        closest = difflib.get_close_matches(unknown[0], names, n=1)
        suggestion = ""
        if closest:
            threshold = THRESHOLDS_BY_CHECK.get(closest[0], closest[0])
            suggestion = f"Use {gate_option(threshold, settings[unknown[0]])}. "
        raise UsageError(
            f"The data gate has no threshold {unknown[0]!r}.", f"{suggestion}The thresholds are {', '.join(defaults)}."
        )
    unlimited = next((name for name, value in settings.items() if not math.isfinite(value) or value < 0), None)
    if unlimited is not None:
        raise UsageError(
            f"The threshold {unlimited} of the data gate is {settings[unlimited]:g}.", "Use a number from 0."
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
    accepted_by: float | None = None
    """For a failed check, the value of the threshold that accepts the data. Null if no value does."""

    @property
    def option(self) -> str | None:
        """The option that accepts the data, such as `--gate min_days=3`. None if no value of the threshold does."""
        if self.passed or self.accepted_by is None:
            return None
        return gate_option(THRESHOLDS_BY_CHECK[self.name], self.accepted_by)


class Shortfall(msgspec.Struct, frozen=True):
    """A requirement of training that the data doesn't meet and that no option changes."""

    message: str
    """What training needs, and what the data has."""
    remedy: str
    """The least that would be enough."""
    least_days: int = 0
    """The number of days that would be enough. 0 if more days don't help."""
    missing_orders: int = 0
    """The number of additional orders that would be enough."""
    resolved_checks: tuple[str, ...] = ()
    """The failed checks that pass, too, after the remedy."""


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
            usable_count,
            thresholds.min_orders,
            f"{usable_count:,} of {format_count(known_count, 'order')} can be used for fitting",
        ),
        _check_freshness(counts, as_of, thresholds),
        _check_volume(counts, as_of, thresholds),
        _check_last_evening(counts, thresholds),
        _check_share(
            "unknown_restaurants",
            _count_with_reason(known_orders, ValidationReason.UNKNOWN_RESTAURANT),
            known_count,
            thresholds.max_unknown_restaurant_share,
            "orders are of restaurants that aren't in the restaurants file",
        ),
        _check_share(
            "unusable_orders",
            checked_count - usable_count,
            checked_count,
            thresholds.max_unusable_share,
            f"orders can't be used for fitting{_fitting_reasons(audited, is_known | is_undated.to_numpy())}",
        ),
    )
    return GateResult(str(as_of), all(check.passed for check in checks), checks, _notes(counts))


def evaluate_daily_counts(orders_by_day: Mapping[date, int], as_of: date, thresholds: GateThresholds) -> GateResult:
    """Check only the freshness and volume of completed orders, before they are used as history."""
    counts = pl.DataFrame(sorted(orders_by_day.items()), {"day": pl.Date, "orders": pl.Int64}, orient="row")
    checks = (
        _check_freshness(counts, as_of, thresholds),
        _check_volume(counts, as_of, thresholds, noun="completed order"),
    )
    return GateResult(str(as_of), all(check.passed for check in checks), checks, ())


def gate_error(result: GateResult, shortfalls: Sequence[Shortfall] = ()) -> DataError:
    """Return the error for data that can't be used: every failed check and shortfall, and every option that helps.

    An option accepts the data as it is. With a shortfall, it accepts the least that is enough.
    """
    failed_checks = [check for check in result.checks if not check.passed]
    messages = [*(check.message for check in failed_checks), *(shortfall.message for shortfall in shortfalls)]
    options = [check.option for check in _with_least_values(failed_checks, shortfalls) if check.option is not None]
    if shortfalls:
        hint = " ".join(shortfall.remedy for shortfall in shortfalls)
        option_text = f" Then accept the other limits with {' '.join(options)}." if options else ""
    else:
        hint = "Repair the data."
        option_text = f" If it's correct, accept it with {' '.join(options)}." if options else ""
    failure = "didn't pass the data gate" if failed_checks else "isn't enough for training"
    return DataError(f"The data as of {result.date} {failure}. {' '.join(messages)}", hint + option_text)


def _with_least_values(checks: Sequence[GateCheck], shortfalls: Sequence[Shortfall]) -> list[GateCheck]:
    """Return the checks that fail even with the least that the shortfalls ask for, with the values that accept it."""
    least = {
        "days": max((shortfall.least_days for shortfall in shortfalls), default=0),
        "orders": sum(shortfall.missing_orders for shortfall in shortfalls)
        + next((check.value for check in checks if check.name == "orders"), 0),
    }
    adjusted = [
        msgspec.structs.replace(check, accepted_by=max(check.accepted_by or 0, least[check.name]) or None)
        if check.name in least
        else check
        for check in checks
    ]
    resolved = {name for shortfall in shortfalls for name in shortfall.resolved_checks}
    resolved |= {
        check.name for check in adjusted if check.name in least and (check.accepted_by or 0) >= check.threshold
    }
    return [check for check in adjusted if check.name not in resolved]


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


def _check_share(name: str, count: int, total: int, threshold: float, description: str) -> GateCheck:
    """Compare a share with its maximum. Without any order, it's the subject of the other checks."""
    share = count / total if total else 0.0
    message = f"{count:,} of {total:,} {description}; the maximum is {100 * threshold:g}% (now {100 * share:.4g}%)."
    return GateCheck(name, share, threshold, share <= threshold, message, _round_up(share, 2))


def _round_up(value: float, digits: int) -> float:
    """Return a short number that isn't less than `value`."""
    scale = 10.0**digits
    return math.ceil(value * scale - 1e-9) / scale


def _fitting_reasons(audited: AuditedOrders, rows: NDArray[np.bool_]) -> str:
    """Return the reasons that exclude `rows` from fitting, with their numbers of orders, such as ` (label_zero 3)`."""
    counts = {
        reason: int(np.count_nonzero(audited.reasons[rows] & np.uint32(reason.bit)))
        for reason in reasons_in_mask(exclusion_mask(Purpose.FITTING))
    }
    text = ", ".join(f"{reason} {count:,}" for reason, count in counts.items() if count)
    return f" ({text})" if text else ""


def _check_freshness(counts: pl.DataFrame, as_of: date, thresholds: GateThresholds) -> GateCheck:
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


def _missing_days(last_day: date, as_of: date) -> str:
    """Return the days between two dates as text, such as ` (none on 2015-06-17)`."""
    first, last = last_day + timedelta(days=1), as_of - timedelta(days=1)
    if first > last:
        return ""
    return f" (none on {first})" if first == last else f" (none from {first} to {last})"


def _check_volume(counts: pl.DataFrame, as_of: date, thresholds: GateThresholds, noun: str = "order") -> GateCheck:
    """Compare the recent days with the usual number of orders of their weekdays, allowing for random variation.

    Days after the last order are the subject of the check of the freshness.
    """
    last_day = _last_day(counts)
    first_days_back = max(thresholds.max_days_behind, (as_of - last_day).days if last_day else 0)
    orders_by_day: dict[date, int] = dict(zip(counts["day"].to_list(), counts["orders"].to_list(), strict=True))
    worst_description, worst_ratio, passed = "", math.inf, True
    for days_back in range(thresholds.recent_days, 0, -1):
        day = as_of - timedelta(days=days_back)
        if days_back < first_days_back:
            continue  # this day has no order, or the freshness threshold allows it to be missing
        expected = _expected_orders(orders_by_day, day)
        if expected is None:
            continue
        orders = orders_by_day.get(day, 0)
        minimum = thresholds.min_recent_volume * expected
        if orders / expected < worst_ratio:
            worst_ratio, worst_description = (
                orders / expected,
                f"{day} has {format_count(orders, noun)}, and the usual number is {expected:,.0f}",
            )
        passed &= orders + NOISE_SIGMAS * math.sqrt(max(minimum, 1.0)) >= minimum
    if not worst_description:
        return GateCheck("volume", 1.0, thresholds.min_recent_volume, True, "There is no earlier day to compare with.")
    message = (
        f"{worst_description} ({worst_ratio:.0%}); the minimum is {100 * thresholds.min_recent_volume:g}%, "
        "minus random variation."
    )
    accepted_by = math.floor(100 * worst_ratio) / 100
    return GateCheck("volume", worst_ratio, thresholds.min_recent_volume, passed, message, accepted_by)


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
        _round_up(gap_hours, 1),
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
