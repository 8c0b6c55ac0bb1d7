"""Change detection in the ratio of actual to predicted time, for many segments and days together.

The input is the logarithm of actual ÷ predicted, clipped at 2 and 1/2. An order whose time was recorded hours late then
counts as an error by a factor of two.

Each segment, such as a city, is compared with its own past, so a constant bias raises no alarm. The test compares days,
not orders: besides the variation of orders, every day has an error that its orders share (weather, weekday, a busy
evening). Without this error, thousands of orders would raise an alarm on any ordinary day.

On each day, windows of the latest 1 to 7 days are compared with up to 28 days before them. The window that differs most
gives the test statistic: the standard errors by which the difference exceeds the tolerance. When a segment fires, the
window leaves the reference, and only later days can fire again. A chance deviation therefore fires once, and a real
shift fires while it lasts. This is a scan for a change point over the same windows as Page's CUSUM (1954). Its
threshold is calibrated by simulation: see "False alarms and detection time" in docs/monitoring.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MAX_LOG_RATIO = float(np.log(2.0))
"""Larger ratios count as 2, and smaller ones as 1/2. Clips from 0.5 to 1.5 made little difference (decision 10)."""
MAX_WINDOW_DAYS = 7
"""Smaller changes that need more than seven days are left to the daily metrics."""
MAX_REFERENCE_DAYS = 28
"""Older days can belong to another season or other models."""
MIN_REFERENCE_DAYS = 7
"""A whole week, because weekdays differ."""
MIN_ORDERS = 30
"""In a window. With fewer orders, the mean of clipped ratios isn't close to a normal distribution."""
RATIO_TOLERANCE = 0.02
"""Changes of the ratio within 2% are ignored."""
PRIOR_DAY_SD = 0.01
"""Prior standard deviation of the error that the orders of a day share. In quiet months, it is 0.0115."""
PRIOR_WEIGHT_DAYS = 10.0
"""The weight of the prior in days."""
MIN_DAY_SD_SHARE = 0.5
"""Lower bound as a share of `PRIOR_DAY_SD`, because a few days can agree by chance."""
POOLING_WEIGHT_ORDERS = 50.0
"""The number of orders of all segments that are pooled into the variance of each segment."""


@dataclass(frozen=True, slots=True)
class DailyRatios:
    """Sums over the orders of S segments on D days, [S, D] each. Memory doesn't grow with orders."""

    orders: NDArray[np.float64]
    sum_log_ratio: NDArray[np.float64]
    """Sums of clipped log ratios."""
    sum_squared_log_ratio: NDArray[np.float64]
    unclipped_orders: NDArray[np.float64]
    """The number of orders that weren't clipped."""

    @classmethod
    def from_orders(
        cls,
        group: NDArray[np.integer],
        day: NDArray[np.integer],
        shape: tuple[int, int],
        log_ratio: NDArray[np.float64],
        is_unclipped: NDArray[np.bool_] | None = None,
    ) -> DailyRatios:
        """Return the sums of N orders from their segments, days, and clipped log ratios. `shape` is (S, D).

        Pass `is_unclipped` if the values don't show which orders were clipped.
        """
        cell = np.asarray(group, np.int64) * shape[1] + day
        unclipped = np.abs(log_ratio) < MAX_LOG_RATIO if is_unclipped is None else is_unclipped

        def sum_by_cell(values: NDArray[np.float64]) -> NDArray[np.float64]:
            sums = np.bincount(cell, weights=values, minlength=shape[0] * shape[1])
            return sums.astype(np.float64).reshape(shape)

        return cls(
            sum_by_cell(np.ones(len(log_ratio))),
            sum_by_cell(log_ratio),
            sum_by_cell(log_ratio**2),
            sum_by_cell(unclipped.astype(np.float64)),
        )

    def ratio(self) -> NDArray[np.float64]:
        """Return the typical actual ÷ predicted, [S, D], NaN without orders: one step to Huber's location estimate."""
        ratio: NDArray[np.float64] = np.exp(location(self.sum_log_ratio, self.unclipped_orders))
        return ratio


