"""Which training stands behind the answers, and what its backtest promised.

A morning in a few sentences.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import msgspec
import numpy as np

from preptime.bundle.manifest import Manifest
from preptime.errors import BundleVerificationError
from preptime.evaluation.documents import BacktestDocument
from preptime.evaluation.evaluated_orders import LABEL_SETS, LOOKUP
from preptime.evaluation.metrics import MAE
from preptime.evaluation.summary_text import find_score, format_minutes, format_percent
from preptime.monitoring.bundles import BundleSource
from preptime.monitoring.document import (
    Alert,
    BacktestBaseline,
    DateRange,
    PredictionCounts,
    PredictionMetrics,
    RatioSeries,
)
from preptime.monitoring.joined_predictions import JoinedOrders


def training_behind_predictions(joined: JoinedOrders, bundle_source: BundleSource, date: dt.date) -> Manifest | None:
    """The training behind most of the latest answers; without any, behind the champion."""
    bundle = bundle_source.champion_as_of(date)
    answered = joined.has_prediction
    if answered.any():
        latest = answered & (joined.outcomes.day == joined.outcomes.day[answered].max())
        bundle = joined.bundle_ids[int(np.bincount(joined.bundle_code[latest]).argmax())]
    manifest = None if bundle is None else bundle_source.manifest(bundle)
    if manifest is None or manifest.parent is None:
        return manifest
    # A refresh carries its parent's window and metrics: where the parent has been pruned, it speaks for it.
    return bundle_source.manifest(manifest.parent) or manifest


def backtest_baseline(manifest: Manifest) -> BacktestBaseline | None:
    """What the backtest of a training said; None when the bundle carries none. Raises `BundleVerificationError`."""
    if not manifest.metrics:
        return None
    try:
        backtest = msgspec.convert(manifest.metrics, BacktestDocument)
    except msgspec.ValidationError as error:
        raise BundleVerificationError(
            f"{manifest.id}/manifest.json: its metrics are no backtest ({error}).",
            "Train or refresh with this preptime.",
        ) from error
    default, lookup = (find_score(backtest, name, LABEL_SETS[0]) for name in (backtest.default_model, LOOKUP))
    if default is None:
        return None
    return BacktestBaseline(
        bundle=manifest.id,
        days=DateRange(first=dt.date.fromisoformat(backtest.first_day), last=dt.date.fromisoformat(backtest.last_day)),
        metrics=PredictionMetrics(
            n=default.n,
            mae=default.mae,
            bias=default.bias,
            within_5_min=default.within_5_min,
            coverage=backtest.interval.coverage,
            lookup_mae=None if lookup is None else lookup.mae,
            lookup_n=0 if lookup is None else lookup.n,
            quantiles=backtest.quantiles,
        ),
    )


def headline(
    alerts: tuple[Alert, ...],
    ratio_series: tuple[RatioSeries, ...],
    recent: RecentWeek,
    baseline: BacktestBaseline | None,
    counts: PredictionCounts,
) -> tuple[str, ...]:
    """The first says whether anything fired, the others how the last seven days went."""
    first = (_alert_sentence(alerts), *_recent_alert_sentences(ratio_series, recent.days))
    if not counts.with_prediction and not counts.without_outcome:
        return (*first, "Nothing was answered in the days looked at, so nothing can be said of the answers.")
    return (*first, *_metric_sentences(recent.metrics, recent.days, baseline), *_missing_data_sentences(counts))


@dataclass(frozen=True, slots=True)
class RecentWeek:
    """The latest seven days."""

    days: DateRange
    metrics: PredictionMetrics


def _recent_alert_sentences(ratio_series: tuple[RatioSeries, ...], days: DateRange) -> list[str]:
    """What fired on the mornings before this one: a shift need not fire every day to be still there."""
    fired = [
        (series, [day.date for day in series.days if day.fired and days.first <= day.date < days.last])
        for series in ratio_series
    ]
    descriptions = [
        f"{'all orders' if series.segment == 'overall' else series.value} ({dates[-1]})"
        for series, dates in fired
        if dates
    ]
    return [f"Seen on the days before: {', '.join(descriptions)}."] if descriptions else []


def _alert_sentence(alerts: tuple[Alert, ...]) -> str:
    if not alerts:
        return "Nothing fired."
    other_count = len(alerts) - 1
    others = "" if not other_count else f" {other_count} other alert{'s' if other_count > 1 else ''} fired too."
    return f"{alerts[0].message}{others}"


def _metric_sentences(metrics: PredictionMetrics, days: DateRange, baseline: BacktestBaseline | None) -> list[str]:
    if metrics.mae is None:
        return [f"No answer from {days.first} to {days.last} has an outcome yet."]
    sentence = f"From {days.first} to {days.last} an answer was {format_minutes(metrics.mae)} minutes off on average"
    if baseline is not None and baseline.metrics.mae is not None:
        sentence += f" ({format_minutes(baseline.metrics.mae)} promised by the backtest)"
    sentence += f", {format_percent(metrics.within_5_min, 0)} were within five minutes."
    sentences = [sentence]
    if metrics.lookup_mae is not None and metrics.lookup_n == metrics.n:
        comparison = "closer than" if MAE.is_better(metrics.mae, metrics.lookup_mae) else "no closer than"
        sentences.append(f"That is {comparison} the restaurant lookup ({format_minutes(metrics.lookup_mae)}).")
    if metrics.coverage is not None:
        sentences.append(
            f"p10–p90 held {format_percent(metrics.coverage)} of the orders; 80\N{NO-BREAK SPACE}% are promised."
        )
    return sentences


def _missing_data_sentences(counts: PredictionCounts) -> list[str]:
    sentences = []
    if counts.without_prediction:
        sentences.append(f"{counts.without_prediction:,} of {counts.orders:,} orders have no answer.")
    if counts.without_outcome:
        sentences.append(f"{counts.without_outcome:,} answers have no outcome yet.")
    return sentences
