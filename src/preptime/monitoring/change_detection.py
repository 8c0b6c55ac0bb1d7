"""Actual ÷ predicted, day by day: what is kept of the orders to watch it.

Whether food takes longer, or less long, than said: for many parts of the orders at once, morning after morning.

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

MAX_LOG_RATIO = float(np.log(2.0))
"""Ratios beyond twice and half weigh no more. Clips between 0.5 and 1.5 made little difference (docs/monitoring.md)."""


@dataclass(frozen=True, slots=True)
class DailyRatios:
    """What is kept of the orders of S parts on D days: [S, D] each. Memory doesn't grow with orders."""

    orders: NDArray[np.float64]
    sum_log_ratio: NDArray[np.float64]
    """Sum of clipped log ratios."""
    sum_squared_log_ratio: NDArray[np.float64]
    unclipped_orders: NDArray[np.float64]
    """Orders that were not clipped."""

    @classmethod
    def from_orders(
        cls,
        group: NDArray[np.integer],
        day: NDArray[np.integer],
        shape: tuple[int, int],
        log_ratio: NDArray[np.float64],
        is_unclipped: NDArray[np.bool_] | None = None,
    ) -> DailyRatios:
        """Of N orders: each one's part and day, below the (S, D) of `shape`, and clipped log ratio.

        `inside` says which were not clipped, where that cannot be seen from the values.
        """
        cell = np.asarray(group, np.int64) * shape[1] + day
        unclipped = np.abs(log_ratio) < MAX_LOG_RATIO if is_unclipped is None else is_unclipped

        def summed(values: NDArray[np.float64]) -> NDArray[np.float64]:
            sums = np.bincount(cell, weights=values, minlength=shape[0] * shape[1])
            return sums.astype(np.float64).reshape(shape)

        return cls(
            summed(np.ones(len(log_ratio))),
            summed(log_ratio),
            summed(log_ratio**2),
            summed(unclipped.astype(np.float64)),
        )

    def ratio(self) -> NDArray[np.float64]:
        """[S, D] typical actual ÷ predicted, NaN without an order: one step from 1 to Huber's estimate of location."""
        ratio: NDArray[np.float64] = np.exp(location(self.sum_log_ratio, self.unclipped_orders))
        return ratio


def clipped_log_ratio(actual: NDArray[np.floating], predicted: NDArray[np.floating]) -> NDArray[np.float64]:
    """[N] log of actual ÷ predicted seconds, clipped; both count as a second at least."""
    ratio = np.maximum(actual, 1.0).astype(np.float64) / np.maximum(predicted, 1.0)
    clipped: NDArray[np.float64] = np.clip(np.log(ratio), -MAX_LOG_RATIO, MAX_LOG_RATIO)
    return clipped


def location(total: NDArray[np.float64], unclipped: NDArray[np.float64]) -> NDArray[np.float64]:
    """The location of log ratios from the sum of clipped ones; NaN where all are clipped or there are none."""
    estimate: NDArray[np.float64] = np.where(unclipped > 0, total / np.maximum(unclipped, 1.0), np.nan)
    return estimate


MAX_WINDOW_DAYS = 7
"""A change smaller than seven days can show is left to the figures."""
MAX_REFERENCE_DAYS = 28
"""What is older may have been another season, other models."""
MIN_REFERENCE_DAYS = 7
"""A whole week: weekdays differ."""
MIN_ORDERS = 30
"""In a stretch: with fewer, clipped ratios are not yet near a normal distribution."""
RATIO_TOLERANCE = 0.02
"""A ratio within 2 % of the usual one is nobody's concern, however sure it is."""
PRIOR_DAY_SD = 0.01
"""Standard deviation that the orders of a day share, until a part's own days say otherwise: 0.0115 in quiet months."""
PRIOR_WEIGHT_DAYS = 10.0
"""How many days that first guess weighs."""
MIN_DAY_SD_SHARE = 0.5
"""Of `USUAL_DAY_ERROR`: a few days that happen to agree don't make the next one certain."""
POOLING_WEIGHT_ORDERS = 50.0
"""How many orders of all parts are added to each part's own scatter, so that ten orders don't decide it."""


