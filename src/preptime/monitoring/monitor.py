"""`preptime monitor`: the monitoring document of one date from orders, results, the API log, and the store."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from preptime.evaluation.metrics import INTERVAL_LEVEL, MAE
from preptime.evaluation.summary_text import format_minutes, format_percent, without_ends_text
from preptime.features.feature_set import FeatureSet
from preptime.features.restaurant_index import RestaurantIndex
from preptime.formatting import format_count
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
from preptime.monitoring.document import (
    Alert,
    BacktestBaseline,
    DateRange,
    Day,
    Drift,
    MonitoringDocument,
    PredictionCounts,
    PredictionMetrics,
    RatioSeries,
)
from preptime.monitoring.drift import drift_unavailable, measure_drift
from preptime.monitoring.joined_predictions import JoinedOrders, join, training_behind_predictions
from preptime.monitoring.outcomes import AuditedOutcomes, read_outcomes, to_day_number
from preptime.monitoring.recorded_predictions import UniquePredictions, read_predictions
from preptime.monitoring.reference import NO_WHOLE_WEEK, ReferenceCache
from preptime.monitoring.rule_evaluation import (
    DailyShare,
    LastDay,
    evaluate_drift,
    evaluate_metrics,
    evaluate_missing_predictions,
    evaluate_share,
    evaluate_volume,
)
from preptime.monitoring.rules import (
    FALLBACK_RATE,
    INVALID_LABELS,
    MISSING_OUTCOMES,
    RULES,
    UNKNOWN_CATEGORIES,
    UNKNOWN_RESTAURANTS,
    Rule,
    RuleResult,
    overall_status,
    summarize_statuses,
)
from preptime.monitoring.shift_rules import ShiftScan, build_ratio_series, evaluate_shift_rules, scan_ratios
from preptime.schema.schema import Schema
from preptime.sources.prediction_logs import PredictionLogSource
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
    prediction_log: PredictionLogSource | None = None
    """The API's prediction log, or None."""
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
    shift_scan: ShiftScan
    drift: Drift

    @property
    def window(self) -> DateRange:
        """Return the days that metrics cover."""
        return _days_before(self.date, WINDOW_DAYS)

    def in_last_days(self, days: int) -> NDArray[np.bool_]:
        """Return which outcomes are of the last `days` days, [N]."""
        within: NDArray[np.bool_] = self.joined.outcomes.day >= to_day_number(self.date) - days
        return within


@dataclass(frozen=True, slots=True)
class _RecentWeek:
    """The latest seven days."""

    days: DateRange
    metrics: PredictionMetrics


def monitor_day(inputs: MonitoringInputs, date: dt.date) -> MonitoringDocument:
    """Return the document as of `date`. Raises `DataError` (orders, results) or `BundleVerificationError` (bundles)."""
    analysis = _analyze(inputs, date)
    return _build_document(analysis, _evaluate_rules(analysis))


def _schema_of(inputs: MonitoringInputs, bundle: str) -> Schema:
    """Return the schema of a bundle. For a pruned bundle, it's that of the monitored orders."""
    manifest = inputs.bundle_source.manifest(bundle)
    return inputs.orders.schema if manifest is None else manifest.schema


def _with_vocabularies_of(bundle: str | None, inputs: MonitoringInputs) -> RestaurantIndex:
    """Return the restaurants with the custom features of a bundle, whose vocabularies the codes of orders need.

    A restaurants file has no vocabularies of the custom categories of orders.
    """
    manifest = None if bundle is None else inputs.bundle_source.manifest(bundle)
    if manifest is None:
        return inputs.restaurants
    return inputs.restaurants.with_custom_features(manifest.vocabularies, FeatureSet.from_schema(manifest.schema))


def _days_before(date: dt.date, days: int) -> DateRange:
    return DateRange(first=date - days * ONE_DAY, last=date - ONE_DAY)


def _analyze(inputs: MonitoringInputs, date: dt.date) -> _Analysis:
    read_range, window = _days_before(date, READ_DAYS), _days_before(date, WINDOW_DAYS)
    champion = inputs.bundle_source.champion_as_of(date)
    restaurants = _with_vocabularies_of(champion, inputs)
    audited = read_outcomes(inputs.orders, restaurants, date, read_range.first)
    predictions = read_predictions(
        inputs.results,
        inputs.prediction_log,
        inputs.restaurants,
        read_range,
        count_from=window.first,
        schema_of=partial(_schema_of, inputs),
    )
    joined = join(audited.outcomes, predictions, restaurants, inputs.bundle_source)
    manifest = training_behind_predictions(joined, inputs.bundle_source, date)
    if joined.has_prediction.any():
        reference = (
            NO_WHOLE_WEEK if manifest is None else inputs.references.get(manifest, inputs.orders, inputs.restaurants)
        )
        drift_result = measure_drift(joined, reference, date)
    else:
        drift_result = drift_unavailable("There are no predictions in the monitored days.")
    start = to_day_number(read_range.first)
    order_metrics = OrderMetrics.from_joined(joined)
    return _Analysis(
        date=date,
        champion=champion,
        audited=audited,
        predictions=predictions,
        joined=joined,
        baseline=None if manifest is None else backtest_baseline(manifest),
        order_metrics=order_metrics,
        daily_metrics=order_metrics.group_by(joined.outcomes.day - start, READ_DAYS),
        counts=DailyCounts.from_joined(joined, audited, start, READ_DAYS),
        shift_scan=scan_ratios(joined, start, READ_DAYS),
        drift=drift_result,
    )


