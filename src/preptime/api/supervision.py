"""The main process's supervision of workers: starts and stops them, and replaces those that end or stop responding."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from granian.server.mp import MPServer, WorkerProcess

from preptime.api.json_logs import log_uncaught_exceptions
from preptime.api.metrics_files import REPLACEMENT_CAUSES, read_heartbeats
from preptime.api.metrics_store import MetricsStore
from preptime.api.worker import WorkerApplicationLoader
from preptime.errors import PreptimeError
from preptime.signals import wake_main_thread

EARLY_EXIT_SECONDS = 5.5
"""Granian treats a worker that exits within this time after a respawn as failing repeatedly."""
RESPAWN_DELAY_SECONDS = 1.0
"""Delay before a worker that exited early is replaced."""
CHECK_SECONDS = 1.0
"""Interval of the checks of heartbeats, which workers send once per second."""
MAX_CHECK_DELAY_SECONDS = 5.0
"""A later check means that the machine was suspended or overloaded. Then all workers get their full time again."""
START_TIMEOUT_SECONDS = 120.0
"""Time until the first heartbeat of a worker."""
RECENT_SECONDS, MAX_TIMEOUT_FACTOR = 600.0, 8
"""Each time that a worker stopped responding in this period doubles the timeout of the next one, up to this factor."""
KILLED_EXIT_CODE = -9
"""Exit code of a process that SIGKILL ended. Windows has no such code."""
NO_WORKER_SECONDS = 60.0
"""Time without a responding worker, in addition to the timeout, after which the server isn't alive."""

logger = logging.getLogger(__name__)


class HeartbeatMonitor:
    """Finds workers whose heartbeats have stopped. All times are seconds of a monotonic clock."""

    def __init__(self, timeout_seconds: float, now: float) -> None:
        self._timeout_seconds = timeout_seconds
        self._last_check = now
        self._last_response = now
        self._changes: dict[int, tuple[float | None, float]] = {}
        """The last heartbeat of each worker and the time of the check that found it."""
        self._stalled_at = deque[float]()
        self._reported: set[int] = set()

    def find_stalled(self, heartbeats: Mapping[int, float | None], now: float) -> list[int]:
        """Return the workers without a new heartbeat within the timeout, each of them once.

        Args:
            heartbeats: Number of heartbeats by worker. None if the worker hasn't sent any.
            now: The time of this check.
        """
        was_suspended = now - self._last_check > MAX_CHECK_DELAY_SECONDS
        self._last_check = now
        if was_suspended:
            self._last_response = now
        for worker, heartbeat in heartbeats.items():
            is_new = worker not in self._changes or self._changes[worker][0] != heartbeat
            if is_new or was_suspended:
                self._changes[worker] = (heartbeat, now)
            if is_new and heartbeat is not None:
                self._last_response = now
        self._changes = {worker: self._changes[worker] for worker in heartbeats}
        self._reported &= heartbeats.keys()
        timeout_seconds = self._current_timeout(now)
        stalled = [worker for worker in heartbeats if self._is_stalled(worker, now, timeout_seconds)]
        self._reported.update(stalled)
        self._stalled_at.extend(now for _ in stalled)
        return stalled

    def problem(self, now: float) -> str | None:
        """Return why the server isn't alive, or None if it is."""
        limit = self._timeout_seconds + NO_WORKER_SECONDS
        if now - self._last_check > limit:
            return "The main process has stopped checking its workers."
        if now - self._last_response > limit:
            return f"No worker has responded for {now - self._last_response:.0f} s."
        return None

    def _is_stalled(self, worker: int, now: float, timeout_seconds: float) -> bool:
        heartbeat, changed_at = self._changes[worker]
        limit = timeout_seconds if heartbeat is not None else max(timeout_seconds, START_TIMEOUT_SECONDS)
        return worker not in self._reported and now - changed_at > limit

    def _current_timeout(self, now: float) -> float:
        while self._stalled_at and now - self._stalled_at[0] > RECENT_SECONDS:
            self._stalled_at.popleft()
        return self._timeout_seconds * float(min(2 ** len(self._stalled_at), MAX_TIMEOUT_FACTOR))


