"""Metrics of all workers, in Prometheus' text format (version 0.0.4)."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from preptime.api.metrics_store import (
    BUCKETS_SECONDS,
    DROPPED,
    FIRST_BUCKET,
    ORDERS,
    PREDICTION_LOG_LABELS,
    REQUESTS,
    SECONDS,
    WRITTEN,
    MetricsRow,
    MetricsStore,
    WorkerState,
    read_live_states,
    read_shared_rows,
)

STALE_SECONDS = 10.0
"""A worker tells of itself once a second."""

Samples = Iterable[tuple[Mapping[str, str], float]]


class WorkerMetrics(MetricsStore):
    """One worker's counts, and everybody's when asked."""

    def __init__(self, folder: Path | None, *, stale_seconds: float = STALE_SECONDS) -> None:
        """Without a `folder` a worker knows of itself alone. One silent for `stale_seconds` is taken for gone."""
        super().__init__(folder)
        self._shared_folder = folder
        self._stale_seconds = stale_seconds

    def render(self) -> bytes:
        """Everything counted by all workers."""
        if self._shared_folder is not None:
            return render_metrics(self._shared_folder, stale_seconds=self._stale_seconds)
        return format_exposition(self.own_rows(), [self.state] if self.state else [], time.time())


def render_metrics(folder: Path, *, stale_seconds: float = STALE_SECONDS) -> bytes:
    """What all workers of `folder` counted and say."""
    return format_exposition(
        read_shared_rows(folder), read_live_states(folder, stale_seconds=stale_seconds), time.time()
    )


def format_exposition(rows: Iterable[MetricsRow], states: Iterable[WorkerState], now: float) -> bytes:
    """The page of metrics at `now`, seconds since 1970."""
    sums = _sum_rows(rows)
    log = sums.pop(PREDICTION_LOG_LABELS, (0.0,) * 2)
    lines = [
        *_request_lines(sums),
        *_prediction_log_lines(log[WRITTEN], log[DROPPED]),
        *_worker_lines(list(states), now),
    ]
    return "\n".join([*lines, ""]).encode()


def _sum_rows(rows: Iterable[MetricsRow]) -> dict[tuple[str, str, str], tuple[float, ...]]:
    sums: dict[tuple[str, str, str], tuple[float, ...]] = {}
    for row in rows:
        total = sums.get(row.labels)
        sums[row.labels] = row.values if total is None else _add_values(total, row.values)
    return {labels: numbers for labels, numbers in sums.items() if labels == PREDICTION_LOG_LABELS or numbers[REQUESTS]}


def _add_values(left: tuple[float, ...], right: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(left_value + right_value for left_value, right_value in zip(left, right, strict=True))


def _request_lines(sums: Mapping[tuple[str, str, str], tuple[float, ...]]) -> Iterator[str]:
    labeled_values = [
        ({"endpoint": endpoint, "status": status, "key": key}, sums[endpoint, status, key])
        for endpoint, status, key in sorted(sums)
    ]
    name = "preptime_requests_total"
    yield from _metric_family(
        name,
        "counter",
        "Answered requests for predictions.",
        [(labels, values[REQUESTS]) for labels, values in labeled_values],
    )
    name = "preptime_orders_total"
    yield from _metric_family(
        name, "counter", "Orders asked for.", [(labels, values[ORDERS]) for labels, values in labeled_values]
    )
    by_endpoint: dict[str, tuple[float, ...]] = {}
    for labels, numbers in labeled_values:
        previous = by_endpoint.get(labels["endpoint"])
        by_endpoint[labels["endpoint"]] = numbers if previous is None else _add_values(previous, numbers)
    name = "preptime_request_duration_seconds"
    yield from _metric_header(name, "histogram", "Seconds from a request's first byte in the worker to its answer.")
    for endpoint, numbers in by_endpoint.items():
        total = 0.0
        for bound, count in zip((*BUCKETS_SECONDS, "+Inf"), numbers[FIRST_BUCKET:], strict=True):
            total += count
            yield _format_sample(f"{name}_bucket", {"endpoint": endpoint, "le": str(bound)}, total)
        yield _format_sample(f"{name}_sum", {"endpoint": endpoint}, numbers[SECONDS])
        yield _format_sample(f"{name}_count", {"endpoint": endpoint}, total)


def _prediction_log_lines(written: float, dropped: float) -> Iterator[str]:
    name = "preptime_prediction_log_written_total"
    yield from _metric_family(name, "counter", "Requests written to the prediction log.", [({}, written)])
    name = "preptime_prediction_log_dropped_total"
    yield from _metric_family(name, "counter", "Requests that the prediction log could not keep.", [({}, dropped)])


def _worker_lines(states: list[WorkerState], now: float) -> Iterator[str]:
    def gauge(name: str, help_text: str, samples: Samples) -> Iterator[str]:
        return _metric_family(f"preptime_{name}", "gauge", help_text, samples)

    ready = [state for state in states if state.ready]
    champion_numbers = defaultdict[str, int](int)
    for state in ready:
        champion_numbers[state.bundle] = max(champion_numbers[state.bundle], state.champion_number)
    yield from gauge("workers", "Workers that live.", [({}, len(states))])
    yield from gauge(
        "workers_ready", "Workers that predict, by bundle.", _count_by_bundle(state.bundle for state in ready)
    )
    yield from gauge(
        "champion_number",
        "Number in the champion log of what is served, by bundle.",
        [({"bundle": bundle}, number) for bundle, number in sorted(champion_numbers.items())],
    )
    yield from gauge(
        "workers_rejecting_champion",
        "Workers that refused the latest champion, by that bundle.",
        _count_by_bundle(state.rejected_bundle for state in states if state.rejected_bundle),
    )
    without_store = sum(1 for state in states if state.champion_error and not state.rejected_bundle)
    yield from gauge("workers_without_store", "Workers that cannot ask the store.", [({}, without_store)])
    ages: Samples = [({}, now - min(state.history_timestamp for state in ready))] if ready else []
    yield from gauge("history_age_seconds", "Age of the oldest history served, from its date's midnight (UTC).", ages)


def _count_by_bundle(bundles: Iterable[str]) -> Samples:
    return [({"bundle": bundle}, count) for bundle, count in sorted(Counter(bundles).items())]


def _metric_family(name: str, metric_type: str, help_text: str, samples: Samples) -> Iterator[str]:
    yield from _metric_header(name, metric_type, help_text)
    for labels, value in samples:
        yield _format_sample(name, labels, value)


def _metric_header(name: str, metric_type: str, help_text: str) -> Iterator[str]:
    yield f"# HELP {name} {help_text}"
    yield f"# TYPE {name} {metric_type}"


def _format_sample(name: str, labels: Mapping[str, str], value: float) -> str:
    label_text = ",".join(f'{label}="{_escape_label_value(text)}"' for label, text in labels.items())
    number = int(value) if float(value).is_integer() else value
    return f"{name}{{{label_text}}} {number}" if label_text else f"{name} {number}"


def _escape_label_value(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
