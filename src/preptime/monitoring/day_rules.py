"""The rules about the latest day: how many orders came, and shares that may jump from one day to the next."""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from preptime.evaluation.verdict import format_percent
from preptime.monitoring.document import Alert
from preptime.monitoring.outcomes import to_date
from preptime.monitoring.rules import VOLUME_HIGH, VOLUME_LOW, Rule, RuleResult, insufficient_data

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
