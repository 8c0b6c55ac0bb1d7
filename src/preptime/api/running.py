"""A service put together from settings, with the threads that keep it current: one per worker."""

from __future__ import annotations

import datetime as dt
import logging
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from preptime.api.access import check_keys
from preptime.api.champion import Watcher, champion_opener
from preptime.api.counts import WorkerState
from preptime.api.log import PredictionLog
from preptime.api.log_targets import Folder, Guard, StandardOutput, Target
from preptime.api.metrics import Metrics
from preptime.api.service import Service
from preptime.bundle.champions import ChampionLog
from preptime.bundle.store import Store
from preptime.settings import Settings

PULSE_SECONDS = 1.0
"""Between two times that a worker tells the others of itself."""
FIRST_LOOK_SECONDS = 10.0
"""How long a start waits for the first champion; a store that is slower is waited for in the background."""

_LOG = logging.getLogger(__name__)


@dataclass
class Running:
    """The service and what stands behind it."""

    service: Service
    watcher: Watcher
    log: PredictionLog
    metrics: Metrics
    _ending: threading.Event = field(default_factory=threading.Event, init=False, repr=False)

    def start(self) -> None:
        """Begin to watch, to write and to tell. Returns when the first look at the store is over."""
        self.log.start()
        self.watcher.start(wait_seconds=FIRST_LOOK_SECONDS)
        self._tell()
        threading.Thread(target=self._pulse, name="pulse", daemon=True).start()

    def close(self, *, seconds: float) -> None:
        """End it: every prediction taken so far is written, within that time. A second call does nothing."""
        self._ending.set()
        self.log.close(seconds=seconds)
        self.watcher.stop()
        self._tell()

    def _pulse(self) -> None:
        while not self._ending.wait(PULSE_SECONDS):
            self._tell()

    def _tell(self) -> None:
        self.metrics.count_log(self.log.written, self.log.dropped)
        try:
            self.metrics.tell(_state(self.watcher))
        except OSError as error:
            _LOG.warning("The other workers cannot be told how this one is: %s", error)


def assemble(settings: Settings, *, guard: Guard | None = None) -> Running:
    """The parts that the settings ask for, not yet started. `guard` keeps several workers' standard output apart.

    Raises `UsageError` for keys that cannot be, or when there is none.
    """
    keys = check_keys(settings)
    store = Store.open(settings.store)
    watcher = Watcher(ChampionLog(store), champion_opener(store), seconds=settings.champion_seconds)
    log = PredictionLog(_target(settings, guard))
    metrics = Metrics(Path(settings.metrics_folder) if settings.metrics_folder else None)
    return Running(Service(settings, watcher, keys, log, metrics), watcher, log, metrics)


def _target(settings: Settings, guard: Guard | None) -> Target | None:
    if settings.prediction_log == "off":
        return None
    if settings.prediction_log == "stdout":
        return StandardOutput(guard)
    return Folder(Path(settings.prediction_log_folder), settings.prediction_log_days)


def _state(watcher: Watcher) -> WorkerState:
    now = watcher.situation
    refused = now.refused.bundle if now.refused else ""
    trouble = watcher.refusal() or ""
    if now.serving is None:
        return WorkerState(at=time.time(), ready=False, refused=refused, trouble=trouble)
    history = dt.datetime.combine(now.serving.bundle.manifest.date, dt.time(), dt.UTC)
    return WorkerState(
        at=time.time(),
        ready=True,
        bundle=now.serving.bundle.manifest.id,
        number=now.serving.entry.number,
        history_at=history.timestamp(),
        refused=refused,
        trouble=trouble,
    )
