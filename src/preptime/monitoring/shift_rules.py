"""The rules `slower_than_predicted` and `faster_than_predicted`.

They compare actual ÷ predicted of all orders, of every city, and of every type of food with the segment's own past.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from preptime.evaluation.segments import UNKNOWN_VALUE
from preptime.evaluation.summary_text import format_percent
from preptime.monitoring.change_detection import (
    MAX_LOG_RATIO,
    MAX_WINDOW_DAYS,
    MIN_ORDERS,
    MIN_REFERENCE_DAYS,
    DailyRatios,
    ScanResult,
    clipped_log_ratio,
    detect_changes,
)
from preptime.monitoring.document import Alert, DimensionName, RatioDay, RatioSeries
from preptime.monitoring.joined_predictions import JoinedOrders
from preptime.monitoring.outcomes import to_date
from preptime.monitoring.rules import FASTER_THAN_PREDICTED, SLOWER_THAN_PREDICTED, Rule, RuleResult, insufficient_data

MAX_SERIES = 8
"""The number of cities and types of food whose series are in the document, besides all that fired."""
_BASELINE_NAMES: dict[DimensionName, str] = {
    "overall": "the baseline",
    "city": "this city's baseline",
    "type_of_food": "the baseline of this type of food",
}
_TOO_FEW_DAYS = (
    f"Fewer than {MIN_REFERENCE_DAYS + 1} days have {MIN_ORDERS} orders with a prediction and an outcome, in every "
    "segment."
)


@dataclass(frozen=True, slots=True)
class Dimension:
    """One dimension with the daily ratios and the scan of its S segments."""

    name: DimensionName
    values: tuple[str, ...]
    first_day: int
    daily_ratios: DailyRatios
    scan_result: ScanResult

    def latest_statistic(self) -> NDArray[np.float64]:
        """Return the test statistics of the last day, [S]."""
        return self.scan_result.statistic[:, -1]

    def fired_on_last_day(self) -> NDArray[np.bool_]:
        """Return which segments fired on the last day, [S]."""
        return self.scan_result.fired[:, -1]


@dataclass(frozen=True, slots=True)
class ShiftScan:
    """The scans of all dimensions."""

    dimensions: tuple[Dimension, ...]
    overall_without_fired_cities: Dimension | None
    """All orders except those of cities that fired in the last days. None if no city did."""

    @property
    def cities(self) -> Dimension:
        """Return the scan by city."""
        return self.dimensions[1]


def scan_ratios(joined: JoinedOrders, first_day: int, days: int) -> ShiftScan:
    """Return the scan of the evaluated orders of `days` days from `first_day`."""
    rows = np.flatnonzero(joined.evaluated)
    day = (joined.outcomes.day[rows] - first_day).astype(np.int64)
    ratio = clipped_log_ratio(joined.actual[rows], joined.predicted[rows])
    is_unclipped = np.abs(ratio) < MAX_LOG_RATIO
    vocabularies = joined.restaurants.vocabularies
    orders = joined.orders
    city = _keep_large_segments(orders.city[rows], vocabularies.city)
    food = _keep_large_segments(orders.type_of_food[rows], vocabularies.type_of_food)

    def scan(
        name: DimensionName, segments: _SegmentCodes, values: NDArray[np.float64], kept: NDArray[np.bool_] | None = None
    ) -> Dimension:
        mask = segments.codes >= 0 if kept is None else kept & (segments.codes >= 0)
        shape = (len(segments.values), days)
        daily = DailyRatios.from_orders(segments.codes[mask], day[mask], shape, values[mask], is_unclipped[mask])
        return Dimension(
            name, segments.values, first_day, daily, detect_changes(daily, SLOWER_THAN_PREDICTED.threshold)
        )

    overall = _SegmentCodes(np.zeros(len(rows), np.int64), ("all",))
    cities = scan("city", city, ratio)
    # Daily changes of a whole city belong to the city. Types of food are tested on the rest.
    residual_ratio = ratio - _daily_segment_means(city.codes, day, ratio, days)
    fired = np.flatnonzero(cities.scan_result.fired[:, -MAX_WINDOW_DAYS:].any(axis=1))
    overall_without_fired_cities = scan("overall", overall, ratio, ~np.isin(city.codes, fired)) if len(fired) else None
    return ShiftScan(
        (scan("overall", overall, ratio), cities, scan("type_of_food", food, residual_ratio)),
        overall_without_fired_cities,
    )


def evaluate_shift_rules(shift_scan: ShiftScan) -> tuple[RuleResult, RuleResult]:
    """Return the results of `slower_than_predicted` and `faster_than_predicted`."""
    slower = _evaluate_shift_rule(shift_scan, SLOWER_THAN_PREDICTED, 1)
    return slower, _evaluate_shift_rule(shift_scan, FASTER_THAN_PREDICTED, -1)


def build_ratio_series(shift_scan: ShiftScan) -> tuple[RatioSeries, ...]:
    """Return the series of all orders, and of the largest segments and those that fired, by number of orders."""
    series = []
    for dimension in shift_scan.dimensions:
        # If a city fired recently, it also moves the ratio of all orders.
        not_explained_by_city = (
            ~_fired_recently(shift_scan.cities.scan_result.fired)
            if dimension.name == "overall"
            else np.ones(dimension.daily_ratios.orders.shape[1], bool)
        )
        orders = dimension.daily_ratios.orders.sum(axis=1)
        largest = sorted(
            range(len(dimension.values)), key=lambda segment: (-orders[segment], dimension.values[segment])
        )
        selected = [
            segment
            for rank, segment in enumerate(largest)
            if rank < MAX_SERIES or dimension.scan_result.fired[segment].any()
        ]
        series += [_ratio_series(dimension, segment, not_explained_by_city) for segment in selected if orders[segment]]
    return tuple(series)


@dataclass(frozen=True, slots=True)
class _SegmentCodes:
    """The segment of each of N orders. -1 marks segments that are too small to test."""

    codes: NDArray[np.int64]
    values: tuple[str, ...]


def _keep_large_segments(codes: NDArray[np.int32], vocabulary: tuple[str, ...]) -> _SegmentCodes:
    names = (UNKNOWN_VALUE, *vocabulary)  # unknown values have code -1
    large = np.flatnonzero(np.bincount(codes + 1, minlength=len(names)) >= 2 * MIN_ORDERS)
    index_of_code = np.full(len(names), -1, np.int64)
    index_of_code[large] = np.arange(len(large))
    return _SegmentCodes(index_of_code[codes + 1], tuple(names[code] for code in large))


def _daily_segment_means(
    segment: NDArray[np.int64], day: NDArray[np.int64], values: NDArray[np.float64], days: int
) -> NDArray[np.float64]:
    """Return for each of N orders the mean of its segment on its day."""
    cell = (segment + 1) * days + day
    total, orders = np.bincount(cell, weights=values), np.bincount(cell)
    means: NDArray[np.float64] = (total / np.maximum(orders, 1))[cell]
    return means


def _evaluate_shift_rule(shift_scan: ShiftScan, rule: Rule, sign: int) -> RuleResult:
    alerts = list[Alert]()
    closest: tuple[float, str] | None = None
    for dimension in shift_scan.dimensions:
        evaluated = (
            shift_scan.overall_without_fired_cities
            if dimension.name == "overall" and shift_scan.overall_without_fired_cities is not None
            else dimension
        )
        statistic = sign * evaluated.latest_statistic()
        has_enough_data = evaluated.scan_result.has_enough_data[:, -1]
        for segment in np.argsort(-statistic, kind="stable"):
            if evaluated.fired_on_last_day()[segment] and statistic[segment] > 0:
                alerts.append(
                    _alert(
                        rule,
                        evaluated,
                        int(segment),
                        excludes_fired_cities=evaluated is shift_scan.overall_without_fired_cities,
                    )
                )
        if has_enough_data.any():
            best = int(np.argmax(np.where(has_enough_data, statistic, -np.inf)))
            value = max(float(statistic[best]), 0.0)
            if closest is None or value > closest[0]:
                closest = (value, _segment_name(dimension.name, evaluated.values[best]))
    if closest is None:
        return insufficient_data(rule, _TOO_FEW_DAYS)
    if alerts:
        return RuleResult(rule, max(alert.observed for alert in alerts), alerts[0].message, tuple(alerts))
    return RuleResult(
        rule,
        closest[0],
        f"The largest change is in {closest[1]}: {closest[0]:.1f} of {rule.threshold:.1f} {rule.unit}.",
    )


def _alert(rule: Rule, dimension: Dimension, segment: int, *, excludes_fired_cities: bool) -> Alert:
    result = dimension.scan_result
    start = int(result.window_start[segment, -1])
    reference_ratio, recent_ratio = float(result.reference_ratio[segment, -1]), float(result.recent_ratio[segment, -1])
    relative_change = abs(recent_ratio / reference_ratio - 1)
    days = result.statistic.shape[1] - start
    orders = int(dimension.daily_ratios.orders[segment, start:].sum())
    name = "all other orders" if excludes_fired_cities else _segment_name(dimension.name, dimension.values[segment])
    direction = "longer" if rule is SLOWER_THAN_PREDICTED else "shorter"
    since = to_date(dimension.first_day + start)
    return Alert(
        rule=rule.name,
        segment=dimension.name,
        value=dimension.values[segment],
        observed=abs(float(result.statistic[segment, -1])),
        threshold=rule.threshold,
        since=since,
        message=f"{name[0].upper()}{name[1:]}: actual times are {format_percent(relative_change, 0)} "
        f"{direction} than predicted, relative to {_BASELINE_NAMES[dimension.name]}, since {since} "
        f"({days} {'day' if days == 1 else 'days'}, {orders:,} orders).",
    )


def _segment_name(dimension: DimensionName, value: str) -> str:
    return "all orders" if dimension == "overall" else f"type of food {value}" if dimension == "type_of_food" else value


def _fired_recently(fired: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return for each of D days whether a segment fired within the last `MAX_WINDOW_DAYS` days, [D]."""
    days = fired.shape[1]
    return np.array([fired[:, max(0, day - MAX_WINDOW_DAYS + 1) : day + 1].any() for day in range(days)])


