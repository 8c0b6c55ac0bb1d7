"""The rules about the last seven days' figures: the interval's promise, the backtest's, and the lookup's."""

from __future__ import annotations

import datetime as dt
import math

import numpy as np
from numpy.typing import NDArray

from preptime.evaluation.scores import COVERAGE_TOLERANCE, INTERVAL_LEVEL
from preptime.evaluation.verdict import in_percent
from preptime.monitoring.document import Alert, Promise
from preptime.monitoring.figures import Grouped
from preptime.monitoring.rules import COVERAGE, WORSE_THAN_LOOKUP, WORSE_THAN_PROMISED, Judged, Rule, unknown

DAYS = 7
LEAST_DAYS = 4
"""Of the seven, with orders enough: fewer tell nothing of how days scatter."""
LEAST_ORDERS = 30
"""A day's."""
LOOKUP_TOLERATED = 0.01
"""How much closer the lookup may be before it is worth a word."""
WORSE_BY = 0.25
"""How far above the backtest's a week's mean error may lie."""


def judge_figures(by_day: Grouped, promise: Promise | None, last: dt.date) -> tuple[Judged, ...]:
    """`coverage`, `worse_than_promised`, `worse_than_lookup`; `by_day` ends with the day before this morning."""
    return (
        _coverage(_Week(by_day, "told"), last),
        _promised(_Week(by_day, "n"), promise, last),
        _lookup(_Week(by_day, "known"), last),
    )


class _Week:
    """The last seven days with at least `LEAST_ORDERS` of a count."""

    def __init__(self, by_day: Grouped, count: str) -> None:
        n = by_day.sums[count][-DAYS:]
        self._kept = n >= LEAST_ORDERS
        self._by_day = by_day
        self.n = n[self._kept]

    @property
    def enough(self) -> bool:
        """Whether there is something to judge by."""
        return len(self.n) >= LEAST_DAYS

    def sums(self, name: str) -> NDArray[np.float64]:
        """[days] of a column."""
        return self._by_day.sums[name][-DAYS:][self._kept]

    def mean_and_error(self, sums: NDArray[np.float64], least_variance: float = 0.0) -> tuple[float, float]:
        """The mean an order, and its standard error as the days' means scatter; at least what chance makes it."""
        mean = float(sums.sum() / self.n.sum())
        weights = self.n / self.n.sum()
        scatter = float(np.sum(weights**2 * (sums / self.n - mean) ** 2)) * len(self.n) / (len(self.n) - 1)
        return mean, math.sqrt(max(scatter, least_variance / float(self.n.sum()), 1e-18))


def _coverage(week: _Week, last: dt.date) -> Judged:
    if not week.enough:
        return unknown(COVERAGE, _TOO_FEW)
    coverage, error = week.mean_and_error(week.sums("inside"), INTERVAL_LEVEL * (1 - INTERVAL_LEVEL))
    evidence = max(abs(coverage - INTERVAL_LEVEL) - COVERAGE_TOLERANCE, 0.0) / error
    sentence = (
        f"p10 to p90 held {in_percent(coverage)} of the orders of the week to {last}; "
        f"{in_percent(INTERVAL_LEVEL, 0)} are promised."
    )
    return _judged(COVERAGE, evidence, sentence, last)


def _promised(week: _Week, promise: Promise | None, last: dt.date) -> Judged:
    if promise is None or not promise.figures.mae:
        return unknown(WORSE_THAN_PROMISED, "The backtest of the models that answer is not known.")
    if not week.enough:
        return unknown(WORSE_THAN_PROMISED, _TOO_FEW)
    mae, error = week.mean_and_error(week.sums("mae"))
    promised = promise.figures.mae
    evidence = max(mae - (1 + WORSE_BY) * promised, 0.0) / error
    sentence = f"The mean error of the week to {last} is {mae:.0f} s; the backtest promised {promised:.0f} s."
    return _judged(WORSE_THAN_PROMISED, evidence, sentence, last)


def _lookup(week: _Week, last: dt.date) -> Judged:
    if not week.enough:
        return unknown(WORSE_THAN_LOOKUP, _TOO_FEW)
    # The error of the orders without a lookup is in the model's sum alone; where some are, days tell no difference.
    if not np.array_equal(week.n, week.sums("n")):
        return unknown(WORSE_THAN_LOOKUP, "The lookup is not known for every order: bundles have been pruned.")
    difference, error = week.mean_and_error(week.sums("mae") - week.sums("lookup"))
    mae, lookup = (float(week.sums(name).sum() / week.n.sum()) for name in ("mae", "lookup"))
    sentence = f"The mean error of the week to {last} is {mae:.0f} s; the restaurant lookup's is {lookup:.0f} s."
    evidence = max(difference - LOOKUP_TOLERATED * lookup, 0.0) / error
    return _judged(WORSE_THAN_LOOKUP, evidence, sentence, last)


_TOO_FEW = f"Fewer than {LEAST_DAYS} of the last {DAYS} days have {LEAST_ORDERS} evaluated orders."


def _judged(rule: Rule, evidence: float, sentence: str, last: dt.date) -> Judged:
    if evidence < rule.threshold:
        return Judged(rule, evidence, sentence)
    alert = Alert(
        rule=rule.name,
        segment="overall",
        value="all",
        found=evidence,
        threshold=rule.threshold,
        since=last - dt.timedelta(days=DAYS - 1),
        sentence=sentence,
    )
    return Judged(rule, evidence, sentence, (alert,))
