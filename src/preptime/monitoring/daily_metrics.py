"""Metrics and counts of the window by day, bundle, and segment.

Each order is read once, and groups are sums over orders. Tests compare the results with `preptime.evaluation.metrics`,
group by group.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from preptime.domain.dispatch import dispatch_level
from preptime.domain.orders import FALLBACK_LEVELS, QUANTILE_LEVELS
from preptime.domain.validation_reasons import Purpose, ValidationReason, validation_rule
from preptime.evaluation.documents import QuantileScore, Segment, WaitingCost
from preptime.evaluation.metrics import FIVE_MINUTES_SECONDS, in_interval
from preptime.evaluation.segments import DIMENSIONS
from preptime.evaluation.waiting_cost import COST_RATIOS, arrival_seconds, waiting_cost, weighted_waiting
from preptime.features.spec import local_day
from preptime.monitoring.document import (
    BundleMetrics,
    DateRange,
    Day,
    FallbackLevel,
    LabelAudit,
    LabelReason,
    PredictionCounts,
    PredictionMetrics,
)
from preptime.monitoring.joined_predictions import JoinedOrders
from preptime.monitoring.outcomes import AuditedOutcomes, to_date
from preptime.monitoring.recorded_predictions import UniquePredictions
from preptime.validation.audit import is_usable

_KNOWN_ARRIVAL_COUNTS = {
    "predicted_quantile": "has_interval",
    "p50": "n",
    "lookup_quantile": "has_lookup",
    "constant": "has_lookup",
}
"""The column that counts the orders for which an arrival time is known, by name in `waiting_cost.ARRIVALS`.

A recorded prediction is that of the live model if the caller sent the state of the kitchen.
"""

FALLBACK_LEVEL_NAMES: tuple[FallbackLevel, ...] = ("restaurant", "city_food", "food", "city", "global")
"""`FALLBACK_LEVELS`, typed as in the document."""
_INVALID_LABEL_MASK = sum(
    reason.bit
    for reason in (
        ValidationReason.READY_BEFORE_ACKNOWLEDGED,
        ValidationReason.LABEL_CONTRADICTS_TIMES,
        ValidationReason.LABEL_ZERO,
        ValidationReason.LABEL_UNDER_A_MINUTE,
        ValidationReason.LABEL_OVER_CAP,
    )
)


@dataclass(frozen=True)
class OrderMetrics:
    """The contributions of M evaluated orders to the metrics of their groups."""

    rows: NDArray[np.intp]
    """[M] indices of the joined orders."""
    columns: dict[str, NDArray[np.float64]]
    """[M] by name. A missing value (no interval, no lookup) contributes neither to the sum nor to its count."""
    waiting: dict[str, NDArray[np.float32]]
    """[M] seconds of weighted waiting by `_waiting_name`, like `columns`. Segments don't need them."""

    @classmethod
    def from_joined(cls, joined: JoinedOrders) -> OrderMetrics:
        """Return the contributions of the evaluated orders."""
        rows = np.flatnonzero(joined.evaluated)
        actual, quantiles, lookup = joined.actual[rows], joined.quantiles[rows], joined.lookup[rows]
        error: NDArray[np.float64] = joined.predicted[rows] - actual
        has_interval = ~np.isnan(quantiles).any(axis=1)
        has_lookup = ~np.isnan(lookup)
        low, high = quantiles[:, 0], quantiles[:, -1]
        columns: dict[str, NDArray[np.float64]] = {
            "n": np.ones(len(rows)),
            "mae": np.abs(error),
            "bias": error,
            "within_5_min": _as_counts(np.abs(error) <= FIVE_MINUTES_SECONDS),
            "has_interval": _as_counts(has_interval),
            "in_interval": _as_counts(has_interval & in_interval(actual, low, high, with_ends=True)),
            "inside_interval": _as_counts(has_interval & in_interval(actual, low, high, with_ends=False)),
            "has_lookup": _as_counts(has_lookup),
            "lookup_error": np.where(has_lookup, np.abs(lookup - actual), 0.0),
        }
        for index, p in enumerate(QUANTILE_LEVELS):
            residual = actual - quantiles[:, index]
            columns[f"under {p}"] = _as_counts(has_interval & (residual <= 0))
            columns[f"pinball {p}"] = np.where(has_interval, np.maximum(p * residual, (p - 1.0) * residual), 0.0)
        lookup_quantiles, global_quantiles = joined.lookup_quantiles[rows], joined.global_quantiles(rows)
        return cls(rows, columns, _waiting_columns(actual, quantiles, lookup_quantiles, global_quantiles))

    def group_by(self, group: NDArray[np.integer], n_groups: int, *, with_waiting: bool = True) -> GroupMetrics:
        """Return the sums by group. `group` is [N], from 0 to `n_groups` - 1. A negative group excludes the order."""
        columns: dict[str, NDArray[np.floating]] = {**self.columns, **(self.waiting if with_waiting else {})}
        row_groups = np.asarray(group)[self.rows]
        kept = row_groups >= 0
        return GroupMetrics(
            {
                name: np.bincount(row_groups[kept], weights=values[kept], minlength=n_groups).astype(np.float64)
                for name, values in columns.items()
            }
        )

    def total(self, rows: NDArray[np.bool_]) -> PredictionMetrics:
        """Return the metrics of the joined orders in a mask."""
        return self.group_by(np.where(rows, 0, -1), 1).metrics(0)


