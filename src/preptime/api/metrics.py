"""The metrics of all processes in the Prometheus text format (version 0.0.4).

Rendering imports `prometheus_client` when it's called first, which takes 12 ms. Counting requests doesn't need it: see
`metrics_store`.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from importlib.metadata import version
from itertools import accumulate
from operator import add
from pathlib import Path
from platform import python_version
from typing import TYPE_CHECKING

from preptime.api.limits import REJECTION_CAUSES
from preptime.api.metrics_files import (
    BATCHES_LABELS,
    BUCKETS_SECONDS,
    BUCKETS_SIZE,
    CPU_SECONDS,
    DROPPED,
    FIRST_BUCKET,
    LOG_BYTES,
    LOG_FILES,
    NOTES,
    NOTES_NAME,
    OPEN_FILES,
    ORDERS,
    ORDERS_NAME,
    PREDICTION_LOG_LABELS,
    PROCESS_LABELS,
    REJECTIONS_NAME,
    REPLACEMENT_CAUSES,
    REPLACEMENTS_NAME,
    REQUESTS,
    RESIDENT_BYTES,
    SECONDS,
    STARTED_AT,
    WRITTEN,
    MetricLabels,
    SharedCounts,
    read_shared_counts,
    sum_rows,
)
from preptime.api.metrics_store import MetricsStore, WorkerState, read_live_states

if TYPE_CHECKING:
    from prometheus_client.core import GaugeMetricFamily, Metric

METRICS_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

STALE_SECONDS = 10.0
"""Age at which a worker's state is ignored. A worker publishes its state once per second."""

_NO_VALUES = (0.0,) * (FIRST_BUCKET + len(BUCKETS_SECONDS) + 1)


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
        return format_exposition(self.own_counts(), [self.state] if self.state else [], time.time())


def render_metrics(folder: Path, *, stale_seconds: float = STALE_SECONDS) -> bytes:
    """Return the metrics of all processes that share `folder` as Prometheus text."""
    return format_exposition(
        read_shared_counts(folder), read_live_states(folder, stale_seconds=stale_seconds), time.time()
    )


def collect_metrics(folder: Path) -> Iterator[Metric]:
    """Return the metric families of all processes that share `folder`. Raises `OSError` if they can't be read."""
    states = read_live_states(folder, stale_seconds=STALE_SECONDS)
    return _MetricsCollector(read_shared_counts(folder), states, time.time()).collect()


def format_exposition(counts: SharedCounts, states: Iterable[WorkerState], now: float) -> bytes:
    """Return these counts and worker states as Prometheus text. `now` is in seconds since 1970."""
    from prometheus_client.exposition import generate_latest

    return generate_latest(_MetricsCollector(counts, list(states), now))


