"""The summary of a monitoring document in sentences."""

from __future__ import annotations

from dataclasses import dataclass

from preptime.evaluation.metrics import INTERVAL_LEVEL, MAE
from preptime.evaluation.summary_text import format_minutes, format_percent
from preptime.monitoring.document import (
    Alert,
    BacktestBaseline,
    DateRange,
    PredictionCounts,
    PredictionMetrics,
    RatioSeries,
)


@dataclass(frozen=True, slots=True)
class RecentWeek:
    """The latest seven days."""

    days: DateRange
    metrics: PredictionMetrics


def headline(
    alerts: tuple[Alert, ...],
    ratio_series: tuple[RatioSeries, ...],
    recent: RecentWeek,
    baseline: BacktestBaseline | None,
    counts: PredictionCounts,
) -> tuple[str, ...]:
    """Return a sentence about alerts, then sentences about the last seven days."""
    first = (_alert_sentence(alerts), *_recent_alert_sentences(ratio_series, recent.days))
    if not counts.with_prediction and not counts.without_outcome:
        return (*first, "There are no predictions in the monitored days.")
    return (*first, *_metric_sentences(recent.metrics, recent.days, baseline), *_missing_data_sentences(counts))


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
    if not alerts:
        return "No alerts."
    other_count = len(alerts) - 1
    if not other_count:
        return alerts[0].message
    return f"{alerts[0].message} There {'is 1 more alert' if other_count == 1 else f'are {other_count} more alerts'}."


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
            f"The p10–p90 interval held {format_percent(metrics.coverage)} of the orders "
            f"(target: {format_percent(INTERVAL_LEVEL, 0)})."
        )
    return sentences


def _missing_data_sentences(counts: PredictionCounts) -> list[str]:
    sentences = []
    if counts.without_prediction:
        sentences.append(f"{counts.without_prediction:,} of {counts.orders:,} orders have no prediction.")
    if counts.without_outcome:
        sentences.append(f"{counts.without_outcome:,} predictions have no outcome yet.")
    return sentences
