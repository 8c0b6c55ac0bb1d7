"""Rules on daily counts, weekly metrics, and drift.

The rules `slower_than_predicted` and `faster_than_predicted` are in `shift_rules`.
"""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from preptime.evaluation.metrics import COVERAGE_BAND, INTERVAL_LEVEL
from preptime.evaluation.summary_text import format_minutes, format_percent, without_ends_text
from preptime.formatting import format_count
from preptime.monitoring.daily_metrics import GroupMetrics
from preptime.monitoring.document import Alert, BacktestBaseline, Drift
from preptime.monitoring.drift import PREDICTION_FEATURE
from preptime.monitoring.outcomes import UnusableOrders
from preptime.monitoring.rules import (
    COVERAGE,
    FEATURE_DRIFT,
    MISSING_PREDICTIONS,
    PREDICTION_DRIFT,
    VOLUME_HIGH,
    VOLUME_LOW,
    WORSE_THAN_BACKTEST,
    WORSE_THAN_LOOKUP,
    Rule,
    RuleResult,
    insufficient_data,
)
from preptime.validation.daily_baselines import (
    MAX_PAST_DAYS,
    MIN_ORDERS,
    measure_share_rise,
    usual_for_weekday,
)

MIN_PAST_DAYS = 7
MIN_EXPECTED_ORDERS = 30
"""Per day, to test the volume of a single city."""
MIN_NORMAL_ORDERS = 1.0
"""The normal count of a weekday that is usually closed. Orders on such a day are often misdated or repeated."""
CHANCE_PROBABILITY = 3.17e-5
"""A count is beyond chance if a Poisson count at the threshold is as extreme with a smaller probability: that of four
standard deviations. The data gate allows two, because it tests only the total of a few days."""
MIN_ORDERS_FOR_LOW = math.ceil(-math.log(CHANCE_PROBABILITY) / VOLUME_LOW.threshold)
"""With a smaller normal count, even a day without orders isn't beyond chance."""
WINDOW_DAYS = 7
MIN_DAYS = 4
"""Of the seven, with enough orders. Fewer days give no estimate of their variance."""
MIN_ORDERS_PER_DAY = 30
LOOKUP_TOLERANCE = 0.01
"""The lookup can be better by 1% without an alert."""
BACKTEST_TOLERANCE = 0.25
"""The mean error of a week can be 25% above the backtest's without an alert."""
_TOO_FEW_DAYS = f"Fewer than {MIN_DAYS} of the last {WINDOW_DAYS} days have {MIN_ORDERS_PER_DAY} evaluated orders."


@dataclass(frozen=True, slots=True)
class DailyShare:
    """A count and its total on each of D days, [D] each, oldest first."""

    count: NDArray[np.float64]
    total: NDArray[np.float64]
    unit: str
    """What the total counts, in the plural, such as `usable orders`."""
    predicate: str
    """What the counted ones have in common, such as `have no prediction`."""


@dataclass(frozen=True, slots=True)
class LastDay:
    """The last day of the volume rules, for their messages."""

    date: dt.date
    orders: int
    """All orders of the day, usable or not."""
    unusable: UnusableOrders


@dataclass(frozen=True, slots=True)
class _ClosestVolume:
    """The segment whose volume is closest to the threshold."""

    ratio: float
    message: str


def evaluate_share(rule: Rule, share: DailyShare, last_day: dt.date) -> RuleResult:
    """Return whether the share of the last day is above that of past days."""
    n, k = share.total, share.count
    past = np.flatnonzero(n[:-1] > 0)[-MAX_PAST_DAYS:]
    if len(past) < MIN_PAST_DAYS:
        return insufficient_data(
            rule, f"{format_count(len(past), 'past day')} with {share.unit}. The rule needs {MIN_PAST_DAYS}."
        )
    if n[-1] < MIN_ORDERS:
        return insufficient_data(rule, f"{n[-1]:,.0f} {share.unit} on {last_day}. The rule needs {MIN_ORDERS}.")
    rise = measure_share_rise(k, n)
    message = (
        f"On {last_day}, {format_percent(rise.current)} of {n[-1]:,.0f} {share.unit} {share.predicate}. "
        f"The normal share is {format_percent(rise.usual)}."
    )
    return _overall_result(rule, rise.statistic(), message, last_day)