def _evaluate_rules(analysis: _Analysis) -> list[RuleResult]:
    """Return the results of all rules, in the order of `RULES`."""
    last_day = analysis.window.last
    results = [
        *evaluate_shift_rules(analysis.shift_scan),
        *evaluate_metrics(analysis.daily_metrics, analysis.baseline, last_day),
        *evaluate_drift(analysis.drift),
        *_evaluate_volume_rules(analysis, last_day),
        *_evaluate_share_rules(analysis.counts, last_day),
    ]
    return sorted(results, key=lambda result: RULES.index(result.rule))


def _build_document(analysis: _Analysis, results: list[RuleResult]) -> MonitoringDocument:
    alerts = tuple(alert for result in results for alert in result.alerts)
    window, recent_days = analysis.window, _days_before(analysis.date, RECENT_DAYS)
    joined, order_metrics, counts = analysis.joined, analysis.order_metrics, analysis.counts
    in_window = analysis.in_last_days(WINDOW_DAYS)
    recent_metrics = order_metrics.total(analysis.in_last_days(RECENT_DAYS))
    ratio_series, ratio = (
        build_ratio_series(analysis.shift_scan),
        analysis.shift_scan.dimensions[0].daily_ratios.ratio()[0],
    )
    window_days = range(READ_DAYS - WINDOW_DAYS, READ_DAYS)
    prediction_counts = count_predictions(joined, analysis.predictions, counts, window_days)
    days = day_documents(joined, counts, analysis.daily_metrics, ratio, window_days)
    return MonitoringDocument(
        date=analysis.date,
        window=window,
        headline=(
            *_rule_sentences(results, ratio_series, recent_days),
            _last_day_sentence(window.last, days),
            *_prediction_sentences(_RecentWeek(recent_days, recent_metrics), analysis.baseline, prediction_counts),
        ),
        status=overall_status(results),
        champion=analysis.champion,
        backtest_baseline=analysis.baseline,
        alerts=alerts,
        rules=tuple(result.to_report() for result in results),
        metrics=order_metrics.total(in_window),
        recent_metrics=recent_metrics,
        recent_days=recent_days,
        prediction_counts=prediction_counts,
        days=days,
        bundles=bundle_documents(joined, order_metrics, in_window),
        segments=segment_metrics(joined, order_metrics, in_window),
        ratio_series=ratio_series,
        drift=analysis.drift,
        label_audit=label_audit(analysis.audited, to_day_number(window.first), to_day_number(window.last)),
    )


def _evaluate_volume_rules(analysis: _Analysis, last_day: dt.date) -> tuple[RuleResult, RuleResult]:
    counts, names = analysis.counts, analysis.joined.restaurants.vocabularies.city
    orders = int(counts.orders[-1])
    return evaluate_volume(
        np.vstack([counts.usable, counts.by_city]),
        ("all", *names),
        LastDay(last_day, orders, analysis.audited.unusable_on_last_day),
    )


def _evaluate_share_rules(counts: DailyCounts, last_day: dt.date) -> list[RuleResult]:
    # Orders before the first prediction don't count as missing. Without predictions, the rule has no day to test.
    since = slice(len(counts.usable) - 1 if counts.first_predicted is None else counts.first_predicted, None)
    missing_predictions = DailyShare(
        counts.without_prediction[since],
        counts.usable[since],
        "usable orders since the first prediction",
        "have no prediction",
    )
    return [
        *(evaluate_share(rule, share, last_day) for rule, share in _daily_shares(counts)),
        evaluate_missing_predictions(missing_predictions, int(counts.with_prediction[-1]), last_day),
    ]


def _daily_shares(counts: DailyCounts) -> tuple[tuple[Rule, DailyShare], ...]:
    """Return the rules about all days, each with its share."""
    by_level = counts.by_fallback_level
    return (
        (
            FALLBACK_RATE,
            DailyShare(
                by_level[1:].sum(axis=0),
                by_level.sum(axis=0),
                "predictions with a known fallback level",
                "use no restaurant history",
            ),
        ),
        (
            UNKNOWN_CATEGORIES,
            DailyShare(
                counts.unknown_category,
                counts.with_outcome,
                "orders with a prediction and an outcome",
                "are of a city or type of food that the models don't know",
            ),
        ),
        (
            UNKNOWN_RESTAURANTS,
            DailyShare(
                counts.unknown_restaurant,
                counts.usable,
                "usable orders",
                "are of restaurants that aren't in the restaurants file",
            ),
        ),
        (INVALID_LABELS, DailyShare(counts.invalid_labels, counts.audited, "rows", "have an invalid label")),
        (
            MISSING_OUTCOMES,
            DailyShare(
                counts.open_at_end, counts.with_prediction, "predictions", "had no outcome at the end of their day"
            ),
        ),
    )