@dataclass(frozen=True, slots=True)
class ScanResult:
    """What the mornings after D days said of S parts: [S, D] each."""

    statistic: NDArray[np.float64]
    """Standard errors beyond what is tolerated, above 0 slower; 0 also where too little is known."""
    has_enough_data: NDArray[np.bool_]
    """Whether there were days and orders enough to judge by."""
    window_start: NDArray[np.int64]
    """The first day of the stretch that differs most."""
    reference_ratio: NDArray[np.float64]
    """The ratio of the days it was compared with; NaN where nothing is known."""
    recent_ratio: NDArray[np.float64]
    """The ratio of the stretch."""
    fired: NDArray[np.bool_]


def scan_for_shifts(daily: DailyRatios, threshold: float) -> ScanResult:
    """Every morning's evidence; where it reaches `threshold`, the morning fires."""
    parts, days = daily.orders.shape
    order_variance, inside_share = _order_variance(daily)
    tolerance = np.log1p(RATIO_TOLERANCE) * inside_share
    result = ScanResult(
        np.zeros((parts, days)),
        np.zeros((parts, days), np.bool_),
        np.zeros((parts, days), np.int64),
        np.full((parts, days), np.nan),
        np.full((parts, days), np.nan),
        np.zeros((parts, days), np.bool_),
    )
    excluded_days = np.zeros((parts, days), np.bool_)
    restart_day = np.zeros(parts, np.int64)
    all_sums = _CumulativeSums.from_daily(daily, order_variance, np.zeros((parts, days), np.bool_))
    reference_sums = all_sums
    for day in range(MIN_REFERENCE_DAYS, days):
        for first in range(day, max(day - MAX_WINDOW_DAYS, MIN_REFERENCE_DAYS - 1), -1):
            window = all_sums.between(first, day + 1)
            reference = reference_sums.between(max(0, first - MAX_REFERENCE_DAYS), first)
            has_enough_data = (
                (reference.days >= MIN_REFERENCE_DAYS)
                & (np.minimum(window.orders, reference.orders) >= MIN_ORDERS)
                & (restart_day <= first)
            )
            if has_enough_data.any():
                statistic = _shift_statistic(window, reference, order_variance, tolerance)
                _keep_larger_shift(
                    result, (first, day), np.where(has_enough_data, statistic, np.nan), window, reference
                )
        fired = np.abs(result.statistic[:, day]) >= threshold
        if fired.any():
            result.fired[:, day] = fired
            for part in np.flatnonzero(fired):
                excluded_days[part, result.window_start[part, day] : day + 1] = True
                restart_day[part] = day + 1
            reference_sums = _CumulativeSums.from_daily(daily, order_variance, excluded_days)
    return result


def _keep_larger_shift(
    result: ScanResult,
    days: tuple[int, int],
    statistic: NDArray[np.float64],
    window: _WindowSums,
    reference: _WindowSums,
) -> None:
    """Put a stretch down, first and last day, where it differs more than those looked at before; NaN tells nothing."""
    first, day = days
    better = ~np.isnan(statistic) & (
        ~result.has_enough_data[:, day] | (np.abs(statistic) > np.abs(result.statistic[:, day]))
    )
    result.has_enough_data[better, day] = True
    result.statistic[better, day] = statistic[better]
    result.window_start[better, day] = first
    result.reference_ratio[better, day] = np.exp(location(reference.sum_log_ratio, reference.unclipped_orders))[better]
    result.recent_ratio[better, day] = np.exp(location(window.sum_log_ratio, window.unclipped_orders))[better]


def _shift_statistic(
    window: _WindowSums, reference: _WindowSums, order_variance: NDArray[np.float64], tolerance: NDArray[np.float64]
) -> NDArray[np.float64]:
    """[S] standard errors by which both means differ more than tolerated.

    The error is made of the scatter of orders and of what a day's orders share.
    """
    order_error = order_variance * (1 / np.maximum(window.orders, 1.0) + 1 / np.maximum(reference.orders, 1.0))
    day_error = reference.day_variance() * (1 / np.maximum(window.days, 1.0) + 1 / np.maximum(reference.days, 1.0))
    difference = window.mean - reference.mean
    excess: NDArray[np.float64] = np.maximum(np.abs(difference) - tolerance, 0.0) / np.sqrt(order_error + day_error)
    return np.sign(difference) * excess


