"""`monitoring.prom`: the monitoring document as Prometheus gauges.

The file is for the textfile collector of a node exporter, or for a push gateway. Gauges have no timestamps:
`preptime_monitor_date_seconds` shows the age of a file. docs/monitoring.md lists all names and labels. They are stable.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import get_args

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import generate_latest

from preptime.domain.orders import FALLBACK_LEVELS
from preptime.domain.time_zones import last_midnight
from preptime.evaluation.summary_text import cost_ratio_text
from preptime.evaluation.waiting_cost import ARRIVALS
from preptime.monitoring.document import MonitoringDocument, PredictionMetrics, RuleStatus

PREFIX = "preptime_monitor_"


def render(document: MonitoringDocument, zone_names: Iterable[str] = ()) -> bytes:
    """Return the gauges in Prometheus' text format. A metric without a value is left out.

    `zone_names` are the time zones of the restaurants, which determine the time of the as-of date (`last_midnight`).
    """
    return generate_latest(_MonitoringCollector(document, last_midnight(document.date, zone_names)))


class _MonitoringCollector:
    """A Prometheus collector of one document."""

    def __init__(self, document: MonitoringDocument, midnight: float) -> None:
        self._document = document
        self._midnight = midnight

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Yield every gauge that has a sample, in the order of the file."""
        return (gauge for gauge in _gauges(self._document, self._midnight) if gauge.samples)


def _gauges(document: MonitoringDocument, midnight: float) -> Iterator[GaugeMetricFamily]:
    description = "Midnight of the as-of date in the westernmost time zone, including UTC, in seconds since 1970."
    yield _gauge("date_seconds", description, midnight)
    counts = document.prediction_counts
    states = (
        "usable",
        "unusable",
        "with_prediction",
        "without_prediction",
        "before_first_prediction",
        "without_outcome",
        "evaluated",
    )
    yield _labeled_gauge(
        "orders",
        "Orders of the window by state. An order can have several.",
        ("state",),
        (((state,), float(getattr(counts, state))) for state in states),
    )
    yield from _metric_gauges(document)
    if document.backtest_baseline is not None:
        yield _gauge(
            "backtest_mae_seconds", "Mean absolute error in the backtest.", document.backtest_baseline.metrics.mae
        )
    yield from _latest_day_gauges(document)
    yield _labeled_gauge(
        "actual_to_predicted_ratio",
        "Typical actual to predicted time in the recent window of a segment.",
        ("segment", "value"),
        (((series.segment, series.value), series.recent_ratio) for series in document.ratio_series),
    )
    yield _labeled_gauge(
        "feature_psi",
        "Population stability index of a feature or of the prediction.",
        ("feature",),
        (((feature.name,), feature.psi) for feature in document.drift.features),
    )
    yield from _rule_gauges(document)


def _rule_gauges(document: MonitoringDocument) -> Iterator[GaugeMetricFamily]:
    yield _labeled_gauge(
        "rule_fired",
        "1 if a rule fired, and 0 if it was evaluated and did not fire.",
        ("rule",),
        (((rule.name,), float(rule.status == "alerting")) for rule in document.rules if rule.status != "undecided"),
    )
    yield _labeled_gauge(
        "rule_undecided",
        "1 if a rule has too little data to be evaluated, and 0 if it was evaluated.",
        ("rule",),
        (((rule.name,), float(rule.status == "undecided")) for rule in document.rules),
    )
    yield _labeled_gauge(
        "rules",
        "Number of rules by status.",
        ("status",),
        (((status,), float(sum(rule.status == status for rule in document.rules))) for status in get_args(RuleStatus)),
    )
    yield _labeled_gauge(
        "alert",
        "1 for every alert.",
        ("rule", "segment", "value"),
        (((alert.rule, alert.segment, alert.value), 1.0) for alert in document.alerts),
    )
    yield _gauge("alerts", "Number of alerts.", float(len(document.alerts)))


def _metric_gauges(document: MonitoringDocument) -> Iterator[GaugeMetricFamily]:
    windows = (("7d", document.recent_metrics), ("28d", document.metrics))
    descriptions = {
        "mae_seconds": ("mae", "Mean absolute error of the default prediction."),
        "lookup_mae_seconds": ("lookup_mae", "Mean absolute error of the restaurant lookup."),
        "bias_seconds": ("bias", "Mean of predicted minus actual."),
        "within_5_min_ratio": ("within_5_min", "Share of predictions within five minutes."),
        "coverage_ratio": ("coverage", "Share of outcomes within p10 to p90. The target is 0.8."),
    }
    for name, (field, description) in descriptions.items():
        values = (((days,), getattr(metrics, field)) for days, metrics in windows)
        yield _labeled_gauge(name, description, ("days",), values)
    yield _labeled_gauge(
        "pinball_seconds", "Mean pinball loss of a quantile.", ("days", "quantile"), _pinball_values(windows)
    )
    yield _labeled_gauge(
        "waiting_cost_seconds",
        "Weighted waiting of couriers and food per 1000 orders, by courier:food costs and by when couriers arrive.",
        ("days", "costs", "arrival"),
        _waiting_cost_values(windows),
    )


def _waiting_cost_values(
    windows: tuple[tuple[str, PredictionMetrics], ...],
) -> Iterator[tuple[tuple[str, ...], float | None]]:
    for days, metrics in windows:
        for cost in metrics.waiting_costs:
            for arrival in ARRIVALS:
                yield (days, cost_ratio_text(cost), arrival), getattr(cost, arrival)


def _pinball_values(
    windows: tuple[tuple[str, PredictionMetrics], ...],
) -> Iterator[tuple[tuple[str, ...], float | None]]:
    for days, metrics in windows:
        for quantile in metrics.quantiles:
            yield (days, f"{quantile.p:g}"), quantile.pinball


def _latest_day_gauges(document: MonitoringDocument) -> Iterator[GaugeMetricFamily]:
    # A day without orders and without predictions isn't in the document.
    latest = next((day for day in document.days if day.date == document.window.last), None)
    orders, usable, unknown = (latest.orders, latest.usable, latest.unknown_restaurants) if latest else (0, 0, 0)
    by_fallback_level = latest.by_fallback_level if latest else dict.fromkeys(FALLBACK_LEVELS, 0)
    yield _gauge(
        "day_orders",
        "Orders of the day before the as-of date, usable or not. Open orders are not included.",
        float(orders),
    )
    yield _gauge(
        "day_usable_orders",
        "Orders of the day before the as-of date that have an outcome and every value that a prediction needs.",
        float(usable),
    )
    yield _labeled_gauge(
        "day_predictions",
        "Predictions of the day before the as-of date by fallback level.",
        ("fallback_level",),
        (((level,), float(count)) for level, count in by_fallback_level.items()),
    )
    yield _gauge(
        "day_unknown_restaurants",
        "Usable orders of the day before the as-of date whose restaurant is not in the restaurants file.",
        float(unknown),
    )


def _gauge(name: str, description: str, value: float | None) -> GaugeMetricFamily:
    return _labeled_gauge(name, description, (), [((), value)])


def _labeled_gauge(
    name: str, description: str, labels: tuple[str, ...], values: Iterable[tuple[tuple[str, ...], float | None]]
) -> GaugeMetricFamily:
    gauge = GaugeMetricFamily(PREFIX + name, description, labels=labels)
    for label_values, value in values:
        if value is not None:
            gauge.add_metric(label_values, value)
    return gauge