def _waiting_name(courier_cost: float, food_cost: float, arrival: str) -> str:
    return f"waiting {courier_cost:g}:{food_cost:g} {arrival}"


def _waiting_columns(
    actual: NDArray[np.float64],
    quantiles: NDArray[np.float64],
    lookup_quantiles: NDArray[np.float32],
    global_quantiles: NDArray[np.float32],
) -> dict[str, NDArray[np.float32]]:
    columns = {}
    for costs in COST_RATIOS:
        level = dispatch_level(*costs)
        for name, arrival in arrival_seconds(level, quantiles, lookup_quantiles, global_quantiles).items():
            waiting = np.nan_to_num(weighted_waiting(actual, arrival, level), nan=0.0)
            columns[_waiting_name(*costs, name)] = waiting.astype(np.float32)
    return columns


def _as_counts(rows: NDArray[np.bool_] | np.bool_) -> NDArray[np.float64]:
    return np.asarray(rows, np.float64)


@dataclass(frozen=True, slots=True)
class GroupMetrics:
    """Sums by column and group."""

    sums: dict[str, NDArray[np.float64]]

    def mean(self, name: str, group: int, count: str = "n") -> float | None:
        """Return the mean of a column, or None without orders."""
        n = self.sums[count][group]
        return float(self.sums[name][group] / n) if n else None

    def count(self, group: int, name: str = "n") -> int:
        """Return the number of orders."""
        return int(self.sums[name][group])

    def quantiles(self, group: int) -> tuple[QuantileScore, ...]:
        """Return coverage and pinball loss of each quantile."""
        return tuple(self._quantile_score(p, group) for p in QUANTILE_LEVELS)

    def _quantile_score(self, p: float, group: int) -> QuantileScore:
        coverage = self.mean(f"under {p}", group, "has_interval")
        return QuantileScore(p, coverage, pinball=self.mean(f"pinball {p}", group, "has_interval"))

    def waiting_costs(self, group: int) -> tuple[WaitingCost, ...]:
        """Return the waiting cost at each cost ratio. One that isn't known for all orders has no value."""
        n = self.count(group)
        known = [name for name, count in _KNOWN_ARRIVAL_COUNTS.items() if self.count(group, count) == n]
        return tuple(
            waiting_cost(*costs, n, {name: self.mean(_waiting_name(*costs, name), group) for name in known})
            for costs in COST_RATIOS
        )

    def metrics(self, group: int) -> PredictionMetrics:
        """Return all metrics of a group."""
        return PredictionMetrics(
            n=self.count(group),
            mae=self.mean("mae", group),
            bias=self.mean("bias", group),
            within_5_min=self.mean("within_5_min", group),
            coverage=self.mean("in_interval", group, "has_interval"),
            coverage_inside=self.mean("inside_interval", group, "has_interval"),
            interval_n=self.count(group, "has_interval"),
            lookup_mae=self.mean("lookup_error", group, "has_lookup"),
            lookup_n=self.count(group, "has_lookup"),
            quantiles=self.quantiles(group),
            waiting_costs=self.waiting_costs(group),
        )


def segment_metrics(joined: JoinedOrders, order_metrics: OrderMetrics, rows: NDArray[np.bool_]) -> tuple[Segment, ...]:
    """Return the segments of the evaluated orders in a mask, without empty segments.

    An order whose fallback level isn't known has no segment of that dimension.
    """
    results = []
    for definition in DIMENSIONS:
        segmentation = definition.split(joined.segment_columns)
        codes = np.where(rows, segmentation.codes, -1)
        grouped = order_metrics.group_by(codes, len(segmentation.values), with_waiting=False)
        for code, value in enumerate(segmentation.values):
            if n := grouped.count(code):
                all_have_lookup = grouped.count(code, "has_lookup") == n
                results.append(
                    Segment(
                        segment=definition.name,
                        value=value,
                        n=n,
                        mae=grouped.mean("mae", code),
                        bias=grouped.mean("bias", code),
                        within_5_min=grouped.mean("within_5_min", code),
                        coverage=grouped.mean("in_interval", code, "has_interval"),
                        coverage_inside=grouped.mean("inside_interval", code, "has_interval"),
                        interval_n=grouped.count(code, "has_interval"),
                        lookup_mae=grouped.mean("lookup_error", code) if all_have_lookup else None,
                        quantiles=grouped.quantiles(code),
                    )
                )
    return tuple(results)