def _rule_sentences(
    results: list[RuleResult], ratio_series: tuple[RatioSeries, ...], recent_days: DateRange
) -> tuple[str, ...]:
    """Return a sentence about alerts, if there are any, and one about how many rules had enough data."""
    alerts = tuple(alert for result in results for alert in result.alerts)
    first = (_alert_sentence(alerts),) if alerts else ()
    return (*first, summarize_statuses(results), *_recent_alert_sentences(ratio_series, recent_days))


def _last_day_sentence(date: dt.date, days: tuple[Day, ...]) -> str:
    """Return the counts and the error of the latest day."""
    day = days[-1] if days and days[-1].date == date else None
    if day is None:
        return f"No order of {date} has an outcome or a prediction."
    with_both = day.predictions - day.without_outcome
    orders = format_count(day.orders, "completed order")
    sentence = f"{orders} on {date}: {day.usable:,} usable, {with_both:,} with a prediction"
    if day.metrics.mae is not None:
        sentence += f", mean error {format_minutes(day.metrics.mae)} minutes"
    return f"{sentence}."


def _prediction_sentences(
    recent: _RecentWeek, baseline: BacktestBaseline | None, counts: PredictionCounts
) -> tuple[str, ...]:
    """Return sentences about the last seven days, and about what is missing in the window."""
    if not counts.with_prediction and not counts.without_outcome:
        return ("There are no predictions in the monitored days.",)
    return (*_metric_sentences(recent.metrics, recent.days, baseline), *_missing_data_sentences(counts))


def _recent_alert_sentences(ratio_series: tuple[RatioSeries, ...], days: DateRange) -> list[str]:
    """Return alerts of the days before, because a lasting shift doesn't fire every day."""
    fired = [
        (series, [day.date for day in series.days if day.fired and days.first <= day.date < days.last])
        for series in ratio_series
    ]
    descriptions = [
        f"{'all orders' if series.segment == 'overall' else series.value} ({dates[-1]})"
        for series, dates in fired
        if dates
    ]
    return [f"Alerts on the days before: {', '.join(descriptions)}."] if descriptions else []


def _alert_sentence(alerts: tuple[Alert, ...]) -> str:
    if len(alerts) == 1:
        return alerts[0].message
    others = "is 1 more alert" if len(alerts) == 2 else f"are {len(alerts) - 1} more alerts"
    return f"{alerts[0].message} There {others}."


def _metric_sentences(metrics: PredictionMetrics, days: DateRange, baseline: BacktestBaseline | None) -> list[str]:
    if metrics.mae is None:
        return [f"No prediction from {days.first} to {days.last} has an outcome yet."]
    sentence = f"From {days.first} to {days.last}, the mean error was {format_minutes(metrics.mae)} minutes"
    if baseline is not None and baseline.metrics.mae is not None:
        sentence += f" (backtest: {format_minutes(baseline.metrics.mae)})"
    sentence += f", and {format_percent(metrics.within_5_min, 0)} of the predictions were within five minutes."
    sentences = [sentence]
    if metrics.lookup_mae is not None and metrics.lookup_n == metrics.n:
        comparison = "smaller" if MAE.is_better(metrics.mae, metrics.lookup_mae) else "not smaller"
        lookup = f"the restaurant lookup's ({format_minutes(metrics.lookup_mae)} minutes)"
        sentences.append(f"The mean error is {comparison} than {lookup}.")
    if metrics.coverage is not None:
        sentences.append(
            f"The p10–p90 interval held {format_percent(metrics.coverage)} of the orders"
            f"{without_ends_text(metrics.coverage, metrics.coverage_inside)} "
            f"(target: {format_percent(INTERVAL_LEVEL, 0)})."
        )
    return sentences


def _missing_data_sentences(counts: PredictionCounts) -> list[str]:
    expected = counts.usable - counts.before_first_prediction
    sentences = (
        (counts.unusable, f"Not usable: {counts.unusable:,} of {format_count(counts.orders, 'order')} in the window."),
        (
            counts.before_first_prediction,
            f"Predictions start on {counts.first_prediction}. Earlier orders don't count as missing.",
        ),
        (
            counts.without_prediction,
            f"Without a prediction: {counts.without_prediction:,} of {format_count(expected, 'usable order')}.",
        ),
        (
            counts.without_outcome,
            f"Without an outcome as of the date: {format_count(counts.without_outcome, 'prediction')}.",
        ),
    )
    return [sentence for count, sentence in sentences if count]