@dataclass(frozen=True, slots=True)
class _WindowSums:
    """Sums over some days, [S] each. The weighted ones are for the day variance."""

    orders: NDArray[np.float64]
    sum_log_ratio: NDArray[np.float64]
    unclipped_orders: NDArray[np.float64]
    days: NDArray[np.float64]
    weight: NDArray[np.float64]
    weighted_mean: NDArray[np.float64]
    weighted_square: NDArray[np.float64]
    weighted_order_variance: NDArray[np.float64]

    @property
    def mean(self) -> NDArray[np.float64]:
        """[S] of the clipped log ratios; 0 without an order."""
        return self.sum_log_ratio / np.maximum(self.orders, 1.0)

    def day_variance(self) -> NDArray[np.float64]:
        """[S] variance that the orders of a day share: the scatter of the days' means beyond their orders' own."""
        mean = self.mean
        scatter: NDArray[np.float64] = self.weighted_square - 2 * mean * self.weighted_mean + mean**2 * self.weight
        prior_variance = PRIOR_DAY_SD**2
        excess = scatter - self.weighted_order_variance
        variance = (PRIOR_WEIGHT_DAYS * prior_variance + excess) / (PRIOR_WEIGHT_DAYS + self.weight)
        return np.maximum(variance, MIN_DAY_SD_SHARE**2 * prior_variance)


@dataclass(frozen=True, slots=True)
class _CumulativeSums:
    """Running sums over the days, [8, S, D + 1], so that any range is one subtraction."""

    cumulative: NDArray[np.float64]

    @classmethod
    def from_daily(
        cls, daily: DailyRatios, order_variance: NDArray[np.float64], excluded: NDArray[np.bool_]
    ) -> _CumulativeSums:
        has_orders = (daily.orders > 0) & ~excluded
        orders = np.where(has_orders, daily.orders, 1.0)
        mean = daily.sum_log_ratio / orders
        # A day tells of the variance that days share as far as its own orders don't drown it.
        share = orders / (orders + order_variance[:, None] / PRIOR_DAY_SD**2)
        weight = share**2
        order_error = order_variance[:, None] / orders
        columns = (
            daily.orders,
            daily.sum_log_ratio,
            daily.unclipped_orders,
            np.ones_like(orders),
            weight,
            weight * mean,
            weight * mean**2,
            weight * order_error,
        )
        cumulative = np.zeros((len(columns), len(orders), orders.shape[1] + 1))
        np.cumsum(np.where(has_orders, np.stack(columns), 0.0), axis=2, out=cumulative[:, :, 1:])
        return cls(cumulative)

    def between(self, first: int, end: int) -> _WindowSums:
        return _WindowSums(*(self.cumulative[:, :, end] - self.cumulative[:, :, first]))


def _order_variance(daily: DailyRatios) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """[S] variance of clipped log ratios within each part, and the share that is not clipped; both pooled a little."""
    orders, total = daily.orders.sum(axis=1), daily.sum_log_ratio.sum(axis=1)
    total_orders = max(orders.sum(), 1.0)
    variance = max(daily.sum_squared_log_ratio.sum() / total_orders - (total.sum() / total_orders) ** 2, 1e-6)
    inside = max(daily.unclipped_orders.sum() / total_orders, 1e-6)
    mean = total / np.maximum(orders, 1.0)
    scatter = daily.sum_squared_log_ratio.sum(axis=1) - orders * mean**2
    return (
        (scatter + POOLING_WEIGHT_ORDERS * variance) / (orders + POOLING_WEIGHT_ORDERS),
        (daily.unclipped_orders.sum(axis=1) + POOLING_WEIGHT_ORDERS * inside) / (orders + POOLING_WEIGHT_ORDERS),
    )