class _MetricsCollector:
    """A Prometheus collector over summed counts and worker states."""

    def __init__(self, counts: SharedCounts, states: Sequence[WorkerState], now: float) -> None:
        sums = sum_rows(counts.rows)
        self._log = sums.pop(PREDICTION_LOG_LABELS, _NO_VALUES)
        self._process = sums.pop(PROCESS_LABELS, _NO_VALUES)
        self._batches = sums.pop(BATCHES_LABELS, _NO_VALUES)
        self._orders_by_endpoint = _pop_named(sums, ORDERS_NAME)
        # Each cause is present from the start. Otherwise, `increase` wouldn't see its first count.
        self._rejections = dict.fromkeys(REJECTION_CAUSES, _NO_VALUES) | _pop_named(sums, REJECTIONS_NAME)
        self._replacements = dict.fromkeys(REPLACEMENT_CAUSES, _NO_VALUES) | _pop_named(sums, REPLACEMENTS_NAME)
        self._notes = dict.fromkeys(NOTES, _NO_VALUES) | _pop_named(sums, NOTES_NAME)
        self._requests = {labels: values for labels, values in sorted(sums.items()) if values[REQUESTS]}
        self._processes = counts.processes
        self._states = states
        self._now = now

    def collect(self) -> Iterator[Metric]:
        """Yield every metric family."""
        yield from self._request_counters()
        yield from self._request_histograms()
        yield self._batch_histogram()
        yield from self._prediction_log_metrics()
        yield from self._bundle_gauges()
        yield from self._worker_gauges()
        yield from self._load_gauges()
        yield from self._process_metrics()

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
        yield _counter_by_cause(
            "preptime_rejected_requests_total", "Requests rejected by a limit, by cause.", self._rejections
        )
        for name, description in (
            ("restaurant_differs", "Predicted orders whose own country or city isn't that of the restaurant."),
            ("missing_features", "Predicted orders with a custom feature that is missing or invalid."),
            ("invalid_kitchen", "Predicted orders with a state of the kitchen that can't be used."),
        ):
            yield CounterMetricFamily(f"preptime_{name}_total", description, value=self._notes[name][REQUESTS])

    def _request_histograms(self) -> Iterator[Metric]:
        from prometheus_client.core import HistogramMetricFamily

        by_endpoint: dict[str, tuple[float, ...]] = {}
        for (endpoint, _, _), values in self._requests.items():
            by_endpoint[endpoint] = _add_values(by_endpoint.get(endpoint, _NO_VALUES), values)
        seconds = HistogramMetricFamily(
            "preptime_request_duration_seconds",
            "Seconds from the first byte of a request in the worker to its response.",
            labels=["endpoint"],
        )
        orders = HistogramMetricFamily(
            "preptime_request_orders", "Orders per request that has predictions.", labels=["endpoint"]
        )
        for endpoint, values in by_endpoint.items():
            seconds.add_metric([endpoint], _cumulative_buckets(BUCKETS_SECONDS, values), sum_value=values[SECONDS])
            sizes = self._orders_by_endpoint.get(endpoint, _NO_VALUES)
            orders.add_metric([endpoint], _cumulative_buckets(BUCKETS_SIZE, sizes), sum_value=values[ORDERS])
        yield seconds
        yield orders

    def _batch_histogram(self) -> Metric:
        from prometheus_client.core import HistogramMetricFamily

        return HistogramMetricFamily(
            "preptime_batch_requests",
            "Requests per batch of micro-batching.",
            buckets=_cumulative_buckets(BUCKETS_SIZE, self._batches),
            sum_value=self._batches[ORDERS],
        )

    def _prediction_log_metrics(self) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        written, dropped = self._log[WRITTEN], self._log[DROPPED]
        yield CounterMetricFamily(
            "preptime_prediction_log_written_total", "Requests written to the prediction log.", value=written
        )
        yield CounterMetricFamily(
            "preptime_prediction_log_dropped_total",
            "Requests that couldn't be written to the prediction log.",
            value=dropped,
        )
        yield GaugeMetricFamily(
            "preptime_prediction_log_bytes", "Size of all files of the prediction log.", value=self._maximum(LOG_BYTES)
        )
        yield GaugeMetricFamily(
            "preptime_prediction_log_files", "Number of files of the prediction log.", value=self._maximum(LOG_FILES)
        )

    def _maximum(self, index: int) -> float:
        return max((values[index] for values in self._processes), default=0.0)

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

        without_store = sum(not state.store_available for state in self._states)
        yield GaugeMetricFamily("preptime_workers", "Running workers.", value=len(self._states))
        yield GaugeMetricFamily(
            "preptime_workers_without_store", "Workers that can't reach the store.", value=without_store
        )
        age = GaugeMetricFamily(
            "preptime_history_age_seconds",
            "Age of the oldest active history, from midnight of its date in the westernmost time zone, including UTC.",
        )
        midnights = [state.history_timestamp for state in self._states if state.ready]
        if midnights:
            age.add_metric([], self._now - min(midnights))
        yield age
        poll = GaugeMetricFamily(
            "preptime_champion_last_poll_timestamp_seconds",
            "Time of the oldest latest successful poll of the champion log among the workers, in seconds since 1970.",
        )
        if self._states:
            poll.add_metric([], min(state.last_poll_at for state in self._states))
        yield poll
        yield _counter_by_cause(
            "preptime_workers_replaced_total", "Workers that the server replaced, by cause.", self._replacements
        )

    def _load_gauges(self) -> Iterator[Metric]:
        from prometheus_client.core import GaugeMetricFamily

        for name, description, values in (
            ("requests", "Prediction requests in progress.", [state.concurrent_requests for state in self._states]),
            (
                "bytes",
                "Size of the bodies of these requests.",
                [state.concurrent_bytes for state in self._states],
            ),
            ("orders", "Orders of these requests.", [state.concurrent_orders for state in self._states]),
        ):
            yield GaugeMetricFamily(f"preptime_concurrent_{name}", description, value=sum(values))
        limits = GaugeMetricFamily("preptime_limit", "Limits of each worker, by setting.", labels=["setting"])
        for setting, value in sorted(self._states[0].limits.items()) if self._states else ():
            limits.add_metric([setting], value)
        yield limits

    def _process_metrics(self) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        build = GaugeMetricFamily(
            "preptime_build_info", "Versions of this server. The value is 1.", labels=list(_build_versions())
        )
        build.add_metric(list(_build_versions().values()), 1)
        yield build
        yield CounterMetricFamily(
            "process_cpu_seconds_total",
            "Processor time of the main process and of all workers, in seconds.",
            value=self._process[CPU_SECONDS],
        )
        yield GaugeMetricFamily(
            "process_resident_memory_bytes",
            "Resident memory of the main process and of the workers.",
            value=sum(values[RESIDENT_BYTES] for values in self._processes),
        )
        yield GaugeMetricFamily(
            "process_open_fds",
            "Open files and sockets of the main process and of the workers.",
            value=sum(values[OPEN_FILES] for values in self._processes),
        )
        yield GaugeMetricFamily(
            "process_start_time_seconds",
            "Start of the oldest process, in seconds since 1970.",
            value=min((values[STARTED_AT] for values in self._processes), default=0.0),
        )


