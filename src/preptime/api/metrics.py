"""The metrics of all workers in the Prometheus text format (version 0.0.4).

Rendering imports `prometheus_client` when it's called first, which takes 12 ms. Counting requests doesn't need it: see
`metrics_store`.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from preptime.api.metrics_store import (
    BUCKETS_SECONDS,
    DROPPED,
    FIRST_BUCKET,
    ORDERS,
    PREDICTION_LOG_LABELS,
    REQUESTS,
    SECONDS,
    WRITTEN,
    MetricLabels,
    MetricsRow,
    MetricsStore,
    WorkerState,
    read_live_states,
    read_shared_rows,
)

if TYPE_CHECKING:
    from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily, Metric

METRICS_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

STALE_SECONDS = 10.0
"""Age at which a worker's state is ignored. A worker publishes its state once per second."""

_BUCKET_LABELS = (*(str(bound) for bound in BUCKETS_SECONDS), "+Inf")


class WorkerMetrics(MetricsStore):
    """One worker's metrics store, which can render the metrics of all workers."""

    def __init__(self, folder: Path | None, *, stale_seconds: float = STALE_SECONDS) -> None:
        """Without a `folder`, the worker renders only its own metrics."""
        super().__init__(folder)
        self._shared_folder = folder
        self._stale_seconds = stale_seconds

    def render(self) -> bytes:
        """Return the metrics of all workers as Prometheus text."""
        if self._shared_folder is not None:
            return render_metrics(self._shared_folder, stale_seconds=self._stale_seconds)
        return format_exposition(self.own_rows(), [self.state] if self.state else [], time.time())


def render_metrics(folder: Path, *, stale_seconds: float = STALE_SECONDS) -> bytes:
    """Return the metrics of all workers that share `folder` as Prometheus text."""
    return format_exposition(
        read_shared_rows(folder), read_live_states(folder, stale_seconds=stale_seconds), time.time()
    )


def format_exposition(rows: Iterable[MetricsRow], states: Iterable[WorkerState], now: float) -> bytes:
    """Return these counts and worker states as Prometheus text. `now` is in seconds since 1970."""
    from prometheus_client.exposition import generate_latest

    return generate_latest(_MetricsCollector(_sum_rows(rows), list(states), now))


class _MetricsCollector:
    """A Prometheus collector over summed counts and worker states."""

    def __init__(self, sums: dict[MetricLabels, tuple[float, ...]], states: Sequence[WorkerState], now: float) -> None:
        log_counts = sums.pop(PREDICTION_LOG_LABELS, (0.0, 0.0))
        self._written, self._dropped = log_counts[WRITTEN], log_counts[DROPPED]
        self._requests = {labels: sums[labels] for labels in sorted(sums)}
        self._states = states
        self._now = now

    def collect(self) -> Iterator[Metric]:
        """Yield every metric family."""
        yield from self._request_counters()
        yield self._duration_histogram()
        yield from self._prediction_log_counters()
        yield from self._bundle_gauges()
        yield from self._worker_gauges()

    def _request_counters(self) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily

        names = ("endpoint", "status", "key")
        requests = CounterMetricFamily("preptime_requests_total", "Prediction requests with a response.", labels=names)
        orders = CounterMetricFamily("preptime_orders_total", "Orders in prediction requests.", labels=names)
        for labels, values in self._requests.items():
            requests.add_metric(labels, values[REQUESTS])
            orders.add_metric(labels, values[ORDERS])
        yield requests
        yield orders

    def _duration_histogram(self) -> HistogramMetricFamily:
        from prometheus_client.core import HistogramMetricFamily

        by_endpoint: dict[str, tuple[float, ...]] = {}
        for (endpoint, _, _), values in self._requests.items():
            by_endpoint[endpoint] = _add_values(by_endpoint.get(endpoint), values)
        histogram = HistogramMetricFamily(
            "preptime_request_duration_seconds",
            "Seconds from the first byte of a request in the worker to its response.",
            labels=["endpoint"],
        )
        for endpoint, values in by_endpoint.items():
            buckets: list[tuple[str, float]] = []
            total = 0.0
            for label, count in zip(_BUCKET_LABELS, values[FIRST_BUCKET:], strict=True):
                total += count
                buckets.append((label, total))
            histogram.add_metric([endpoint], buckets, sum_value=values[SECONDS])
        return histogram

    def _prediction_log_counters(self) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily

        yield CounterMetricFamily(
            "preptime_prediction_log_written_total", "Requests written to the prediction log.", value=self._written
        )
        yield CounterMetricFamily(
            "preptime_prediction_log_dropped_total",
            "Requests that couldn't be written to the prediction log.",
            value=self._dropped,
        )

    def _bundle_gauges(self) -> Iterator[Metric]:
        ready = [state for state in self._states if state.ready]
        champion_numbers: dict[str, int] = {}
        for state in ready:
            champion_numbers[state.bundle] = max(champion_numbers.get(state.bundle, 0), state.champion_number)
        rejected = Counter(state.rejected_bundle for state in self._states if state.rejected_bundle)
        yield _gauge_by_bundle(
            "preptime_workers_ready", "Ready workers, by bundle.", Counter(state.bundle for state in ready)
        )
        yield _gauge_by_bundle(
            "preptime_champion_number", "Number of the active champion, by bundle.", champion_numbers
        )
        yield _gauge_by_bundle(
            "preptime_workers_rejecting_champion", "Workers that rejected the latest champion, by its bundle.", rejected
        )

    def _worker_gauges(self) -> Iterator[Metric]:
        from prometheus_client.core import GaugeMetricFamily

        without_store = sum(1 for state in self._states if state.champion_error and not state.rejected_bundle)
        yield GaugeMetricFamily("preptime_workers", "Running workers.", value=len(self._states))
        yield GaugeMetricFamily(
            "preptime_workers_without_store", "Workers that can't reach the store.", value=without_store
        )
        age = GaugeMetricFamily(
            "preptime_history_age_seconds", "Age of the oldest active history, from midnight (UTC) of its date."
        )
        midnights = [state.history_timestamp for state in self._states if state.ready]
        if midnights:
            age.add_metric([], self._now - min(midnights))
        yield age


def _gauge_by_bundle(name: str, description: str, values: dict[str, int]) -> GaugeMetricFamily:
    from prometheus_client.core import GaugeMetricFamily

    gauge = GaugeMetricFamily(name, description, labels=["bundle"])
    for bundle, value in sorted(values.items()):
        gauge.add_metric([bundle], value)
    return gauge


def _sum_rows(rows: Iterable[MetricsRow]) -> dict[MetricLabels, tuple[float, ...]]:
    """Return the sums over all workers, without combinations of labels that have no requests."""
    sums: dict[MetricLabels, tuple[float, ...]] = {}
    for row in rows:
        sums[row.labels] = _add_values(sums.get(row.labels), row.values)
    return {labels: values for labels, values in sums.items() if labels == PREDICTION_LOG_LABELS or values[REQUESTS]}


def _add_values(total: tuple[float, ...] | None, values: tuple[float, ...]) -> tuple[float, ...]:
    return values if total is None else tuple(left + right for left, right in zip(total, values, strict=True))
