"""`preptime monitor`: the monitoring document of one date from orders, results, the API log, and the store."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from preptime.features.restaurant_index import RestaurantIndex
from preptime.monitoring.bundles import BundleSource, backtest_baseline
from preptime.monitoring.daily_metrics import (
    DailyCounts,
    GroupMetrics,
    OrderMetrics,
    bundle_documents,
    count_predictions,
    day_documents,
    label_audit,
    segment_metrics,
)
from preptime.monitoring.document import BacktestBaseline, DateRange, Drift, MonitoringDocument
from preptime.monitoring.drift import drift_unavailable, measure_drift
from preptime.monitoring.headline import RecentWeek, headline
from preptime.monitoring.joined_predictions import JoinedOrders, join, training_behind_predictions
from preptime.monitoring.outcomes import AuditedOutcomes, read_outcomes, to_day_number
from preptime.monitoring.recorded_predictions import UniquePredictions, read_predictions
from preptime.monitoring.reference import ReferenceCache
from preptime.monitoring.rule_evaluation import (
    DailyShare,
    evaluate_drift,
    evaluate_metrics,
    evaluate_share,
    evaluate_volume,
)
from preptime.monitoring.rules import (
    FALLBACK_RATE,
    INVALID_LABELS,
    MISSING_OUTCOMES,
    MISSING_PREDICTIONS,
    RULES,
    UNKNOWN_CATEGORIES,
    UNKNOWN_RESTAURANTS,
    RuleResult,
)
from preptime.monitoring.shift_rules import ShiftScan, build_ratio_series, evaluate_shifts, scan_shifts
from preptime.sources.results import ResultsFolder
from preptime.sources.source import DataSource

WINDOW_DAYS = 28
"""The days that metrics, segments, and counts cover. Each run recomputes them, because outcomes arrive late."""
READ_DAYS = 42
"""The days that are read. The additional days are the reference of the first days in the window."""
RECENT_DAYS = 7
ONE_DAY = dt.timedelta(days=1)


@dataclass(frozen=True)
class MonitoringInputs:
    """The inputs of monitoring."""

    orders: DataSource
    restaurants: RestaurantIndex
    results: ResultsFolder
    bundle_source: BundleSource
    log_dir: Path | None = None
    """The folder of the API's prediction log, or None."""
    references: ReferenceCache = field(default_factory=ReferenceCache)


@dataclass(frozen=True)
class _Analysis:
    """Intermediate results, which rules and the document use."""

    date: dt.date
    champion: str | None
    audited: AuditedOutcomes
    predictions: UniquePredictions
    joined: JoinedOrders
    baseline: BacktestBaseline | None
    order_metrics: OrderMetrics
    daily_metrics: GroupMetrics
    counts: DailyCounts
    shifts: ShiftScan
    drift: Drift

    @property
    def window(self) -> DateRange:
        """Return the days that metrics cover."""
        return _days_before(self.date, WINDOW_DAYS)

    def in_last_days(self, days: int) -> NDArray[np.bool_]:
        """Return which outcomes are of the last `days` days, [N]."""
        within: NDArray[np.bool_] = self.joined.outcomes.day >= to_day_number(self.date) - days
        return within


def monitor_day(inputs: MonitoringInputs, date: dt.date) -> MonitoringDocument:
    """Return the monitoring document as of `date`. Writes nothing.

    Raises `DataError` if orders or results can't be read, and `BundleVerificationError` if a bundle is damaged.
    """
    analysis = _analyze(inputs, date)
    return _build_document(analysis, _evaluate_rules(analysis))


def _days_before(date: dt.date, days: int) -> DateRange:
    return DateRange(first=date - days * ONE_DAY, last=date - ONE_DAY)


def _analyze(inputs: MonitoringInputs, date: dt.date) -> _Analysis:
    read_range, window = _days_before(date, READ_DAYS), _days_before(date, WINDOW_DAYS)
    audited = read_outcomes(inputs.orders, inputs.restaurants, date, read_range.first)
    predictions = read_predictions(
        inputs.results, inputs.log_dir, inputs.restaurants, read_range, count_from=window.first
    )
    joined = join(audited.outcomes, predictions, inputs.restaurants, inputs.bundle_source)
    manifest = training_behind_predictions(joined, inputs.bundle_source, date)
    if joined.has_prediction.any():
        reference = None if manifest is None else inputs.references.get(manifest, inputs.orders, inputs.restaurants)
        drift_result = measure_drift(joined, reference, date)
    else:
        drift_result = drift_unavailable("There are no predictions in the monitored days.")
    start = to_day_number(read_range.first)
    order_metrics = OrderMetrics.from_joined(joined)
    return _Analysis(
        date=date,
        champion=inputs.bundle_source.champion_as_of(date),
        audited=audited,
        predictions=predictions,
        joined=joined,
        baseline=None if manifest is None else backtest_baseline(manifest),
        order_metrics=order_metrics,
        daily_metrics=order_metrics.group_by(joined.outcomes.day - start, READ_DAYS),
        counts=DailyCounts.from_joined(joined, audited, start, READ_DAYS),
        shifts=scan_shifts(joined, start, READ_DAYS),
        drift=drift_result,
    )