@cache
def _build_versions() -> dict[str, str]:
    packages = {name: version(name) for name in ("granian", "onnxruntime")}
    return {"version": version("preptime"), "python": python_version(), **packages}


def _counter_by_cause(name: str, description: str, rows: dict[str, tuple[float, ...]]) -> Metric:
    from prometheus_client.core import CounterMetricFamily

    counter = CounterMetricFamily(name, description, labels=["cause"])
    for cause, values in sorted(rows.items()):
        counter.add_metric([cause], values[REQUESTS])
    return counter


def _cumulative_buckets(bounds: Sequence[float], values: tuple[float, ...]) -> list[tuple[str, float]]:
    """Return the upper bounds and the cumulative counts of a histogram."""
    labels = (*(str(bound) for bound in bounds), "+Inf")
    return list(zip(labels, accumulate(values[FIRST_BUCKET:]), strict=True))


def _pop_named(sums: dict[MetricLabels, tuple[float, ...]], name: str) -> dict[str, tuple[float, ...]]:
    """Remove the rows whose first label is `name`, and return their values by the second label."""
    return {labels[1]: sums.pop(labels) for labels in list(sums) if labels[0] == name}


def _gauge_by_bundle(name: str, description: str, values: dict[str, int]) -> GaugeMetricFamily:
    from prometheus_client.core import GaugeMetricFamily

    gauge = GaugeMetricFamily(name, description, labels=["bundle"])
    for bundle, value in sorted(values.items()):
        gauge.add_metric([bundle], value)
    return gauge


def _add_values(total: tuple[float, ...], values: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(map(add, total, values))