def _ratio_series(dimension: Dimension, segment: int, not_explained_by_city: NDArray[np.bool_]) -> RatioSeries:
    result, orders, ratio = (
        dimension.scan_result,
        dimension.daily_ratios.orders[segment],
        dimension.daily_ratios.ratio()[segment],
    )
    has_enough_data = bool(result.has_enough_data[segment, -1])
    days = [
        RatioDay(
            date=to_date(dimension.first_day + day),
            n=int(orders[day]),
            ratio=float(ratio[day]),
            statistic=float(result.statistic[segment, day]),
            fired=bool(result.fired[segment, day] and not_explained_by_city[day]),
        )
        for day in range(len(orders))
        if orders[day] and np.isfinite(ratio[day])
    ]
    return RatioSeries(
        segment=dimension.name,
        value=dimension.values[segment],
        n=int(orders.sum()),
        reference_ratio=float(result.reference_ratio[segment, -1]) if has_enough_data else None,
        recent_ratio=float(result.recent_ratio[segment, -1]) if has_enough_data else None,
        recent_days=result.statistic.shape[1] - int(result.window_start[segment, -1])
        if has_enough_data
        else MAX_WINDOW_DAYS,
        threshold=SLOWER_THAN_PREDICTED.threshold,
        days=tuple(days),
    )
