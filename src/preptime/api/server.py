"""The server's own log: one JSON document a line, on standard error.

The server: Granian's WSGI workers, and the main process that starts, watches and ends them.

The main process predicts nothing: neither Flask nor a bundle's libraries are loaded in it.
"""

from __future__ import annotations

import datetime as dt
import logging
import multiprocessing
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import msgspec
from granian.constants import HTTPModes, Interfaces
from granian.log import LogLevels
from granian.server.mp import MPServer

from preptime.api.batching import RESERVED_THREADS
from preptime.api.health_server import run_health_server
from preptime.api.metrics_store import temporary_metrics_folder
from preptime.api.runtime import configured_api_keys
from preptime.api.worker import start_worker_from_spec
from preptime.errors import UsageError
from preptime.settings import Settings, resolve_free_address

EXTRA_FIELDS = ("request_id", "endpoint", "status", "key_name", "bundle")
"""What a message may carry beside its words: `logger.error("…", extra={"request_id": …})`."""


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON: time (UTC), level, logger, process, message, facts, and the trace of a fault."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        timestamp = dt.datetime.fromtimestamp(record.created, dt.UTC)
        document: dict[str, object] = {
            "time": timestamp.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": record.process,
            "message": record.getMessage(),
        }
        document |= {name: value for name in EXTRA_FIELDS if (value := getattr(record, name, None)) is not None}
        if record.exc_info:
            document["traceback"] = self.formatException(record.exc_info)
        return msgspec.json.encode(document, enc_hook=str).decode()


class GranianThreadWarningFilter(logging.Filter):
    """Keeps back one warning of Granian's: a thread for every request that may wait is how the queue is bounded."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is shown."""
        return not record.getMessage().startswith("Configuration allows spawning up to")


def log_config(level: str) -> dict[str, object]:
    """For `logging.config.dictConfig`: everything of at least `level` as JSON on standard error."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {"granian_thread_warning": {"()": "preptime.api.server.GranianThreadWarningFilter"}},
        "formatters": {"json": {"()": "preptime.api.server.JsonFormatter"}},
        "handlers": {
            "stderr": {"class": "logging.StreamHandler", "formatter": "json", "stream": "ext://sys.stderr"},
        },
        "root": {"level": level.upper(), "handlers": ["stderr"]},
        "loggers": {"_granian": {"level": level.upper(), "propagate": True, "filters": ["granian_thread_warning"]}},
    }


DEFAULT_APPLICATION = "preptime.api.fast_path:make_application"
MAX_CONNECTIONS = 1024
"""Open connections of one worker; more wait in the system's queue, which is as long again."""

EARLY_EXIT_SECONDS = 5.5
"""Granian's measure: a worker that dies again so soon after it was started in another's place may go on like that."""
RESPAWN_DELAY_SECONDS = 1.0
"""Before one is started in the place of a worker that died young."""

logger = logging.getLogger(__name__)


class WorkerServer(MPServer):
    """Granian's, which end all together when one dies twice within seconds; here only when no other lives on."""

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
        super()._respawn_workers(workers, spawn_target, target_loader, delay)
        if len(self.wrks) > len(workers):
            self.respawned_wrks.clear()


def serve(settings: Settings, application_spec: str = DEFAULT_APPLICATION) -> None:
    """Serve until SIGTERM or SIGINT; then stop accepting, finish what is under way within the grace time, return.

    `application_spec` is the `module:function` that makes a service's WSGI application, in every worker. Raises `UsageError`
    before anything is started: for a port in use, for keys that cannot be.
    """
    configured_api_keys(settings)
    address = resolve_free_address(settings.host, settings.port, "PREPTIME_PORT")
    if settings.health_port is not None:
        if settings.health_port == settings.port:
            raise UsageError(
                f"PREPTIME_HEALTH_PORT is {settings.port}, and so is PREPTIME_PORT.",
                "Set another, or none: the API's own port answers health and metrics too.",
            )
        resolve_free_address(settings.host, settings.health_port, "PREPTIME_HEALTH_PORT")
    with ExitStack() as exit_stack:
        if not settings.metrics_folder:
            settings = msgspec.structs.replace(
                settings, metrics_folder=str(exit_stack.enter_context(temporary_metrics_folder()))
            )
        _run(settings, application_spec, address, exit_stack)


def _run(settings: Settings, application_spec: str, address: str, exit_stack: ExitStack) -> None:
    # A worker starts from nothing on every system: no lock, thread or file of this process goes with it.
    multiprocessing.set_start_method("spawn", force=True)
    stdout_lock = multiprocessing.Lock() if settings.prediction_log == "stdout" else None
    server = WorkerServer(
        application_spec,
        address=address,
        port=settings.port,
        interface=Interfaces.WSGI,
        workers=settings.workers,
        blocking_threads=settings.max_concurrent_requests + RESERVED_THREADS,
        backpressure=MAX_CONNECTIONS,
        backlog=MAX_CONNECTIONS,
        http=HTTPModes.http1,
        websockets=False,
        log_level=LogLevels(settings.log_level),
        log_dictconfig=log_config(settings.log_level),
        respawn_failed_workers=True,
        workers_kill_timeout=settings.shutdown_timeout_seconds,
    )
    logger.info("Settings: %s", ", ".join(f"{name}={value}" for name, value in settings.redacted().items()))
    if settings.health_port is not None:
        exit_stack.enter_context(run_health_server(address, settings.health_port, Path(settings.metrics_folder)))
    server.serve(
        target_loader=partial(start_worker_from_spec, settings, application_spec, stdout_lock), wrap_loader=False
    )