def evaluate_missing_predictions(share: DailyShare, predictions: int, last_day: dt.date) -> RuleResult:
    """Return whether the share of orders without a prediction is above that of past days.

    If the last day has orders and predictions, and no prediction is of one of the orders, their order keys differ.
    Then past days, whose orders can have other keys too, aren't normal, so the day is compared with none missing.

    Args:
        share: Orders without a prediction. The total is all usable orders.
        predictions: Predictions of the last day, with or without an outcome.
        last_day: The last day of `share`.
    """
    orders = float(share.total[-1])
    if share.count[-1] < orders or min(orders, predictions) < MIN_ORDERS:
        return evaluate_share(MISSING_PREDICTIONS, share, last_day)
    rise = measure_share_rise(np.array([0.0, orders]), np.array([orders, orders]))
    message = (
        f"None of {predictions:,} predictions of {last_day} is of one of its {orders:,.0f} usable orders. "
        "Check whether the order IDs changed: predictions and orders need the same."
    )
    return _overall_result(MISSING_PREDICTIONS, rise.statistic(), message, last_day)


def evaluate_volume(
    usable: NDArray[np.float64], names: tuple[str, ...], last_day: LastDay
) -> tuple[RuleResult, RuleResult]:
    """Return the results of `volume_low` and `volume_high`.

    `usable` are usable orders per day, [S, D]. The first row is all orders, and the others are cities.
    """
    days_with_orders = np.flatnonzero(usable[0] > 0)
    start = int(days_with_orders[0]) if len(days_with_orders) else usable.shape[1] - 1
    if (past_days := usable.shape[1] - 1 - start) < MIN_PAST_DAYS:
        reason = (
            f"The first usable order is {format_count(past_days, 'day')} before {last_day.date}. "
            f"The rule needs {MIN_PAST_DAYS} days."
        )
        return insufficient_data(VOLUME_LOW, reason), insufficient_data(VOLUME_HIGH, reason)
    low, high = (_evaluate_volume_rule(rule, usable[:, start:], names, last_day) for rule in (VOLUME_LOW, VOLUME_HIGH))
    return low, high


def _evaluate_volume_rule(
    rule: Rule, orders: NDArray[np.float64], names: tuple[str, ...], last_day: LastDay
) -> RuleResult:
    low = rule is VOLUME_LOW
    alerts = list[Alert]()
    closest: _ClosestVolume | None = None
    for row, name in enumerate(names):
        expected = _expected_orders(orders[row])
        if expected < MIN_EXPECTED_ORDERS if row else not orders[row, :-1].any():
            continue
        if low and MIN_NORMAL_ORDERS <= expected < MIN_ORDERS_FOR_LOW:
            return insufficient_data(
                rule,
                f"The normal number of usable orders on {last_day.date} is {expected:,.0f}. "
                f"The rule needs {MIN_ORDERS_FOR_LOW}.",
            )
        ratio, description = _compare_with_normal(float(orders[row, -1]), expected, low=low)
        message = (
            f"{orders[row, -1]:,.0f} usable orders{f' in {name}' if row else ''} on {last_day.date}, {description}."
        )
        if _is_beyond_chance(float(orders[row, -1]), rule.threshold * max(expected, MIN_NORMAL_ORDERS), low=low):
            if low and row == 0:
                message = _low_volume_message(int(orders[row, -1]), expected, last_day)
            alerts.append(_alert(rule, name if row else "all", ratio, last_day.date, message, is_overall=row == 0))
        if closest is None or (ratio < closest.ratio if low else ratio > closest.ratio):
            closest = _ClosestVolume(ratio, message)
    if closest is None:
        return insufficient_data(rule, "No past day has usable orders.")
    if alerts and alerts[0].segment == "overall":
        alerts = alerts[:1]  # an alert on all orders covers every city
    if alerts:
        return RuleResult(rule, alerts[0].observed, alerts[0].message, tuple(alerts))
    return RuleResult(rule, closest.ratio, closest.message)


def _compare_with_normal(orders: float, expected: float, *, low: bool) -> tuple[float, str]:
    """Return the ratio of a count to the normal count, and its description.

    The normal count is at least `MIN_NORMAL_ORDERS`. On a weekday that is usually closed, no count is low.
    """
    if expected < MIN_NORMAL_ORDERS:
        ratio = orders / MIN_NORMAL_ORDERS
        return max(ratio, 1.0) if low else ratio, "a weekday that usually has none"
    ratio = orders / expected
    return ratio, f"{format_percent(ratio, 0)} of the normal {expected:,.0f}"


