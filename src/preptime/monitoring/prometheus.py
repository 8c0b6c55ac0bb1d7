"""`monitoring.prom`: the morning as a Prometheus text file, for a node exporter's textfile collector or a push gateway.

Gauges only, without timestamps: a file of yesterday is known by `preptime_monitor_date_seconds`. Names and labels are a
promise: docs/monitoring.md lists them.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from preptime.monitoring.document import MonitoringDocument, PredictionMetrics

PREFIX = "preptime_monitor_"


@dataclass(frozen=True, slots=True)
class Gauge:
    """One metric: its name without the prefix, what it means, and its samples (labels and value)."""

    name: str
    description: str
    samples: tuple[tuple[dict[str, str], float], ...]


def render(document: MonitoringDocument) -> bytes:
    """The document's gauges in Prometheus' text format; a figure without a value is left out."""
    return b"".join(_format_gauge(gauge).encode() for gauge in gauges(document) if gauge.samples)


def gauges(document: MonitoringDocument) -> Iterator[Gauge]:
    """Every metric, in the order of the file."""
    midnight = dt.datetime.combine(document.date, dt.time(), dt.UTC).timestamp()
    yield _gauge("date_seconds", "The date D of this file, as seconds since 1970 (UTC midnight).", midnight)
    counts = document.prediction_counts
    states = ("with_prediction", "without_prediction", "without_outcome", "evaluated")
    yield Gauge(
        "orders",
        "Orders of the window, by what became of them.",
        tuple(({"state": state}, float(getattr(counts, state))) for state in states),
    )
    yield from _metric_gauges(document)
    if document.backtest_baseline is not None:
        yield _optional_gauge(
            "backtest_mae_seconds",
            "Mean absolute error that the backtest promised.",
            document.backtest_baseline.metrics.mae,
        )
    yield from _latest_day_gauges(document)
    yield Gauge(
        "actual_to_predicted_ratio",
        "Typical actual ÷ predicted of the latest stretch of days.",
        tuple(
            ({"segment": item.segment, "value": item.value}, item.recent_ratio)
            for item in document.ratio_series
            if item.recent_ratio is not None
        ),
    )
    yield Gauge(
        "feature_psi",
        "Population stability index of a feature, and of the prediction, against its reference.",
        tuple(({"feature": item.name}, item.psi) for item in document.drift.features if item.psi is not None),
    )
    yield Gauge(
        "rule_fired",
        "1 where a rule fired, 0 where it was looked at and did not.",
        tuple(
            ({"rule": item.rule}, float(item.status == "fired"))
            for item in document.rules
            if item.status != "insufficient_data"
        ),
    )
    yield Gauge(
        "alert",
        "1 for every alert of this morning.",
        tuple(({"rule": item.rule, "segment": item.segment, "value": item.value}, 1.0) for item in document.alerts),
    )
    yield _gauge("alerts", "How many alerts fired this morning.", float(len(document.alerts)))


def _metric_gauges(document: MonitoringDocument) -> Iterator[Gauge]:
    windows = (("7d", document.recent_metrics), ("28d", document.metrics))

    def gauge(name: str, description: str, field: str) -> Gauge:
        return Gauge(
            name,
            description,
            tuple(_with_values(({"days": days}, getattr(metrics, field)) for days, metrics in windows)),
        )

    yield gauge("mae_seconds", "Mean absolute error of the default answer.", "mae")
    yield gauge("lookup_mae_seconds", "Mean absolute error of the restaurant lookup.", "lookup_mae")
    yield gauge("bias_seconds", "Mean of predicted minus actual.", "bias")
    yield gauge("within_5_min_ratio", "Share of answers within five minutes.", "within_5_min")
    yield gauge("coverage_ratio", "Share of outcomes inside p10 to p90; 0.8 is promised.", "coverage")
    yield Gauge("pinball_seconds", "Mean pinball loss of a quantile.", tuple(_with_values(_pinball_samples(windows))))


def _pinball_samples(
    windows: tuple[tuple[str, PredictionMetrics], ...],
) -> Iterator[tuple[dict[str, str], float | None]]:
    for days, metrics in windows:
        for quantile in metrics.quantiles:
            yield {"days": days, "quantile": f"{quantile.p:g}"}, quantile.pinball


def _latest_day_gauges(document: MonitoringDocument) -> Iterator[Gauge]:
    latest = next((day for day in document.days if day.date == document.window.last), None)
    if latest is None:
        return
    yield _gauge("day_orders", "Orders of the day before D that were ready by its midnight.", float(latest.orders))
    yield Gauge(
        "day_predictions",
        "Answers of the day before D, by the level of history behind them.",
        tuple(({"fallback_level": name}, float(count)) for name, count in latest.by_fallback_level.items()),
    )
    yield _gauge(
        "day_unknown_restaurants",
        "Orders of the day before D whose restaurant the restaurants file lacks.",
        float(latest.unknown_restaurants),
    )


def _gauge(name: str, description: str, value: float) -> Gauge:
    return Gauge(name, description, (({}, value),))


def _optional_gauge(name: str, description: str, value: float | None) -> Gauge:
    return Gauge(name, description, tuple(_with_values([({}, value)])))


def _with_values(
    samples: Iterable[tuple[dict[str, str], float | None]],
) -> Iterator[tuple[dict[str, str], float]]:
    return ((labels, value) for labels, value in samples if value is not None)


def _format_gauge(gauge: Gauge) -> str:
    name = PREFIX + gauge.name
    samples = "".join(f"{name}{_format_labels(labels)} {value!r}\n" for labels, value in gauge.samples)
    return f"# HELP {name} {gauge.description}\n# TYPE {name} gauge\n{samples}"


def _format_labels(labels: dict[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escape_label(value)}"' for name, value in labels.items()) + "}"


def _escape_label(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
