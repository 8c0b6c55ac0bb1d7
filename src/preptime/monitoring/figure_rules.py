"""The rules about the last seven days' figures: the interval's promise, the backtest's, and the lookup's."""

from __future__ import annotations

import datetime as dt
import math

import numpy as np
from numpy.typing import NDArray

from preptime.evaluation.scores import COVERAGE_TOLERANCE, INTERVAL_LEVEL
from preptime.evaluation.verdict import format_percent
from preptime.monitoring.document import Alert, BacktestBaseline
from preptime.monitoring.figures import GroupMetrics
from preptime.monitoring.rules import (
    COVERAGE,
    WORSE_THAN_BACKTEST,
    WORSE_THAN_LOOKUP,
    Rule,
    RuleResult,
    insufficient_data,
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
