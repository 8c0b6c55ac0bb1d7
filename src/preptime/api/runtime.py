"""The service of one worker, built from settings, with the threads that keep it current."""

from __future__ import annotations

import logging
import os
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from preptime.api.champion_loading import ChampionLoader, SharedChecks
from preptime.api.champion_watcher import ChampionWatcher
from preptime.api.metrics import WorkerMetrics
from preptime.api.metrics_store import WorkerState
from preptime.api.prediction_log import DailyFileSink, LogSink, PredictionLog, StdoutLock, StdoutSink
from preptime.api.service import Service
from preptime.api.telemetry import OtlpTraceExporter, open_trace_exporter
from preptime.bundle.champion_log import ChampionLog
from preptime.bundle.store import CheckLimits, Store
from preptime.domain.time_zones import last_midnight
from preptime.keys import Keys
from preptime.settings import Settings

HEARTBEAT_SECONDS = 1.0
"""Interval at which a worker publishes its state."""
LIMIT_FIELDS = (
    "max_body_bytes",
    "max_orders",
    "max_concurrent_requests",
    "max_concurrent_bytes",
    "max_concurrent_orders",
    "body_timeout_seconds",
    "header_timeout_seconds",
    "worker_timeout_seconds",
    "shutdown_timeout_seconds",
    "prediction_log_days",
    "prediction_log_max_mb",
)
"""Settings whose values are metrics."""
FIRST_POLL_TIMEOUT_SECONDS = 10.0
"""How long the start waits for the first champion. If the store is slower, the worker starts without a champion."""

logger = logging.getLogger(__name__)


@dataclass
class ServiceRuntime:
    """The service and its background parts."""

    service: Service
    watcher: ChampionWatcher
    log: PredictionLog
    metrics: WorkerMetrics
    limits: dict[str, float]
    """Values of the settings that limit requests."""
    trace_exporter: OtlpTraceExporter | None = None
    _stopping: threading.Event = field(default_factory=threading.Event, init=False, repr=False)

    def start(self) -> None:
        """Start all threads. Returns when the first poll of the champion log is done."""
        self.log.start()
        self.watcher.start(timeout_seconds=FIRST_POLL_TIMEOUT_SECONDS)
        self._publish_state()
        threading.Thread(target=self._heartbeat, name="heartbeat", daemon=True).start()

    def close(self, *, timeout_seconds: float) -> None:
        """Stop the threads and write all recorded predictions within the timeout. A second call does nothing."""
        self._stopping.set()
        self.log.close(timeout_seconds=timeout_seconds)
        self.watcher.stop()
        self._publish_state()
        if self.trace_exporter is not None:
            self.trace_exporter.close(timeout_seconds)

    def _heartbeat(self) -> None:
        while not self._stopping.wait(HEARTBEAT_SECONDS):
            self._publish_state()

    def _publish_state(self) -> None:
        self.metrics.count_process()
        self.metrics.set_log_counts(self.log.written, self.log.dropped)
        try:
            self.metrics.publish_state(_worker_state(self.service, self.watcher, self.limits))
        except OSError as error:
            logger.warning("Can't publish the state of this worker in the metrics folder: %s", error)


def build_runtime(settings: Settings, keys: Keys, *, stdout_lock: StdoutLock | None = None) -> ServiceRuntime:
    """Return the configured service and its parts, not yet started.

    `stdout_lock` keeps the lines of several workers on standard output apart.
    """
    store = Store.open(settings.store)
    limits = CheckLimits(settings.bundle_load_timeout_seconds, settings.bundle_load_memory_mb)
    checks = SharedChecks(Path(settings.metrics_folder) if settings.metrics_folder else None, limits)
    watcher = ChampionWatcher(
        ChampionLog(store), ChampionLoader(store, checks), poll_seconds=settings.champion_poll_seconds
    )
    log = PredictionLog(_open_sink(settings, stdout_lock))
    metrics = WorkerMetrics(Path(settings.metrics_folder) if settings.metrics_folder else None)
    limit_values = {field: float(getattr(settings, field)) for field in LIMIT_FIELDS}
    trace_exporter = open_trace_exporter(os.environ)
    service = Service(settings, watcher, keys, log, metrics, trace_exporter)
    return ServiceRuntime(service, watcher, log, metrics, limit_values, trace_exporter)


def _open_sink(settings: Settings, stdout_lock: StdoutLock | None) -> LogSink | None:
    if settings.prediction_log == "off":
        return None
    if settings.prediction_log == "stdout":
        return StdoutSink(stdout_lock)
    return DailyFileSink(
        Path(settings.prediction_log_folder), settings.prediction_log_days, settings.prediction_log_max_mb * 2**20
    )


def _worker_state(service: Service, watcher: ChampionWatcher, limits: dict[str, float]) -> WorkerState:
    state, seconds_since_poll = watcher.state, watcher.seconds_since_poll
    worker_state = WorkerState(
        updated_at=time.time(),
        ready=False,
        rejected_bundle=state.rejected.bundle if state.rejected else "",
        champion_error=watcher.champion_error() or "",
        reason=service.describe_unreadiness() or "",
        store_available=watcher.is_store_available(),
        last_poll_at=0.0 if seconds_since_poll is None else time.time() - seconds_since_poll,
        concurrent_requests=service.concurrent_requests,
        concurrent_bytes=service.concurrent_bytes,
        concurrent_orders=service.concurrent_orders,
        limits=limits,
    )
    if state.active_model is None:
        return worker_state
    manifest = state.active_model.bundle.manifest
    return msgspec.structs.replace(
        worker_state,
        ready=True,
        bundle=manifest.id,
        champion_number=state.active_model.entry.number,
        history_timestamp=last_midnight(manifest.date, manifest.vocabularies.time_zone),
    )