def _evaluate_rules(analysis: _Analysis) -> list[RuleResult]:
    """Return the results of all rules, in the order of `RULES`."""
    last_day = analysis.window.last
    results = [
        *evaluate_shifts(analysis.shifts),
        *evaluate_metrics(analysis.daily_metrics, analysis.baseline, last_day),
        *evaluate_drift(analysis.drift),
        *_evaluate_count_rules(analysis.counts, analysis.joined, last_day),
    ]
    return sorted(results, key=lambda result: RULES.index(result.rule))


def _build_document(analysis: _Analysis, results: list[RuleResult]) -> MonitoringDocument:
    alerts = tuple(alert for result in results for alert in result.alerts)
    window, recent_days = analysis.window, _days_before(analysis.date, RECENT_DAYS)
    joined, order_metrics, counts = analysis.joined, analysis.order_metrics, analysis.counts
    in_window, recent_metrics = (
        analysis.in_last_days(WINDOW_DAYS),
        order_metrics.total(analysis.in_last_days(RECENT_DAYS)),
    )
    ratio_series, ratio = build_ratio_series(analysis.shifts), analysis.shifts.dimensions[0].daily_ratios.ratio()[0]
    prediction_counts = count_predictions(joined, analysis.predictions, in_window, to_day_number(window.first))
    window_days = range(READ_DAYS - WINDOW_DAYS, READ_DAYS)
    return MonitoringDocument(
        date=analysis.date,
        window=window,
        headline=headline(
            alerts, ratio_series, RecentWeek(recent_days, recent_metrics), analysis.baseline, prediction_counts
        ),
        champion=analysis.champion,
        backtest_baseline=analysis.baseline,
        alerts=alerts,
        rules=tuple(result.to_report() for result in results),
        metrics=order_metrics.total(in_window),
        recent_metrics=recent_metrics,
        recent_days=recent_days,
        prediction_counts=prediction_counts,
        days=day_documents(joined, counts, analysis.daily_metrics, ratio, window_days),
        bundles=bundle_documents(joined, order_metrics, in_window),
        segments=segment_metrics(joined, order_metrics, in_window),
        ratio_series=ratio_series,
        drift=analysis.drift,
        label_audit=label_audit(analysis.audited, to_day_number(window.first), to_day_number(window.last)),
    )


def _evaluate_count_rules(counts: DailyCounts, joined: JoinedOrders, last_day: dt.date) -> list[RuleResult]:
    names = joined.restaurants.vocabularies.city
    volume = evaluate_volume(np.vstack([counts.orders, counts.by_city]), ("all", *names), to_day_number(last_day))
    fallback_predictions = counts.with_prediction - counts.by_fallback_level[0]
    # Orders before the first prediction don't count as missing.
    since = slice(int(np.argmax(counts.with_prediction > 0)), None)
    return [
        *volume,
        evaluate_share(
            FALLBACK_RATE,
            DailyShare(fallback_predictions, counts.with_prediction),
            last_day,
            "predictions without restaurant history",
        ),
        evaluate_share(
            UNKNOWN_CATEGORIES,
            DailyShare(counts.unknown_category, counts.with_outcome),
            last_day,
            "orders of a city or type of food that the models don't know",
        ),
        evaluate_share(
            UNKNOWN_RESTAURANTS,
            DailyShare(counts.unknown_restaurant, counts.orders),
            last_day,
            "orders of restaurants that aren't in the restaurants file",
        ),
        evaluate_share(
            INVALID_LABELS,
            DailyShare(counts.invalid_labels, counts.audited),
            last_day,
            "invalid labels",
        ),
        evaluate_share(
            MISSING_PREDICTIONS,
            DailyShare(counts.without_prediction[since], counts.orders[since]),
            last_day,
            "orders without a prediction",
        ),
        evaluate_share(
            MISSING_OUTCOMES,
            DailyShare(counts.without_outcome, counts.with_prediction),
            last_day,
            "predictions without an outcome",
        ),
    ]