def _low_volume_message(usable: int, expected: float, last_day: LastDay) -> str:
    """Return how many orders exist, how many of them are usable, and why the others aren't.

    Some orders are always open at midnight. They are part of the message only if they explain the low volume.
    """
    unusable = last_day.unusable
    open_orders = unusable.open_orders if unusable.open_orders > usable else 0
    causes = replace(unusable, open_orders=open_orders).describe()
    total = last_day.orders + open_orders
    usable_text = f", {usable:,} usable" if total else ""
    return (
        f"{format_count(total, 'order')} on {last_day.date}{usable_text}: "
        f"{format_percent(usable / expected, 0)} of the normal {expected:,.0f} usable orders."
        + (f" Not usable: {causes}." if causes else "")
    )


def _expected_orders(orders: NDArray[np.float64]) -> float:
    """Return the usual count of the weekday of the last day, or 0 if it usually has no orders.

    Days without orders before an opening, or of a break, don't lower the usual count of the days with orders.
    """
    past, last = dict(enumerate(orders[:-1].tolist())), len(orders) - 1
    if not usual_for_weekday(past, last):
        return 0.0
    return usual_for_weekday({day: count for day, count in past.items() if count}, last) or 0.0


def _is_beyond_chance(orders: float, threshold: float, *, low: bool) -> bool:
    """Return whether a Poisson count with the mean `threshold` is rarely so low, or so high."""
    from scipy.special import pdtr, pdtrc

    return bool((pdtr(orders, threshold) if low else pdtrc(orders - 1, threshold)) < CHANCE_PROBABILITY)


def _alert(rule: Rule, value: str, ratio: float, last_day: dt.date, message: str, *, is_overall: bool) -> Alert:
    return Alert(
        rule=rule.name,
        segment="overall" if is_overall else "city",
        value=value,
        observed=ratio,
        threshold=rule.threshold,
        since=last_day,
        message=message,
    )


def evaluate_metrics(
    daily_metrics: GroupMetrics, baseline: BacktestBaseline | None, last_day: dt.date
) -> tuple[RuleResult, ...]:
    """Return the results of `coverage`, `worse_than_backtest`, and `worse_than_lookup`.

    `daily_metrics` ends with `last_day`.
    """
    return (
        _evaluate_coverage(_Week(daily_metrics, "has_interval"), last_day),
        _evaluate_against_backtest(_Week(daily_metrics, "n"), baseline, last_day),
        _evaluate_against_lookup(_Week(daily_metrics, "has_lookup"), last_day),
    )


class _Week:
    """Those of the last seven days in which a count reaches `MIN_ORDERS_PER_DAY`."""

    def __init__(self, daily_metrics: GroupMetrics, count: str) -> None:
        n = daily_metrics.sums[count][-WINDOW_DAYS:]
        self._has_enough_orders = n >= MIN_ORDERS_PER_DAY
        self._daily_metrics = daily_metrics
        self.n = n[self._has_enough_orders]

    @property
    def has_enough_days(self) -> bool:
        """Whether enough days have enough orders."""
        return len(self.n) >= MIN_DAYS

    def sums(self, name: str) -> NDArray[np.float64]:
        """Return the daily sums of a column, [days]."""
        return self._daily_metrics.sums[name][-WINDOW_DAYS:][self._has_enough_orders]

    def mean_and_error(self, sums: NDArray[np.float64], min_variance: float = 0.0) -> tuple[float, float]:
        """Return the mean per order and its standard error from the variance of days, or from chance if larger."""
        mean = float(sums.sum() / self.n.sum())
        weights = self.n / self.n.sum()
        scatter = float(np.sum(weights**2 * (sums / self.n - mean) ** 2)) * len(self.n) / (len(self.n) - 1)
        return mean, math.sqrt(max(scatter, min_variance / float(self.n.sum()), 1e-18))


def _evaluate_coverage(week: _Week, last_day: dt.date) -> RuleResult:
    if not week.has_enough_days:
        return insufficient_data(COVERAGE, _TOO_FEW_DAYS)
    # As in the gate: outcomes at the ends of the interval can count as covered or not.
    variance, (lowest, highest) = INTERVAL_LEVEL * (1 - INTERVAL_LEVEL), COVERAGE_BAND
    coverage, error = week.mean_and_error(week.sums("in_interval"), variance)
    inside, inside_error = week.mean_and_error(week.sums("inside_interval"), variance)
    statistic = max((lowest - coverage) / error, (inside - highest) / inside_error, 0.0)
    message = (
        f"The p10–p90 interval held {format_percent(coverage)} of the orders{without_ends_text(coverage, inside)} in "
        f"the seven days to {last_day}. The target is {format_percent(INTERVAL_LEVEL, 0)}."
    )
    return _overall_result(COVERAGE, statistic, message, _first_day(last_day))


