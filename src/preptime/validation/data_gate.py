"""The data gate: its thresholds, its results, and the error for data that it refuses.

The checks are in `preptime.validation.gate_checks` and `preptime.validation.label_checks`.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import msgspec

from preptime.errors import DataError, PermanentDataError, PreptimeError, UsageError
from preptime.validation.daily_baselines import SHARE_TOLERANCE


@dataclass(frozen=True, slots=True)
class GateThresholds:
    """The thresholds of the data gate. Each can be set."""

    min_days: int = 7
    """Days with orders. Every weekday occurs once. The gate has three of them, and its first models are fitted on four.
    """
    min_orders: int = 1_000
    """Orders that can be used for fitting. A tenth of three held-out days must be enough orders (about 40) to estimate
    the outer quantiles."""
    max_days_behind: int = 1
    """Days between the as-of date and the last order: 1 means that yesterday is present. An older history makes the
    predictions of every evening stale."""
    recent_days: int = 3
    """Number of most recent days whose volume and labels are checked. The promotion gate evaluates models on these
    days."""
    min_recent_volume: float = 0.6
    """Orders of a day divided by the usual number for its weekday. It's between 0.8 and 1.2 on real days, and lower for
    half an export."""
    max_evening_gap_hours: float = 3.0
    """How much earlier than usual the last order of yesterday can be. An export at 18:00 has no evening orders."""
    max_unknown_restaurant_share: float = 0.1
    """Share of orders from unknown restaurants. About 5% of a week's orders come from new restaurants. A higher share
    means that the restaurants file is outdated."""
    max_unusable_share: float = 0.1
    """Share of orders excluded from fitting, without open orders. It's 0.9% in real data. A tenth indicates a broken
    export."""
    max_open_share: float = 0.3
    """Share of orders without a label, and its rise on a recent day. Some restaurants never report that an order is
    ready: companies have up to 20% of such orders. A higher share means that a column or a join is broken."""
    max_short_label_share: float = 0.4
    """Share of labels under a minute. It's 3% in real data. A coffee shop with a median of 90 s has about 30%. Labels
    that are minutes instead of seconds have 70% (median 45) to 100%."""
    max_long_label_share: float = 0.05
    """Share of labels over three hours. It's 0.6% in real data, and 1.5% on its worst day. Labels in milliseconds have
    100%."""
    max_share_rise: float = SHARE_TOLERANCE
    """How much higher than usual a recent day's share of labels under a minute, or over three hours, can be, beyond
    chance. Monitoring uses the same statistic and the same value."""
    max_median_ratio: float = 2.0
    """The median label of a recent day relative to the usual one for its weekday, and of a week relative to another.
    The largest ratio of a real day is 1.5 (a final with many deliveries). A wrong time zone gives at least 2.4."""


THRESHOLDS_BY_CHECK = {
    "days": "min_days",
    "orders": "min_orders",
    "freshness": "max_days_behind",
    "volume": "min_recent_volume",
    "last_evening": "max_evening_gap_hours",
    "unknown_restaurants": "max_unknown_restaurant_share",
    "unusable_orders": "max_unusable_share",
    "open_orders": "max_open_share",
    "latest_open_orders": "max_open_share",
    "short_labels": "max_short_label_share",
    "long_labels": "max_long_label_share",
    "latest_short_labels": "max_share_rise",
    "latest_long_labels": "max_share_rise",
    "latest_median": "max_median_ratio",
    "weekly_median": "max_median_ratio",
}
"""The threshold of each check. `recent_days` has no check of its own: it's the number of days of other checks."""


CHECKS_OF_LATE_DATA = frozenset(
    {"freshness", "volume", "last_evening", "unknown_restaurants", "open_orders", "latest_open_orders"}
)
"""The checks that can pass a few minutes later, when the rest of the data has arrived."""
MAX_LATE_DAYS = 7
"""Data whose last order is older doesn't arrive late: its source has stopped, or it's an old export."""


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
    remedy: str = ""
    """For a failed check, what probably corrects the data, such as a line of the schema."""

    @property
    def option(self) -> str | None:
        """The option that accepts the data, such as `--gate min_days=3`. None if no value of the threshold does."""
        if self.passed or self.accepted_by is None:
            return None
        return gate_option(THRESHOLDS_BY_CHECK[self.name], self.accepted_by)


def share_check(name: str, count: int, total: int, threshold: float, description: str) -> GateCheck:
    """Compare a share with its maximum. Without any order, it's the subject of the other checks."""
    share = count / total if total else 0.0
    message = f"{count:,} of {total:,} {description}; the maximum is {100 * threshold:g}% (now {100 * share:.4g}%)."
    return GateCheck(name, share, threshold, share <= threshold, message, round_up(share, 2))


def round_up(value: float, digits: int) -> float:
    """Return a short number that isn't less than `value`.

    Example:
        >>> round_up(0.1234, 2)
        0.13
    """
    scale = 10.0**digits
    return math.ceil(value * scale - 1e-9) / scale


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
    error: type[PreptimeError] = DataError
    """The error if nothing else is refused: `DataError`, unless something other than the data must change."""


class GateResult(msgspec.Struct, frozen=True):
    """The result of the data gate: every check, and notes about limits of data that passed."""

    date: str
    passed: bool
    checks: tuple[GateCheck, ...]
    notes: tuple[str, ...]


def gate_error(result: GateResult, shortfalls: Sequence[Shortfall] = ()) -> PreptimeError:
    """Return the error for data that can't be used: every failed check and shortfall, and every option that helps.

    An option accepts the data as it is. With a shortfall, it accepts the least that is enough. If the data is enough,
    the error is that of the first shortfall. Otherwise it's a `DataError` if all failed checks can pass when late data
    arrives, and a `PermanentDataError` if not.
    """
    failed_checks = [check for check in result.checks if not check.passed]
    messages = [*(check.message for check in failed_checks), *(shortfall.message for shortfall in shortfalls)]
    if not failed_checks and all(shortfall.error is not DataError for shortfall in shortfalls):
        return shortfalls[0].error(" ".join(messages), " ".join(shortfall.remedy for shortfall in shortfalls))
    options = _merge_options(_with_least_values(failed_checks, shortfalls))
    remedies = [*(shortfall.remedy for shortfall in shortfalls), *(check.remedy for check in failed_checks)]
    hint = " ".join(dict.fromkeys(remedy for remedy in remedies if remedy)) or "Repair the data."
    introduction = "Then accept the other limits" if shortfalls else "If the data is correct, accept it"
    option_text = f" {introduction} with {' '.join(options)}." if options else ""
    failure = "didn't pass the data gate" if failed_checks else "isn't enough for training"
    can_pass_later = not shortfalls and all(map(_can_pass_later, failed_checks))
    error_class = DataError if can_pass_later else PermanentDataError
    return error_class(f"The data as of {result.date} {failure}. {' '.join(messages)}", hint + option_text)


def _can_pass_later(check: GateCheck) -> bool:
    return check.name in CHECKS_OF_LATE_DATA and not (check.name == "freshness" and check.value > MAX_LATE_DAYS)


def _merge_options(checks: Sequence[GateCheck]) -> list[str]:
    """Return one option per threshold, which all checks with this threshold pass."""
    loosest: dict[str, float] = {}
    for check in checks:
        if check.option is not None and check.accepted_by is not None:
            threshold, value = THRESHOLDS_BY_CHECK[check.name], check.accepted_by
            choose = min if threshold.startswith("min_") else max
            loosest[threshold] = choose(value, loosest.get(threshold, value))
    return [gate_option(threshold, value) for threshold, value in loosest.items()]


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