@dataclass(frozen=True)
class DailyCounts:
    """Counts of each of D days from `first_day`: [D] each, or [fallback levels, D]."""

    first_day: int
    usable: NDArray[np.float64]
    """Orders with an outcome, predicted or not."""
    unusable: NDArray[np.float64]
    """All other orders, without open ones."""
    with_prediction: NDArray[np.float64]
    """Includes orders without an outcome, as does `by_fallback_level`."""
    without_outcome: NDArray[np.float64]
    without_prediction: NDArray[np.float64]
    by_fallback_level: NDArray[np.float64]
    """Only predictions whose fallback level is known. Those of the take-home route have none without an outcome."""
    unknown_restaurant: NDArray[np.float64]
    unknown_category: NDArray[np.float64]
    with_outcome: NDArray[np.float64]
    """Orders with a prediction and an outcome."""
    by_city: NDArray[np.float64]
    """[cities, D] orders, by the city codes of the restaurants file."""
    audited: NDArray[np.float64]
    """Rows, including duplicates and rows without a usable label."""
    invalid_labels: NDArray[np.float64]
    open_at_end: NDArray[np.float64]
    """Predictions whose order wasn't ready by the end of its own day, so that all days are comparable."""

    @classmethod
    def from_joined(cls, joined: JoinedOrders, outcomes: AuditedOutcomes, first_day: int, days: int) -> DailyCounts:
        """Return the counts."""
        day = joined.outcomes.day - first_day

        def per_day(rows: NDArray[np.bool_]) -> NDArray[np.float64]:
            return np.bincount(day[rows], minlength=days).astype(np.float64)

        open_day = joined.without_outcome["day"].to_numpy() - first_day
        open_fallback_level = joined.without_outcome["fallback_level"].fill_null(-1).to_numpy()
        without_outcome = np.bincount(open_day, minlength=days).astype(np.float64)
        with_both = per_day(joined.has_prediction)
        is_ready_later = local_day(joined.outcomes.completed.ready_at) > joined.outcomes.day
        by_fallback_level = np.stack(
            [
                per_day(joined.has_prediction & (joined.fallback_level == level))
                + np.bincount(open_day[open_fallback_level == level], minlength=days)
                for level in range(len(FALLBACK_LEVELS))
            ]
        )
        city = joined.orders.city
        by_city = np.zeros((len(joined.restaurants.vocabularies.city), days))
        np.add.at(by_city, (city[city >= 0], day[city >= 0]), 1.0)
        in_range = outcomes.audited_days >= first_day
        audited_day = outcomes.audited_days[in_range] - first_day
        invalid = (outcomes.audited_reasons[in_range] & np.uint32(_INVALID_LABEL_MASK)) != 0
        unknown_restaurant = (joined.outcomes.reasons & np.uint32(ValidationReason.UNKNOWN_RESTAURANT.bit)) != 0
        all_rows = np.ones(len(joined), np.bool_)
        unusable_days = outcomes.unusable_days[outcomes.unusable_days >= first_day] - first_day
        return cls(
            first_day=first_day,
            usable=per_day(all_rows),
            unusable=np.bincount(unusable_days, minlength=days).astype(np.float64),
            with_prediction=with_both + without_outcome,
            without_outcome=without_outcome,
            without_prediction=per_day(~joined.has_prediction),
            by_fallback_level=by_fallback_level,
            unknown_restaurant=per_day(unknown_restaurant),
            unknown_category=per_day(joined.has_prediction & joined.unknown_category),
            with_outcome=with_both,
            by_city=by_city,
            audited=np.bincount(audited_day, minlength=days).astype(np.float64),
            invalid_labels=np.bincount(audited_day[invalid], minlength=days).astype(np.float64),
            open_at_end=per_day(joined.has_prediction & is_ready_later) + without_outcome,
        )

    @property
    def orders(self) -> NDArray[np.float64]:
        """Orders known as of the date, without open ones, [D]."""
        return self.usable + self.unusable

    @property
    def first_predicted(self) -> int | None:
        """The index of the first day with a prediction, or None."""
        predicted = np.flatnonzero(self.with_prediction > 0)
        return int(predicted[0]) if len(predicted) else None