def _evaluate_against_backtest(week: _Week, baseline: BacktestBaseline | None, last_day: dt.date) -> RuleResult:
    if baseline is None or not baseline.metrics.mae:
        return insufficient_data(WORSE_THAN_BACKTEST, "The bundles behind the predictions have no backtest.")
    if not week.has_enough_days:
        return insufficient_data(WORSE_THAN_BACKTEST, _TOO_FEW_DAYS)
    mae, error = week.mean_and_error(week.sums("mae"))
    backtest_mae = baseline.metrics.mae
    statistic = max(mae - (1 + BACKTEST_TOLERANCE) * backtest_mae, 0.0) / error
    message = (
        f"The mean error of the seven days to {last_day} is {format_minutes(mae)} minutes. The backtest's is "
        f"{format_minutes(backtest_mae)} minutes."
    )
    return _overall_result(WORSE_THAN_BACKTEST, statistic, message, _first_day(last_day))


def _evaluate_against_lookup(week: _Week, last_day: dt.date) -> RuleResult:
    if not week.has_enough_days:
        return insufficient_data(WORSE_THAN_LOOKUP, _TOO_FEW_DAYS)
    # The sums of the model include orders without a lookup, so both are comparable only if no such orders exist.
    if not np.array_equal(week.n, week.sums("n")):
        return insufficient_data(
            WORSE_THAN_LOOKUP, "The restaurant lookup isn't known for every order, because bundles were pruned."
        )
    difference, error = week.mean_and_error(week.sums("mae") - week.sums("lookup_error"))
    mae, lookup = (float(week.sums(name).sum() / week.n.sum()) for name in ("mae", "lookup_error"))
    message = (
        f"The mean error of the seven days to {last_day} is {format_minutes(mae)} minutes. The restaurant lookup's is "
        f"{format_minutes(lookup)} minutes."
    )
    statistic = max(difference - LOOKUP_TOLERANCE * lookup, 0.0) / error
    return _overall_result(WORSE_THAN_LOOKUP, statistic, message, _first_day(last_day))


def _first_day(last_day: dt.date) -> dt.date:
    return last_day - dt.timedelta(days=WINDOW_DAYS - 1)


def _overall_result(rule: Rule, statistic: float, message: str, since: dt.date) -> RuleResult:
    if statistic < rule.threshold:
        return RuleResult(rule, statistic, message)
    alert = Alert(
        rule=rule.name,
        segment="overall",
        value="all",
        observed=statistic,
        threshold=rule.threshold,
        since=since,
        message=message,
    )
    return RuleResult(rule, statistic, message, (alert,))


def evaluate_drift(drift: Drift) -> tuple[RuleResult, RuleResult]:
    """Return the results of `feature_drift` and `prediction_drift`."""
    return _evaluate_drift_rule(drift, FEATURE_DRIFT), _evaluate_drift_rule(drift, PREDICTION_DRIFT)


def _evaluate_drift_rule(drift: Drift, rule: Rule) -> RuleResult:
    candidates = [
        feature for feature in drift.features if (feature.name == PREDICTION_FEATURE) == (rule is PREDICTION_DRIFT)
    ]
    tested = [feature for feature in candidates if feature.tested and feature.psi is not None]
    if not tested or drift.recent is None:
        return insufficient_data(rule, drift.unavailable_reason or "There are too few whole weeks with predictions.")
    alerts = tuple(
        Alert(
            rule=rule.name,
            segment="feature",
            value=feature.name,
            observed=feature.psi or 0.0,
            threshold=rule.threshold,
            since=drift.recent.first,
            message=f"The distribution of {feature.name} differs from its reference: PSI {feature.psi:.2f} in the "
            f"seven days to {drift.recent.last}.",
        )
        for feature in sorted(tested, key=lambda feature: -(feature.psi or 0.0))
        if feature.drifted
    )
    largest = max(tested, key=lambda feature: feature.psi or 0.0)
    if alerts:
        return RuleResult(rule, alerts[0].observed, alerts[0].message, alerts)
    return RuleResult(
        rule,
        largest.psi,
        f"The largest change is in {largest.name}: PSI {largest.psi:.3f}, p {largest.adjusted_p_value:.2g}.",
    )
