"""The rules about the latest day: how many orders came, and shares that may jump from one day to the next.

The rules about the last seven days' figures: the interval's promise, the backtest's, and the lookup's.

The rules `feature_drift` and `prediction_drift`.
"""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from preptime.evaluation.metrics import COVERAGE_TOLERANCE, INTERVAL_LEVEL
from preptime.evaluation.summary_text import format_percent
from preptime.monitoring.daily_metrics import GroupMetrics
from preptime.monitoring.document import Alert, BacktestBaseline, Drift
from preptime.monitoring.drift import PREDICTION_FEATURE
from preptime.monitoring.outcomes import to_date
from preptime.monitoring.rules import (
    COVERAGE,
    FEATURE_DRIFT,
    PREDICTION_DRIFT,
    VOLUME_HIGH,
    VOLUME_LOW,
    WORSE_THAN_BACKTEST,
    WORSE_THAN_LOOKUP,
    Rule,
    RuleResult,
    insufficient_data,
)

MIN_PAST_DAYS = 7
MAX_PAST_DAYS = 28
MIN_ORDERS = 30
"""Of the latest day, for a share to be judged."""
MIN_EXPECTED_ORDERS = 30
"""A day of a city, for its volume to be judged by itself."""
SHARE_TOLERANCE = 0.05
"""A share may rise by five points whatever the past days say."""
PRIOR_SHARE_SD = 0.01
"""Standard deviation by which days' shares differ beyond chance, until they tell; weighs `USUAL_DAYS` days."""
PRIOR_WEIGHT_DAYS = 10.0
NOISE_SIGMAS = 4.0
"""What chance may do to a count, as in the data gate."""


@dataclass(frozen=True, slots=True)
class DailyShare:
    """A part of the orders of each of D days: [D] each, oldest first, the last the day before this morning."""

    count: NDArray[np.float64]
    total: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _ClosestVolume:
    """The part whose volume is nearest to the threshold."""

    ratio: float
    sentence: str


def evaluate_share(rule: Rule, share: DailyShare, last_day: dt.date, description: str) -> RuleResult:
    """Whether the last day's share is above what its past days lead to expect. `what`: `orders without an answer`."""
    n, k = share.total, share.count
    past = np.flatnonzero(n[:-1] > 0)[-MAX_PAST_DAYS:]
    if len(past) < MIN_PAST_DAYS or n[-1] < MIN_ORDERS:
        return insufficient_data(
            rule, f"Fewer than {MIN_PAST_DAYS} days before, or fewer than {MIN_ORDERS} on {last_day}."
        )
    past_share, current_share = k[past].sum() / n[past].sum(), k[-1] / n[-1]
    pooled = (k[past].sum() + k[-1] + 1) / (n[past].sum() + n[-1] + 2)
    binomial_variance = pooled * (1 - pooled)
    scatter = np.sum((k[past] / n[past] - past_share) ** 2 - binomial_variance / n[past])
    day_variance = max(
        (PRIOR_WEIGHT_DAYS * PRIOR_SHARE_SD**2 + scatter) / (PRIOR_WEIGHT_DAYS + len(past)), 0.25 * PRIOR_SHARE_SD**2
    )
    error = math.sqrt(binomial_variance * (1 / n[-1] + 1 / n[past].sum()) + day_variance * (1 + 1 / len(past)))
    statistic = max(current_share - past_share - SHARE_TOLERANCE, 0.0) / error
    message = f"{format_percent(current_share)} of {n[-1]:,.0f} are {description} on {last_day}, where {format_percent(past_share)} are usual."
    if statistic < rule.threshold:
        return RuleResult(rule, float(statistic), message)
    alert = Alert(
        rule=rule.name,
        segment="overall",
        value="all",
        observed=float(statistic),
        threshold=rule.threshold,
        since=last_day,
        message=message,
    )
    return RuleResult(rule, float(statistic), message, (alert,))


def evaluate_volume(
    orders: NDArray[np.float64], names: tuple[str, ...], last_day: int
) -> tuple[RuleResult, RuleResult]:
    """`volume_low` and `volume_high` from orders a day, [S, D]; the first row is all orders, the others are cities."""
    days_with_orders = np.flatnonzero(orders[0] > 0)
    start = int(days_with_orders[0]) if len(days_with_orders) else orders.shape[1]
    if orders.shape[1] - 1 - start < MIN_PAST_DAYS:
        reason = f"Orders are known for fewer than {MIN_PAST_DAYS} days before {to_date(last_day)}."
        return insufficient_data(VOLUME_LOW, reason), insufficient_data(VOLUME_HIGH, reason)
    return _evaluate_volume_rule(VOLUME_LOW, orders[:, start:], names, last_day), _evaluate_volume_rule(
        VOLUME_HIGH, orders[:, start:], names, last_day
    )


