"""The rules about the latest day: how many orders came, and shares that may jump from one day to the next."""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from preptime.evaluation.verdict import in_percent
from preptime.monitoring.document import Alert
from preptime.monitoring.outcomes import date_of
from preptime.monitoring.rules import VOLUME_HIGH, VOLUME_LOW, Judged, Rule, unknown

LEAST_DAYS = 7
MOST_DAYS = 28
LEAST_ORDERS = 30
"""Of the latest day, for a share to be judged."""
LEAST_USUAL_ORDERS = 30
"""A day of a city, for its volume to be judged by itself."""
TOLERATED_SHARE = 0.05
"""A share may rise by five points whatever the past days say."""
USUAL_SHARE_ERROR = 0.01
"""Standard deviation by which days' shares differ beyond chance, until they tell; weighs `USUAL_DAYS` days."""
USUAL_DAYS = 10.0
NOISE_SIGMAS = 4.0
"""What chance may do to a count, as in the data gate."""


@dataclass(frozen=True, slots=True)
class Share:
    """A part of the orders of each of D days: [D] each, oldest first, the last the day before this morning."""

    part: NDArray[np.float64]
    whole: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Nearest:
    """The part whose volume is nearest to the threshold."""

    ratio: float
    sentence: str


def judge_share(rule: Rule, share: Share, last: dt.date, what: str) -> Judged:
    """Whether the last day's share is above what its past days lead to expect. `what`: `orders without an answer`."""
    n, k = share.whole, share.part
    past = np.flatnonzero(n[:-1] > 0)[-MOST_DAYS:]
    if len(past) < LEAST_DAYS or n[-1] < LEAST_ORDERS:
        return unknown(rule, f"Fewer than {LEAST_DAYS} days before, or fewer than {LEAST_ORDERS} on {last}.")
    usual, now = k[past].sum() / n[past].sum(), k[-1] / n[-1]
    pooled = (k[past].sum() + k[-1] + 1) / (n[past].sum() + n[-1] + 2)
    chance = pooled * (1 - pooled)
    scatter = np.sum((k[past] / n[past] - usual) ** 2 - chance / n[past])
    of_days = max((USUAL_DAYS * USUAL_SHARE_ERROR**2 + scatter) / (USUAL_DAYS + len(past)), 0.25 * USUAL_SHARE_ERROR**2)
    error = math.sqrt(chance * (1 / n[-1] + 1 / n[past].sum()) + of_days * (1 + 1 / len(past)))
    evidence = max(now - usual - TOLERATED_SHARE, 0.0) / error
    sentence = f"{in_percent(now)} of {n[-1]:,.0f} are {what} on {last}, where {in_percent(usual)} are usual."
    if evidence < rule.threshold:
        return Judged(rule, float(evidence), sentence)
    alert = Alert(
        rule=rule.name,
        segment="overall",
        value="all",
        found=float(evidence),
        threshold=rule.threshold,
        since=last,
        sentence=sentence,
    )
    return Judged(rule, float(evidence), sentence, (alert,))


def judge_volume(orders: NDArray[np.float64], names: tuple[str, ...], last: int) -> tuple[Judged, Judged]:
    """`volume_low` and `volume_high` from orders a day, [S, D]; the first row is all orders, the others are cities."""
    seen = np.flatnonzero(orders[0] > 0)
    start = int(seen[0]) if len(seen) else orders.shape[1]
    if orders.shape[1] - 1 - start < LEAST_DAYS:
        why = f"Orders are known for fewer than {LEAST_DAYS} days before {date_of(last)}."
        return unknown(VOLUME_LOW, why), unknown(VOLUME_HIGH, why)
    return _volume(VOLUME_LOW, orders[:, start:], names, last), _volume(VOLUME_HIGH, orders[:, start:], names, last)


def _volume(rule: Rule, orders: NDArray[np.float64], names: tuple[str, ...], last: int) -> Judged:
    low = rule is VOLUME_LOW
    alerts = list[Alert]()
    nearest: _Nearest | None = None
    for row, name in enumerate(names):
        usual = _usual(orders[row], low=low)
        if usual < (LEAST_USUAL_ORDERS if row else 1):
            continue
        ratio = float(orders[row, -1] / usual)
        where = "" if row == 0 else f" in {name}"
        told = f"{orders[row, -1]:,.0f} orders{where} on {date_of(last)}"
        sentence = f"{told}, where {usual:,.0f} are usual ({in_percent(ratio, 0)})."
        if _beyond(float(orders[row, -1]), rule.threshold * usual, low=low):
            alerts.append(_alert(rule, name if row else "all", ratio, last, sentence, whole=row == 0))
        if nearest is None or (ratio < nearest.ratio if low else ratio > nearest.ratio):
            nearest = _Nearest(ratio, sentence)
    if nearest is None:
        return unknown(rule, "No day before has an order.")
    if alerts and alerts[0].segment == "overall":
        alerts = alerts[:1]  # what holds of all orders need not be said of every city
    if alerts:
        return Judged(rule, alerts[0].found, alerts[0].sentence, tuple(alerts))
    return Judged(rule, nearest.ratio, nearest.sentence)


def _usual(orders: NDArray[np.float64], *, low: bool) -> float:
    """The median of the same weekday in the four weeks before; without one, of the quietest (busiest) other day."""
    last = len(orders) - 1
    same = [orders[last - 7 * week] for week in range(1, 5) if last - 7 * week >= 0]
    if same:
        return float(np.median(same))
    return float(orders[:-1].min() if low else orders[:-1].max())


def _beyond(orders: float, threshold: float, *, low: bool) -> bool:
    noise = NOISE_SIGMAS * math.sqrt(max(threshold, 1.0))
    return orders + noise < threshold if low else orders - noise > threshold


def _alert(rule: Rule, value: str, ratio: float, last: int, sentence: str, *, whole: bool) -> Alert:
    return Alert(
        rule=rule.name,
        segment="overall" if whole else "city",
        value=value,
        found=ratio,
        threshold=rule.threshold,
        since=date_of(last),
        sentence=sentence,
    )
