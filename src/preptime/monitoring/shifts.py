"""Whether food takes longer, or less long, than said: for many parts of the orders at once, morning after morning.

Watched is the logarithm of actual ÷ predicted, clipped at twice and half: an order tapped at once, or forgotten for
hours, counts as one that was off by a factor of two. A part (a city, say) is compared with **its own past**, so that
what is usual there is no alarm, and days are compared, not orders: beside the orders' own scatter, every day has an
error that its orders share (weather, weekday, a busy night), and without it thousands of orders would make an alarm of
any ordinary day.

Each morning the latest stretch of 1 to 7 days is compared with up to 28 days before it; the stretch that differs most
is the morning's evidence: how many standard errors the difference is beyond what is tolerated anyway. Where it fires,
the stretch stops counting as usual, and what follows has to show the same again on its own days: a chance excursion
fires once, a real shift as long as it lasts. This is a scan for a change point (Page's CUSUM looks at the same
stretches); its threshold is calibrated by simulation, see docs/monitoring.md, "How often it is wrong".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from preptime.monitoring.ratios import Daily, level

LONGEST_STRETCH_DAYS = 7
"""A change smaller than seven days can show is left to the figures."""
MOST_REFERENCE_DAYS = 28
"""What is older may have been another season, other models."""
LEAST_REFERENCE_DAYS = 7
"""A whole week: weekdays differ."""
LEAST_ORDERS = 30
"""In a stretch: with fewer, clipped ratios are not yet near a normal distribution."""
TOLERATED = 0.02
"""A ratio within 2 % of the usual one is nobody's concern, however sure it is."""
USUAL_DAY_ERROR = 0.01
"""Standard deviation that the orders of a day share, until a part's own days say otherwise: 0.0115 in quiet months."""
USUAL_DAY_ERROR_DAYS = 10.0
"""How many days that first guess weighs."""
LEAST_DAY_ERROR_SHARE = 0.5
"""Of `USUAL_DAY_ERROR`: a few days that happen to agree don't make the next one certain."""
POOLED_ORDERS = 50.0
"""How many orders of all parts are added to each part's own scatter, so that ten orders don't decide it."""


@dataclass(frozen=True, slots=True)
class Watched:
    """What the mornings after D days said of S parts: [S, D] each."""

    evidence: NDArray[np.float64]
    """Standard errors beyond what is tolerated, above 0 slower; 0 also where too little is known."""
    known: NDArray[np.bool_]
    """Whether there were days and orders enough to judge by."""
    start: NDArray[np.int64]
    """The first day of the stretch that differs most."""
    usual: NDArray[np.float64]
    """The ratio of the days it was compared with; NaN where nothing is known."""
    recent: NDArray[np.float64]
    """The ratio of the stretch."""
    fired: NDArray[np.bool_]


def watch(daily: Daily, threshold: float) -> Watched:
    """Every morning's evidence; where it reaches `threshold`, the morning fires."""
    parts, days = daily.orders.shape
    order_variance, inside_share = _of_orders(daily)
    tolerated = np.log1p(TOLERATED) * inside_share
    found = Watched(
        np.zeros((parts, days)),
        np.zeros((parts, days), np.bool_),
        np.zeros((parts, days), np.int64),
        np.full((parts, days), np.nan),
        np.full((parts, days), np.nan),
        np.zeros((parts, days), np.bool_),
    )
    unusual = np.zeros((parts, days), np.bool_)
    restart = np.zeros(parts, np.int64)
    everything = _Sums.of(daily, order_variance, np.zeros((parts, days), np.bool_))
    usual = everything
    for day in range(LEAST_REFERENCE_DAYS, days):
        for first in range(day, max(day - LONGEST_STRETCH_DAYS, LEAST_REFERENCE_DAYS - 1), -1):
            stretch = everything.between(first, day + 1)
            past = usual.between(max(0, first - MOST_REFERENCE_DAYS), first)
            enough = (
                (past.days >= LEAST_REFERENCE_DAYS)
                & (np.minimum(stretch.orders, past.orders) >= LEAST_ORDERS)
                & (restart <= first)
            )
            if enough.any():
                evidence = _evidence(stretch, past, order_variance, tolerated)
                _note(found, (first, day), np.where(enough, evidence, np.nan), stretch, past)
        fired = np.abs(found.evidence[:, day]) >= threshold
        if fired.any():
            found.fired[:, day] = fired
            for part in np.flatnonzero(fired):
                unusual[part, found.start[part, day] : day + 1] = True
                restart[part] = day + 1
            usual = _Sums.of(daily, order_variance, unusual)
    return found


