"""`monitor`: one morning's look at how it went, a function of the orders, the results, the log and the store."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from preptime.features.restaurant_index import RestaurantIndex
from preptime.monitoring import daily_metrics as counted
from preptime.monitoring.baseline import RecentWeek, backtest_baseline, headline, training_behind_predictions
from preptime.monitoring.bundles import BundleSource
from preptime.monitoring.daily_metrics import GroupMetrics, OrderMetrics, segment_metrics
from preptime.monitoring.document import BacktestBaseline, DateRange, Drift, MonitoringDocument
from preptime.monitoring.drift import drift_unavailable, measure_drift
from preptime.monitoring.joined_predictions import JoinedOrders, join
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
"""Days that figures, segments and counts are about, redone every morning since outcomes come late."""
READ_DAYS = 42
"""Days that are read: a morning four weeks into them still has its past to be compared with."""
RECENT_DAYS = 7
ONE_DAY = dt.timedelta(days=1)


@dataclass(frozen=True)
class MonitoringInputs:
    """Where everything is that a morning is a function of."""

    orders: DataSource
    restaurants: RestaurantIndex
    results: ResultsFolder
    bundle_source: BundleSource
    log_dir: Path | None = None
    """The folder of the API's prediction log; None when there is none."""
    references: ReferenceCache = field(default_factory=ReferenceCache)


@dataclass(frozen=True)
class _Analysis:
    """Everything that was looked at."""

    date: dt.date
    champion: str | None
    audited: AuditedOutcomes
    predictions: UniquePredictions
    joined: JoinedOrders
    baseline: BacktestBaseline | None
    order_metrics: OrderMetrics
    daily_metrics: GroupMetrics
    counts: counted.DailyCounts
    shifts: ShiftScan
    drift: Drift

    @property
    def window(self) -> DateRange:
        """The days that figures are about."""
        return _days_before(self.date, WINDOW_DAYS)

    def in_last_days(self, days: int) -> NDArray[np.bool_]:
        """[N] which outcomes are of the last `days` days."""
        within: NDArray[np.bool_] = self.joined.outcomes.day >= to_day_number(self.date) - days
        return within


def monitor_day(inputs: MonitoringInputs, date: dt.date) -> MonitoringDocument:
    """What was known on the morning of `date`. Writes nothing.

    Raises `DataError` for orders or results that cannot be read, `BundleVerificationError` for a damaged bundle.
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
        drift_result = drift_unavailable("Nothing was answered in the days looked at.")
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
        counts=counted.DailyCounts.from_joined(joined, audited, start, READ_DAYS),
        shifts=scan_shifts(joined, start, READ_DAYS),
        drift=drift_result,
    )


def _evaluate_rules(analysis: _Analysis) -> list[RuleResult]:
    """Every rule, in the order of `RULES`."""
    last_day = analysis.window.last
    results = [
        *evaluate_shifts(analysis.shifts),
        *evaluate_metrics(analysis.daily_metrics, analysis.baseline, last_day),
        *evaluate_drift(analysis.drift),
        *_evaluate_count_rules(analysis.counts, analysis.joined, last_day),
    ]
    return sorted(results, key=lambda one: RULES.index(one.rule))


def _build_document(analysis: _Analysis, results: list[RuleResult]) -> MonitoringDocument:
    alerts = tuple(alert for result in results for alert in result.alerts)
    window, recent_days = analysis.window, _days_before(analysis.date, RECENT_DAYS)
    joined, order_metrics, counts = analysis.joined, analysis.order_metrics, analysis.counts
    in_window, recent_metrics = (
        analysis.in_last_days(WINDOW_DAYS),
        order_metrics.total(analysis.in_last_days(RECENT_DAYS)),
    )
    ratio_series, ratio = build_ratio_series(analysis.shifts), analysis.shifts.dimensions[0].daily_ratios.ratio()[0]
    prediction_counts = counted.count_predictions(joined, analysis.predictions, in_window, to_day_number(window.first))
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
        days=counted.day_documents(joined, counts, analysis.daily_metrics, ratio, window_days),
        bundles=counted.bundle_documents(joined, order_metrics, in_window),
        segments=segment_metrics(joined, order_metrics, in_window),
        ratio_series=ratio_series,
        drift=analysis.drift,
        label_audit=counted.label_audit(analysis.audited, to_day_number(window.first), to_day_number(window.last)),
    )


def _evaluate_count_rules(counts: counted.DailyCounts, joined: JoinedOrders, last_day: dt.date) -> list[RuleResult]:
    names = joined.restaurants.vocabularies.city
    volume = evaluate_volume(np.vstack([counts.orders, counts.by_city]), ("all", *names), to_day_number(last_day))
    fallback_predictions = counts.with_prediction - counts.by_fallback_level[0]
    # Before the first answer nobody was asked.
    since = slice(int(np.argmax(counts.with_prediction > 0)), None)
    return [
        *volume,
        evaluate_share(
            FALLBACK_RATE,
            DailyShare(fallback_predictions, counts.with_prediction),
            last_day,
            "answers without an order of their restaurant",
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
            "orders of restaurants that the restaurants file lacks",
        ),
        evaluate_share(
            INVALID_LABELS,
            DailyShare(counts.invalid_labels, counts.audited),
            last_day,
            "labels that are no preparation times",
        ),
        evaluate_share(
            MISSING_PREDICTIONS,
            DailyShare(counts.without_prediction[since], counts.orders[since]),
            last_day,
            "orders without an answer",
        ),
        evaluate_share(
            MISSING_OUTCOMES,
            DailyShare(counts.without_outcome, counts.with_prediction),
            last_day,
            "answers without an outcome",
        ),
    ]