def clipped_log_ratio(actual: NDArray[np.floating], predicted: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the clipped log of actual ÷ predicted, [N]. Both times count as at least one second."""
    ratio = np.maximum(actual, 1.0).astype(np.float64) / np.maximum(predicted, 1.0)
    clipped: NDArray[np.float64] = np.clip(np.log(ratio), -MAX_LOG_RATIO, MAX_LOG_RATIO)
    return clipped


def location(total: NDArray[np.float64], unclipped: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the location of log ratios from their clipped sum. NaN if all are clipped or there are none."""
    estimate: NDArray[np.float64] = np.where(unclipped > 0, total / np.maximum(unclipped, 1.0), np.nan)
    return estimate


@dataclass(frozen=True, slots=True)
class ScanResult:
    """Results of S segments as of the end of each of D days, [S, D] each."""

    statistic: NDArray[np.float64]
    """Standard errors beyond the tolerance. Above 0 is slower. 0 if there is too little data."""
    has_enough_data: NDArray[np.bool_]
    """Whether there are enough days and orders."""
    window_start: NDArray[np.int64]
    """The first day of the window that differs most."""
    reference_ratio: NDArray[np.float64]
    """The ratio in the reference window. NaN if there is too little data."""
    recent_ratio: NDArray[np.float64]
    """The ratio in the recent window."""
    fired: NDArray[np.bool_]


def detect_changes(daily: DailyRatios, threshold: float) -> ScanResult:
    """Return the statistics of every segment and day. A day fires if its statistic reaches `threshold`."""
    segments, days = daily.orders.shape
    order_variance, unclipped_share = _order_variance(daily)
    tolerance = np.log1p(RATIO_TOLERANCE) * unclipped_share
    result = ScanResult(
        np.zeros((segments, days)),
        np.zeros((segments, days), np.bool_),
        np.zeros((segments, days), np.int64),
        np.full((segments, days), np.nan),
        np.full((segments, days), np.nan),
        np.zeros((segments, days), np.bool_),
    )
    excluded_days = np.zeros((segments, days), np.bool_)
    restart_day = np.zeros(segments, np.int64)
    all_sums = _CumulativeSums.from_daily(daily, order_variance, np.zeros((segments, days), np.bool_))
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
            for segment in np.flatnonzero(fired):
                excluded_days[segment, result.window_start[segment, day] : day + 1] = True
                restart_day[segment] = day + 1
            reference_sums = _CumulativeSums.from_daily(daily, order_variance, excluded_days)
    return result


def _keep_larger_shift(
    result: ScanResult,
    days: tuple[int, int],
    statistic: NDArray[np.float64],
    window: _WindowSums,
    reference: _WindowSums,
) -> None:
    """Store the window where it differs more than the windows before it. NaN marks too little data."""
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
    """Return the standard errors by which the difference of both means exceeds the tolerance, [S].

    The error combines the variation of orders and the error that the orders of a day share.
    """
    order_error = order_variance * (1 / np.maximum(window.orders, 1.0) + 1 / np.maximum(reference.orders, 1.0))
    day_error = reference.day_variance() * (1 / np.maximum(window.days, 1.0) + 1 / np.maximum(reference.days, 1.0))
    difference = window.mean - reference.mean
    excess: NDArray[np.float64] = np.maximum(np.abs(difference) - tolerance, 0.0) / np.sqrt(order_error + day_error)
    return np.sign(difference) * excess


@dataclass(frozen=True, slots=True)
class _WindowSums:
    """Sums over a range of days, [S] each. The weighted sums are for the day variance."""

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
        """Return the mean of the clipped log ratios, [S]. 0 without orders."""
        return self.sum_log_ratio / np.maximum(self.orders, 1.0)

    def day_variance(self) -> NDArray[np.float64]:
        """Return the variance that the orders of a day share, [S]: that of daily means beyond that of orders."""
        mean = self.mean
        scatter: NDArray[np.float64] = self.weighted_square - 2 * mean * self.weighted_mean + mean**2 * self.weight
        prior_variance = PRIOR_DAY_SD**2
        excess = scatter - self.weighted_order_variance
        variance = (PRIOR_WEIGHT_DAYS * prior_variance + excess) / (PRIOR_WEIGHT_DAYS + self.weight)
        return np.maximum(variance, MIN_DAY_SD_SHARE**2 * prior_variance)


@dataclass(frozen=True, slots=True)
class _CumulativeSums:
    """Cumulative sums over the days, [8, S, D + 1], so that any range is one subtraction."""

    cumulative: NDArray[np.float64]

    @classmethod
    def from_daily(
        cls, daily: DailyRatios, order_variance: NDArray[np.float64], excluded: NDArray[np.bool_]
    ) -> _CumulativeSums:
        has_orders = (daily.orders > 0) & ~excluded
        orders = np.where(has_orders, daily.orders, 1.0)
        mean = daily.sum_log_ratio / orders
        # The more orders a day has, the more it says about the variance between days.
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
    """Return the variance of clipped log ratios and the unclipped share of each segment, [S], both partly pooled."""
    orders, total = daily.orders.sum(axis=1), daily.sum_log_ratio.sum(axis=1)
    total_orders = max(orders.sum(), 1.0)
    variance = max(daily.sum_squared_log_ratio.sum() / total_orders - (total.sum() / total_orders) ** 2, 1e-6)
    unclipped_share = max(daily.unclipped_orders.sum() / total_orders, 1e-6)
    mean = total / np.maximum(orders, 1.0)
    scatter = daily.sum_squared_log_ratio.sum(axis=1) - orders * mean**2
    return (
        (scatter + POOLING_WEIGHT_ORDERS * variance) / (orders + POOLING_WEIGHT_ORDERS),
        (daily.unclipped_orders.sum(axis=1) + POOLING_WEIGHT_ORDERS * unclipped_share)
        / (orders + POOLING_WEIGHT_ORDERS),
    )