def day_documents(
    joined: JoinedOrders, counts: DailyCounts, daily_metrics: GroupMetrics, ratio: NDArray[np.float64], window: range
) -> tuple[Day, ...]:
    """Return every day of `window` with an order or a prediction. `window` counts from `counts.first_day`."""
    day = joined.outcomes.day - counts.first_day
    open_day = joined.without_outcome["day"].to_numpy() - counts.first_day
    documents = []
    for index in window:
        if not counts.orders[index] and not counts.with_prediction[index]:
            continue
        on_day, open_on_day = joined.has_prediction & (day == index), open_day == index
        predicted = np.concatenate([joined.predicted[on_day], joined.without_outcome["p50"].to_numpy()[open_on_day]])
        bundles = {joined.bundle_ids[code] for code in np.unique(joined.bundle_code[on_day])}
        bundles |= set(joined.without_outcome["bundle"].filter(open_on_day).to_list())
        documents.append(
            Day(
                date=to_date(counts.first_day + index),
                predictions=int(counts.with_prediction[index]),
                without_outcome=int(counts.without_outcome[index]),
                orders=int(counts.orders[index]),
                usable=int(counts.usable[index]),
                bundles=tuple(sorted(bundles)),
                by_fallback_level={
                    name: int(counts.by_fallback_level[level, index]) for level, name in enumerate(FALLBACK_LEVEL_NAMES)
                },
                unknown_restaurants=int(counts.unknown_restaurant[index]),
                unknown_categories=int(counts.unknown_category[index]),
                median_predicted_seconds=float(np.median(predicted)) if len(predicted) else None,
                actual_to_predicted_ratio=float(ratio[index]) if np.isfinite(ratio[index]) else None,
                metrics=daily_metrics.metrics(index),
            )
        )
    return tuple(documents)


def bundle_documents(
    joined: JoinedOrders, order_metrics: OrderMetrics, window: NDArray[np.bool_]
) -> tuple[BundleMetrics, ...]:
    """Return every bundle with a prediction in the window that has an outcome, by ID."""
    in_window = joined.has_prediction & window
    grouped = order_metrics.group_by(np.where(in_window, joined.bundle_code, -1), len(joined.bundle_ids))
    days = joined.outcomes.day
    return tuple(
        BundleMetrics(
            bundle=joined.bundle_ids[code],
            orders=int(rows.sum()),
            days=DateRange(first=to_date(int(days[rows].min())), last=to_date(int(days[rows].max()))),
            metrics=grouped.metrics(code),
        )
        for code in range(len(joined.bundle_ids))
        if (rows := in_window & (joined.bundle_code == code)).any()
    )


def count_predictions(
    joined: JoinedOrders, predictions: UniquePredictions, counts: DailyCounts, window: range
) -> PredictionCounts:
    """Return the counts of predictions and outcomes on the days of `window`, which counts from `counts.first_day`."""
    first_day, first_predicted = counts.first_day + window.start, counts.first_predicted
    still_open = joined.without_outcome.filter(joined.without_outcome["day"] >= first_day)
    in_window = joined.outcomes.day >= first_day
    with_prediction = joined.has_prediction & in_window
    unusable = int(counts.unusable[window.start :].sum())
    predictions_start = window.stop if first_predicted is None else max(first_predicted, window.start)
    before_first_prediction = int(counts.usable[window.start : predictions_start].sum())
    by_api = int((with_prediction & joined.from_api).sum()) + int(still_open["api"].sum())
    total = int(with_prediction.sum()) + len(still_open)
    return PredictionCounts(
        orders=int(in_window.sum()) + unusable,
        usable=int(in_window.sum()),
        unusable=unusable,
        with_prediction=int(with_prediction.sum()),
        without_prediction=int((in_window & ~joined.has_prediction).sum()) - before_first_prediction,
        before_first_prediction=before_first_prediction,
        first_prediction=None if first_predicted is None else to_date(counts.first_day + first_predicted),
        without_outcome=len(still_open),
        evaluated=int((joined.evaluated & in_window).sum()),
        from_batch=total - by_api,
        from_api=by_api,
        in_both=predictions.in_both,
        duplicates=predictions.repeated,
        unreadable_log_lines=predictions.unreadable_lines,
        without_order_key=predictions.unidentified,
    )


def label_audit(outcomes: AuditedOutcomes, first_day: int, last_day: int) -> LabelAudit:
    """Return the validation reasons of the rows in the window, including rows whose time can't be parsed."""
    within = (outcomes.audited_days >= first_day) | (outcomes.audited_days < 0)
    reasons, on_last_day = outcomes.audited_reasons[within], outcomes.audited_days[within] == last_day
    label_reasons = []
    for reason in ValidationReason:
        has_reason = (reasons & np.uint32(reason.bit)) != 0
        if has_reason.any():
            label_reasons.append(
                LabelReason(
                    reason=str(reason),
                    description=validation_rule(reason).description,
                    orders=int(has_reason.sum()),
                    orders_on_last_day=int((has_reason & on_last_day).sum()),
                )
            )
    evaluable = is_usable(reasons, Purpose.EVALUATION)
    return LabelAudit(rows=len(reasons), evaluable=int(evaluable.sum()), reasons=tuple(label_reasons))