def _evaluate_volume_rule(rule: Rule, orders: NDArray[np.float64], names: tuple[str, ...], last_day: int) -> RuleResult:
    low = rule is VOLUME_LOW
    alerts = list[Alert]()
    closest: _ClosestVolume | None = None
    for row, name in enumerate(names):
        expected = _expected_orders(orders[row], low=low)
        if expected < (MIN_EXPECTED_ORDERS if row else 1):
            continue
        ratio = float(orders[row, -1] / expected)
        location = "" if row == 0 else f" in {name}"
        prefix = f"{orders[row, -1]:,.0f} orders{location} on {to_date(last_day)}"
        message = f"{prefix}, where {expected:,.0f} are usual ({format_percent(ratio, 0)})."
        if _exceeds_noise(float(orders[row, -1]), rule.threshold * expected, low=low):
            alerts.append(_alert(rule, name if row else "all", ratio, last_day, message, is_overall=row == 0))
        if closest is None or (ratio < closest.ratio if low else ratio > closest.ratio):
            closest = _ClosestVolume(ratio, message)
    if closest is None:
        return insufficient_data(rule, "No day before has an order.")
    if alerts and alerts[0].segment == "overall":
        alerts = alerts[:1]  # what holds of all orders need not be said of every city
    if alerts:
        return RuleResult(rule, alerts[0].observed, alerts[0].message, tuple(alerts))
    return RuleResult(rule, closest.ratio, closest.sentence)


def _expected_orders(orders: NDArray[np.float64], *, low: bool) -> float:
    """The median of the same weekday in the four weeks before; without one, of the quietest (busiest) other day."""
    last = len(orders) - 1
    same_weekday = [orders[last - 7 * week] for week in range(1, 5) if last - 7 * week >= 0]
    if same_weekday:
        return float(np.median(same_weekday))
    return float(orders[:-1].min() if low else orders[:-1].max())


def _exceeds_noise(orders: float, threshold: float, *, low: bool) -> bool:
    noise = NOISE_SIGMAS * math.sqrt(max(threshold, 1.0))
    return orders + noise < threshold if low else orders - noise > threshold


def _alert(rule: Rule, value: str, ratio: float, last_day: int, sentence: str, *, is_overall: bool) -> Alert:
    return Alert(
        rule=rule.name,
        segment="overall" if is_overall else "city",
        value=value,
        observed=ratio,
        threshold=rule.threshold,
        since=to_date(last_day),
        message=sentence,
    )


WINDOW_DAYS = 7
MIN_DAYS = 4
"""Of the seven, with orders enough: fewer tell nothing of how days scatter."""
MIN_ORDERS_PER_DAY = 30
"""A day's."""
LOOKUP_TOLERANCE = 0.01
"""How much closer the lookup may be before it is worth a word."""
BACKTEST_TOLERANCE = 0.25
"""How far above the backtest's a week's mean error may lie."""


def evaluate_metrics(
    daily_metrics: GroupMetrics, baseline: BacktestBaseline | None, last_day: dt.date
) -> tuple[RuleResult, ...]:
    """`coverage`, `worse_than_backtest`, `worse_than_lookup`; `by_day` ends with the day before this morning."""
    return (
        _evaluate_coverage(_Week(daily_metrics, "has_interval"), last_day),
        _evaluate_against_backtest(_Week(daily_metrics, "n"), baseline, last_day),
        _evaluate_against_lookup(_Week(daily_metrics, "has_lookup"), last_day),
    )


class _Week:
    """The last seven days with at least `LEAST_ORDERS` of a count."""

    def __init__(self, daily_metrics: GroupMetrics, count: str) -> None:
        n = daily_metrics.sums[count][-WINDOW_DAYS:]
        self._has_enough_orders = n >= MIN_ORDERS_PER_DAY
        self._daily_metrics = daily_metrics
        self.n = n[self._has_enough_orders]

    @property
    def has_enough_days(self) -> bool:
        """Whether there is something to judge by."""
        return len(self.n) >= MIN_DAYS

    def sums(self, name: str) -> NDArray[np.float64]:
        """[days] of a column."""
        return self._daily_metrics.sums[name][-WINDOW_DAYS:][self._has_enough_orders]

    def mean_and_error(self, sums: NDArray[np.float64], min_variance: float = 0.0) -> tuple[float, float]:
        """The mean an order, and its standard error as the days' means scatter; at least what chance makes it."""
        mean = float(sums.sum() / self.n.sum())
        weights = self.n / self.n.sum()
        scatter = float(np.sum(weights**2 * (sums / self.n - mean) ** 2)) * len(self.n) / (len(self.n) - 1)
        return mean, math.sqrt(max(scatter, min_variance / float(self.n.sum()), 1e-18))