def _note(found: Watched, days: tuple[int, int], evidence: NDArray[np.float64], stretch: _Range, past: _Range) -> None:
    """Put a stretch down, first and last day, where it differs more than those looked at before; NaN tells nothing."""
    first, day = days
    better = ~np.isnan(evidence) & (~found.known[:, day] | (np.abs(evidence) > np.abs(found.evidence[:, day])))
    found.known[better, day] = True
    found.evidence[better, day] = evidence[better]
    found.start[better, day] = first
    found.usual[better, day] = np.exp(level(past.total, past.inside))[better]
    found.recent[better, day] = np.exp(level(stretch.total, stretch.inside))[better]


def _evidence(
    stretch: _Range, past: _Range, order_variance: NDArray[np.float64], tolerated: NDArray[np.float64]
) -> NDArray[np.float64]:
    """[S] standard errors by which both means differ more than tolerated.

    The error is made of the scatter of orders and of what a day's orders share.
    """
    of_orders = order_variance * (1 / np.maximum(stretch.orders, 1.0) + 1 / np.maximum(past.orders, 1.0))
    of_days = past.day_variance() * (1 / np.maximum(stretch.days, 1.0) + 1 / np.maximum(past.days, 1.0))
    difference = stretch.mean - past.mean
    beyond: NDArray[np.float64] = np.maximum(np.abs(difference) - tolerated, 0.0) / np.sqrt(of_orders + of_days)
    return np.sign(difference) * beyond


@dataclass(frozen=True, slots=True)
class _Range:
    """Sums over some days, [S] each. The weighted ones are for the day variance."""

    orders: NDArray[np.float64]
    total: NDArray[np.float64]
    inside: NDArray[np.float64]
    days: NDArray[np.float64]
    weight: NDArray[np.float64]
    weighted_mean: NDArray[np.float64]
    weighted_square: NDArray[np.float64]
    weighted_chance: NDArray[np.float64]

    @property
    def mean(self) -> NDArray[np.float64]:
        """[S] of the clipped log ratios; 0 without an order."""
        return self.total / np.maximum(self.orders, 1.0)

    def day_variance(self) -> NDArray[np.float64]:
        """[S] variance that the orders of a day share: the scatter of the days' means beyond their orders' own."""
        mean = self.mean
        scatter: NDArray[np.float64] = self.weighted_square - 2 * mean * self.weighted_mean + mean**2 * self.weight
        guess = USUAL_DAY_ERROR**2
        own = scatter - self.weighted_chance
        variance = (USUAL_DAY_ERROR_DAYS * guess + own) / (USUAL_DAY_ERROR_DAYS + self.weight)
        return np.maximum(variance, LEAST_DAY_ERROR_SHARE**2 * guess)


@dataclass(frozen=True, slots=True)
class _Sums:
    """Running sums over the days, [8, S, D + 1], so that any range is one subtraction."""

    running: NDArray[np.float64]

    @classmethod
    def of(cls, daily: Daily, order_variance: NDArray[np.float64], left_out: NDArray[np.bool_]) -> _Sums:
        there = (daily.orders > 0) & ~left_out
        orders = np.where(there, daily.orders, 1.0)
        mean = daily.total / orders
        # A day tells of the variance that days share as far as its own orders don't drown it.
        share = orders / (orders + order_variance[:, None] / USUAL_DAY_ERROR**2)
        weight = share**2
        chance = order_variance[:, None] / orders
        columns = (
            daily.orders,
            daily.total,
            daily.inside,
            np.ones_like(orders),
            weight,
            weight * mean,
            weight * mean**2,
            weight * chance,
        )
        running = np.zeros((len(columns), len(orders), orders.shape[1] + 1))
        np.cumsum(np.where(there, np.stack(columns), 0.0), axis=2, out=running[:, :, 1:])
        return cls(running)

    def between(self, first: int, end: int) -> _Range:
        return _Range(*(self.running[:, :, end] - self.running[:, :, first]))


def _of_orders(daily: Daily) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """[S] variance of clipped log ratios within each part, and the share that is not clipped; both pooled a little."""
    orders, total = daily.orders.sum(axis=1), daily.total.sum(axis=1)
    everything = max(orders.sum(), 1.0)
    variance = max(daily.squares.sum() / everything - (total.sum() / everything) ** 2, 1e-6)
    inside = max(daily.inside.sum() / everything, 1e-6)
    mean = total / np.maximum(orders, 1.0)
    scatter = daily.squares.sum(axis=1) - orders * mean**2
    return (
        (scatter + POOLED_ORDERS * variance) / (orders + POOLED_ORDERS),
        (daily.inside.sum(axis=1) + POOLED_ORDERS * inside) / (orders + POOLED_ORDERS),
    )
