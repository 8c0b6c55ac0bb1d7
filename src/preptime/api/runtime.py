"""The keys that the settings name: who may ask.

A service put together from settings, with the threads that keep it current: one per worker.
"""

from __future__ import annotations

import datetime as dt
import logging
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from preptime.api.champion_watcher import ChampionWatcher, champion_loader
from preptime.api.metrics import WorkerMetrics
from preptime.api.metrics_store import WorkerState
from preptime.api.prediction_log import DailyFileSink, LogSink, PredictionLog, StdoutLock, StdoutSink
from preptime.api.service import Service
from preptime.bundle.champion_log import ChampionLog
from preptime.bundle.store import Store
from preptime.keys import Keys, load_api_keys
from preptime.settings import Settings


def configured_api_keys(settings: Settings) -> Keys:
    """The keys that may ask; the operators' are read as well, so that a wrong one is found at the start.

    A server that answers Vertex AI alone needs none. Raises `UsageError`.
    """
    Keys.from_setting(settings.operator_keys, "PREPTIME_OPERATOR_KEYS")
    return load_api_keys(
        settings.api_keys,
        settings.aikey,
        loopback=settings.is_loopback,
        required=settings.vertex_predict_route is None,
    )


HEARTBEAT_SECONDS = 1.0
"""Between two times that a worker tells the others of itself."""
FIRST_POLL_TIMEOUT_SECONDS = 10.0
"""How long a start waits for the first champion; a store that is slower is waited for in the background."""

logger = logging.getLogger(__name__)


@dataclass
class ServiceRuntime:
    """The service and what stands behind it."""

    service: Service
    watcher: ChampionWatcher
    log: PredictionLog
    metrics: WorkerMetrics
    _stopping: threading.Event = field(default_factory=threading.Event, init=False, repr=False)

    def start(self) -> None:
        """Begin to watch, to write and to tell. Returns when the first look at the store is over."""
        self.log.start()
        self.watcher.start(timeout_seconds=FIRST_POLL_TIMEOUT_SECONDS)
        self._publish_state()
        threading.Thread(target=self._heartbeat, name="heartbeat", daemon=True).start()

    def close(self, *, timeout_seconds: float) -> None:
        """End it: every prediction taken so far is written, within that time. A second call does nothing."""
        self._stopping.set()
        self.log.close(timeout_seconds=timeout_seconds)
        self.watcher.stop()
        self._publish_state()

    def _heartbeat(self) -> None:
        while not self._stopping.wait(HEARTBEAT_SECONDS):
            self._publish_state()

    def _publish_state(self) -> None:
        self.metrics.set_log_counts(self.log.written, self.log.dropped)
        try:
            self.metrics.publish_state(_worker_state(self.watcher))
        except OSError as error:
            logger.warning("The other workers cannot be told how this one is: %s", error)


def build_runtime(settings: Settings, *, stdout_lock: StdoutLock | None = None) -> ServiceRuntime:
    """The parts that the settings ask for, not yet started. `stdout_lock` keeps several workers' standard output apart.

    Raises `UsageError` for keys that cannot be, or when there is none.
    """
    keys = configured_api_keys(settings)
    store = Store.open(settings.store)
    watcher = ChampionWatcher(ChampionLog(store), champion_loader(store), poll_seconds=settings.champion_poll_seconds)
    log = PredictionLog(_open_sink(settings, stdout_lock))
    metrics = WorkerMetrics(Path(settings.metrics_folder) if settings.metrics_folder else None)
    return ServiceRuntime(Service(settings, watcher, keys, log, metrics), watcher, log, metrics)


def _open_sink(settings: Settings, stdout_lock: StdoutLock | None) -> LogSink | None:
    if settings.prediction_log == "off":
        return None
    if settings.prediction_log == "stdout":
        return StdoutSink(stdout_lock)
    return DailyFileSink(Path(settings.prediction_log_folder), settings.prediction_log_days)


def _worker_state(watcher: ChampionWatcher) -> WorkerState:
    state = watcher.state
    rejected_bundle = state.rejected.bundle if state.rejected else ""
    champion_error = watcher.champion_error() or ""
    if state.active_model is None:
        return WorkerState(
            updated_at=time.time(), ready=False, rejected_bundle=rejected_bundle, champion_error=champion_error
        )
    history_midnight = dt.datetime.combine(state.active_model.bundle.manifest.date, dt.time(), dt.UTC)
    return WorkerState(
        updated_at=time.time(),
        ready=True,
        bundle=state.active_model.bundle.manifest.id,
        champion_number=state.active_model.entry.number,
        history_timestamp=history_midnight.timestamp(),
        rejected_bundle=rejected_bundle,
        champion_error=champion_error,
    )