def _evaluate_coverage(week: _Week, last_day: dt.date) -> RuleResult:
    if not week.has_enough_days:
        return insufficient_data(COVERAGE, _TOO_FEW_DAYS)
    coverage, error = week.mean_and_error(week.sums("in_interval"), INTERVAL_LEVEL * (1 - INTERVAL_LEVEL))
    statistic = max(abs(coverage - INTERVAL_LEVEL) - COVERAGE_TOLERANCE, 0.0) / error
    message = (
        f"p10 to p90 held {format_percent(coverage)} of the orders of the week to {last_day}; "
        f"{format_percent(INTERVAL_LEVEL, 0)} are promised."
    )
    return _result(COVERAGE, statistic, message, last_day)


def _evaluate_against_backtest(week: _Week, baseline: BacktestBaseline | None, last_day: dt.date) -> RuleResult:
    if baseline is None or not baseline.metrics.mae:
        return insufficient_data(WORSE_THAN_BACKTEST, "The backtest of the models that answer is not known.")
    if not week.has_enough_days:
        return insufficient_data(WORSE_THAN_BACKTEST, _TOO_FEW_DAYS)
    mae, error = week.mean_and_error(week.sums("mae"))
    backtest_mae = baseline.metrics.mae
    statistic = max(mae - (1 + BACKTEST_TOLERANCE) * backtest_mae, 0.0) / error
    message = f"The mean error of the week to {last_day} is {mae:.0f} s; the backtest promised {backtest_mae:.0f} s."
    return _result(WORSE_THAN_BACKTEST, statistic, message, last_day)


def _evaluate_against_lookup(week: _Week, last_day: dt.date) -> RuleResult:
    if not week.has_enough_days:
        return insufficient_data(WORSE_THAN_LOOKUP, _TOO_FEW_DAYS)
    # The error of the orders without a lookup is in the model's sum alone; where some are, days tell no difference.
    if not np.array_equal(week.n, week.sums("n")):
        return insufficient_data(
            WORSE_THAN_LOOKUP, "The lookup is not known for every order: bundles have been pruned."
        )
    difference, error = week.mean_and_error(week.sums("mae") - week.sums("lookup_error"))
    mae, lookup = (float(week.sums(name).sum() / week.n.sum()) for name in ("mae", "lookup_error"))
    message = f"The mean error of the week to {last_day} is {mae:.0f} s; the restaurant lookup's is {lookup:.0f} s."
    statistic = max(difference - LOOKUP_TOLERANCE * lookup, 0.0) / error
    return _result(WORSE_THAN_LOOKUP, statistic, message, last_day)


_TOO_FEW_DAYS = f"Fewer than {MIN_DAYS} of the last {WINDOW_DAYS} days have {MIN_ORDERS_PER_DAY} evaluated orders."


def _result(rule: Rule, statistic: float, message: str, last_day: dt.date) -> RuleResult:
    if statistic < rule.threshold:
        return RuleResult(rule, statistic, message)
    alert = Alert(
        rule=rule.name,
        segment="overall",
        value="all",
        observed=statistic,
        threshold=rule.threshold,
        since=last_day - dt.timedelta(days=WINDOW_DAYS - 1),
        message=message,
    )
    return RuleResult(rule, statistic, message, (alert,))


def evaluate_drift(drift: Drift) -> tuple[RuleResult, RuleResult]:
    """`feature_drift` and `prediction_drift`."""
    return _evaluate_drift_rule(drift, FEATURE_DRIFT), _evaluate_drift_rule(drift, PREDICTION_DRIFT)


def _evaluate_drift_rule(drift: Drift, rule: Rule) -> RuleResult:
    candidates = [
        feature for feature in drift.features if (feature.name == PREDICTION_FEATURE) == (rule is PREDICTION_DRIFT)
    ]
    tested = [feature for feature in candidates if feature.tested and feature.psi is not None]
    if not tested or drift.recent is None:
        return insufficient_data(rule, drift.unavailable_reason or "Too few whole weeks have been answered.")
    alerts = tuple(
        Alert(
            rule=rule.name,
            segment="feature",
            value=feature.name,
            observed=feature.psi or 0.0,
            threshold=rule.threshold,
            since=drift.recent.first,
            message=f"{feature.name} differs from its reference: PSI {feature.psi:.2f} in the week to {drift.recent.last}.",
        )
        for feature in sorted(tested, key=lambda feature: -(feature.psi or 0.0))
        if feature.drifted
    )
    largest = max(tested, key=lambda feature: feature.psi or 0.0)
    if alerts:
        return RuleResult(rule, alerts[0].observed, alerts[0].message, alerts)
    return RuleResult(
        rule, largest.psi, f"The largest is {largest.name}: PSI {largest.psi:.3f}, p {largest.adjusted_p_value:.2g}."
    )
