"""Metrics of all workers, in Prometheus' text format (version 0.0.4)."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from preptime.api.counts import (
    BUCKETS_SECONDS,
    DROPPED,
    FIRST_BUCKET,
    LOG_ROW,
    ORDERS,
    REQUESTS,
    SECONDS,
    WRITTEN,
    Counts,
    Row,
    WorkerState,
    shared_rows,
    shared_states,
)

STALE_SECONDS = 10.0
"""A worker tells of itself once a second."""

Samples = Iterable[tuple[Mapping[str, str], float]]


class Metrics(Counts):
    """One worker's counts, and everybody's when asked."""

    def __init__(self, folder: Path | None, *, stale_seconds: float = STALE_SECONDS) -> None:
        """Without a `folder` a worker knows of itself alone. One silent for `stale_seconds` is taken for gone."""
        super().__init__(folder)
        self._shared = folder
        self._stale_seconds = stale_seconds

    def render(self) -> bytes:
        """Everything counted by all workers."""
        if self._shared is not None:
            return rendered(self._shared, stale_seconds=self._stale_seconds)
        return exposition(self.own_rows(), [self.state] if self.state else [], time.time())


def rendered(folder: Path, *, stale_seconds: float = STALE_SECONDS) -> bytes:
    """What all workers of `folder` counted and say."""
    return exposition(shared_rows(folder), shared_states(folder, stale_seconds=stale_seconds), time.time())


def exposition(rows: Iterable[Row], states: Iterable[WorkerState], now: float) -> bytes:
    """The page of metrics at `now`, seconds since 1970."""
    sums = _summed(rows)
    log = sums.pop(LOG_ROW, (0.0,) * 2)
    lines = [*_requests(sums), *_logged(log[WRITTEN], log[DROPPED]), *_workers(list(states), now)]
    return "\n".join([*lines, ""]).encode()


def _summed(rows: Iterable[Row]) -> dict[tuple[str, str, str], tuple[float, ...]]:
    sums: dict[tuple[str, str, str], tuple[float, ...]] = {}
    for row in rows:
        before = sums.get(row.labels)
        sums[row.labels] = row.numbers if before is None else _added(before, row.numbers)
    return {labels: numbers for labels, numbers in sums.items() if labels == LOG_ROW or numbers[REQUESTS]}


def _added(left: tuple[float, ...], right: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(one + other for one, other in zip(left, right, strict=True))


def _requests(sums: Mapping[tuple[str, str, str], tuple[float, ...]]) -> Iterator[str]:
    named = [
        ({"endpoint": one, "status": two, "key": three}, sums[one, two, three]) for one, two, three in sorted(sums)
    ]
    name = "preptime_requests_total"
    yield from _family(
        name, "counter", "Answered requests for predictions.", [(labels, of[REQUESTS]) for labels, of in named]
    )
    name = "preptime_orders_total"
    yield from _family(name, "counter", "Orders asked for.", [(labels, of[ORDERS]) for labels, of in named])
    by_endpoint: dict[str, tuple[float, ...]] = {}
    for labels, numbers in named:
        before = by_endpoint.get(labels["endpoint"])
        by_endpoint[labels["endpoint"]] = numbers if before is None else _added(before, numbers)
    name = "preptime_request_seconds"
    yield from _head(name, "histogram", "Seconds from a request's first byte in the worker to its answer.")
    for endpoint, numbers in by_endpoint.items():
        total = 0.0
        for bound, count in zip((*BUCKETS_SECONDS, "+Inf"), numbers[FIRST_BUCKET:], strict=True):
            total += count
            yield _sample(f"{name}_bucket", {"endpoint": endpoint, "le": str(bound)}, total)
        yield _sample(f"{name}_sum", {"endpoint": endpoint}, numbers[SECONDS])
        yield _sample(f"{name}_count", {"endpoint": endpoint}, total)


def _logged(written: float, dropped: float) -> Iterator[str]:
    name = "preptime_prediction_log_written_total"
    yield from _family(name, "counter", "Requests written to the prediction log.", [({}, written)])
    name = "preptime_prediction_log_dropped_total"
    yield from _family(name, "counter", "Requests that the prediction log could not keep.", [({}, dropped)])


def _workers(states: list[WorkerState], now: float) -> Iterator[str]:
    def gauge(name: str, words: str, samples: Samples) -> Iterator[str]:
        return _family(f"preptime_{name}", "gauge", words, samples)

    ready = [state for state in states if state.ready]
    numbers = defaultdict[str, int](int)
    for state in ready:
        numbers[state.bundle] = max(numbers[state.bundle], state.number)
    yield from gauge("workers", "Workers that live.", [({}, len(states))])
    yield from gauge("workers_ready", "Workers that predict, by bundle.", _by_bundle(one.bundle for one in ready))
    yield from gauge(
        "champion_number",
        "Number in the champion log of what is served, by bundle.",
        [({"bundle": bundle}, number) for bundle, number in sorted(numbers.items())],
    )
    yield from gauge(
        "workers_refusing",
        "Workers that refused the latest champion, by that bundle.",
        _by_bundle(one.refused for one in states if one.refused),
    )
    trouble = sum(1 for state in states if state.trouble and not state.refused)
    yield from gauge("workers_without_store", "Workers that cannot ask the store.", [({}, trouble)])
    ages: Samples = [({}, now - min(state.history_at for state in ready))] if ready else []
    yield from gauge("history_age_seconds", "Age of the oldest history served, from its date's midnight (UTC).", ages)


def _by_bundle(bundles: Iterable[str]) -> Samples:
    return [({"bundle": bundle}, count) for bundle, count in sorted(Counter(bundles).items())]


def _family(name: str, kind: str, words: str, samples: Samples) -> Iterator[str]:
    yield from _head(name, kind, words)
    for labels, value in samples:
        yield _sample(name, labels, value)


def _head(name: str, kind: str, words: str) -> Iterator[str]:
    yield f"# HELP {name} {words}"
    yield f"# TYPE {name} {kind}"


def _sample(name: str, labels: Mapping[str, str], value: float) -> str:
    inside = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
    number = int(value) if float(value).is_integer() else value
    return f"{name}{{{inside}}} {number}" if inside else f"{name} {number}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