class WorkerServer(MPServer):
    """Granian's server, with these differences:

    - A worker that exits repeatedly ends the server only if no other worker is alive.
    - A worker that stops responding is killed and replaced.
    - The log has preptime's messages about workers instead of Granian's.
    """

    _metrics_store: MetricsStore
    _monitor: HeartbeatMonitor
    _timeout_seconds: float
    _unresponsive: set[int]

    @contextmanager
    def monitor_workers(
        self, metrics_folder: Path, metrics_store: MetricsStore, timeout_seconds: float
    ) -> Iterator[Callable[[], str | None]]:
        """Check the heartbeats of the workers in a thread while the context is active.

        Yields a function that returns why the server isn't alive, or None if it is.
        """
        self._metrics_store = metrics_store
        self._monitor = HeartbeatMonitor(timeout_seconds, time.monotonic())
        self._timeout_seconds = timeout_seconds
        self._unresponsive = set()
        stopping = threading.Event()
        arguments = (metrics_folder, stopping)
        thread = threading.Thread(target=self._monitor_loop, args=arguments, name="worker-monitor", daemon=True)
        thread.start()
        try:
            yield lambda: self._monitor.problem(time.monotonic())
        finally:
            stopping.set()
            thread.join()

    def _monitor_loop(self, metrics_folder: Path, stopping: threading.Event) -> None:
        known: set[int] = set()
        while not stopping.wait(CHECK_SECONDS):
            self._metrics_store.count_process()
            try:
                heartbeats = read_heartbeats(metrics_folder)
            except OSError as error:
                logger.warning("The heartbeats of the workers can't be read: %s", error)
                continue
            known |= heartbeats.keys()
            # A worker whose file was removed can't be monitored.
            workers = [process for worker in list(self.wrks) if (process := worker.inner.pid) is not None]
            monitored = {pid: heartbeats.get(pid) for pid in workers if pid in heartbeats or pid not in known}
            for pid in self._monitor.find_stalled(monitored, time.monotonic()):
                self._kill_unresponsive(pid)

    def _kill_unresponsive(self, pid: int) -> None:
        for worker in list(self.wrks):
            if worker.inner.pid == pid:
                self._unresponsive.add(pid)
                worker.inner.kill()  # `worker.kill` would prevent its replacement.

    def _respawn_workers(
        self,
        workers: list[int],
        spawn_target: Callable[..., object],
        target_loader: Callable[..., object],
        delay: float = 0,
    ) -> None:
        now = time.monotonic()
        if any(now - worker.birth < EARLY_EXIT_SECONDS for worker in self.wrks if worker.idx in workers):
            self.main_loop_interrupt.wait(RESPAWN_DELAY_SECONDS)
        replaced = [self.wrks[index] for index in workers]
        exit_codes = [worker.inner.exitcode for worker in replaced]
        super()._respawn_workers(workers, spawn_target, target_loader, delay)
        for worker, exit_code in zip(replaced, exit_codes, strict=True):
            self._report_replacement(worker, exit_code)
        if len(self.wrks) > len(workers):
            self.respawned_wrks.clear()

    def _report_replacement(self, worker: WorkerProcess, exit_code: int | None) -> None:
        process, replacement = worker.inner.pid, self.wrks[worker.idx].inner.pid
        if exit_code is None:  # SIGHUP: all workers are replaced one after another.
            logger.info("Worker %d (process %s) is replaced by process %s.", worker.idx + 1, process, replacement)
            return
        is_unresponsive = process in self._unresponsive
        self._metrics_store.count_replacement(REPLACEMENT_CAUSES[is_unresponsive])
        cause = (
            f"didn't respond for more than {self._timeout_seconds:.0f} s and was killed"
            if is_unresponsive
            else describe_exit(exit_code)
        )
        message = "Worker %d (process %s) %s. Process %s replaces it."
        logger.warning(message, worker.idx + 1, process, cause, replacement)

    def _stop_workers(self) -> None:
        if self.interrupt_children and not self.interrupt_signal:
            logger.error("Every worker ended soon after its start. See the earlier messages.")
        logger.info("Stopping. Running requests can finish.")
        workers = list(self.wrks)
        super()._stop_workers()  # type: ignore[no-untyped-call]  # Granian has no types for it
        for worker in workers:
            if worker.inner.exitcode == KILLED_EXIT_CODE:
                logger.warning("Worker %d didn't stop within the shutdown timeout and was killed.", worker.idx + 1)

    @classmethod
    def run_worker(
        cls, worker_id: int, process_name: str | None, loader: WorkerApplicationLoader, *arguments: object
    ) -> None:
        """Run a worker in its process until SIGTERM, then end the process.

        `os._exit` ends it without finalizing the interpreter: a request whose client has gone can still be running, and
        Granian's thread aborts the process when it returns to a finalized interpreter.
        """
        status = 1
        try:
            log_uncaught_exceptions()
            with wake_main_thread():
                cls._spawn_wsgi_worker(worker_id, process_name, loader, *arguments)
            loader.close()
            status = 0
        except KeyboardInterrupt:
            pass  # Ctrl-C before the worker handles signals. The main process stops too.
        except PreptimeError as error:
            logger.critical("%s", error)
        except BaseException:  # Also a panic of a Rust library, which isn't an `Exception`.
            logger.critical("The worker failed.", exc_info=True)
        finally:
            for child in multiprocessing.active_children():
                child.terminate()
            os._exit(status)


def describe_exit(exit_code: int) -> str:
    """Return how a process ended. `exit_code` is that of `multiprocessing`: negative for a signal."""
    if exit_code >= 0:
        return f"ended with exit status {exit_code}"
    try:
        return f"was ended by {signal.Signals(-exit_code).name}"
    except ValueError:
        return f"was ended by signal {-exit_code}"
