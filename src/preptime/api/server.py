"""The server: Granian's WSGI workers, and the main process that starts, monitors, and stops them.

The main process predicts nothing: it loads neither Flask nor the libraries of a bundle. The server log goes to standard
error, one JSON document per line.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import logging
import multiprocessing
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import msgspec
from granian.constants import HTTPModes, Interfaces
from granian.log import LogLevels
from granian.server.mp import MPServer

from preptime.api.batching import RESERVED_THREADS
from preptime.api.health_server import run_health_server
from preptime.api.metrics import STALE_SECONDS
from preptime.api.metrics_store import read_live_states, temporary_metrics_folder
from preptime.api.worker import DEFAULT_APPLICATION, configured_api_keys, start_worker_from_spec
from preptime.errors import UsageError
from preptime.network import resolve_free_address
from preptime.settings import Settings

MAX_CONNECTIONS = 1024
"""Maximum number of open connections per worker. The system queues as many more."""
EARLY_EXIT_SECONDS = 5.5
"""Granian treats a worker that exits within this time after a respawn as failing repeatedly."""
RESPAWN_DELAY_SECONDS = 1.0
"""Delay before a worker that exited early is replaced."""
READY_POLL_SECONDS = 0.05
"""Interval of the checks for the first response of a worker."""
NO_CHAMPION_REASON = "train or promote a bundle, and the server loads it automatically"

EXTRA_FIELDS = ("request_id", "endpoint", "status", "key_name", "bundle")
"""Fields that a log message can have in addition to its text: `logger.error("…", extra={"request_id": …})`."""

logger = logging.getLogger(__name__)


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON: time (UTC), level, logger, process, message, extra fields, traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line without a newline."""
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
    """Hides Granian's warning about many threads: one thread per accepted request is how the queue is limited."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record is logged."""
        return not record.getMessage().startswith("Configuration allows spawning up to")


def log_config(level: str) -> dict[str, object]:
    """Return the `logging.config.dictConfig` for JSON lines of at least `level` on standard error."""
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


class WorkerServer(MPServer):
    """Granian's server, but a worker that exits repeatedly ends the server only if no other worker is alive."""

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
    """Serve until SIGTERM or SIGINT. Then stop accepting requests, finish running ones within the timeout, and return.

    `application_spec` is the `module:function` that builds the WSGI application of a service in every worker. Raises
    `UsageError` before anything starts, for example if a port is in use or a key is invalid.
    """
    configured_api_keys(settings)
    address = resolve_free_address(settings.host, settings.port, "PREPTIME_PORT")
    _check_health_port(settings)
    with ExitStack() as exit_stack:
        metrics_folder = Path(settings.metrics_folder or exit_stack.enter_context(temporary_metrics_folder()))
        worker_settings = msgspec.structs.replace(settings, metrics_folder=str(metrics_folder))
        # Workers start from an empty process on every system, so that they inherit no lock, thread, or file.
        multiprocessing.set_start_method("spawn", force=True)
        stdout_lock = multiprocessing.Lock() if settings.prediction_log == "stdout" else None
        server = _build_server(settings, application_spec, address)
        logger.info("Settings: %s", _describe_changed_settings(settings))
        if settings.health_port is not None:
            exit_stack.enter_context(run_health_server(address, settings.health_port, metrics_folder))
        exit_stack.enter_context(_announce_readiness(settings, address, metrics_folder))
        server.serve(
            target_loader=partial(start_worker_from_spec, worker_settings, application_spec, stdout_lock),
            wrap_loader=False,
        )


def _check_health_port(settings: Settings) -> None:
    if settings.health_port is None:
        return
    if settings.health_port == settings.port:
        raise UsageError(
            f"PREPTIME_HEALTH_PORT and PREPTIME_PORT are both {settings.port}.",
            "Set another PREPTIME_HEALTH_PORT, or remove it: the API's port serves health and metrics too.",
        )
    resolve_free_address(settings.host, settings.health_port, "PREPTIME_HEALTH_PORT")


def _build_server(settings: Settings, application_spec: str, address: str) -> WorkerServer:
    return WorkerServer(
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


def _describe_changed_settings(settings: Settings) -> str:
    """Return the settings that differ from their defaults, without secrets."""
    defaults = Settings().redacted()
    changed = [f"{name}={value}" for name, value in settings.redacted().items() if value != defaults[name]]
    return ", ".join(changed) or "all settings have their default values"


@contextmanager
def _announce_readiness(settings: Settings, address: str, metrics_folder: Path) -> Iterator[None]:
    """Print the server's URL once, when a worker responds for the first time."""
    stopping = threading.Event()
    thread = threading.Thread(
        target=_print_when_ready, args=(settings, address, metrics_folder, stopping), name="readiness", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        stopping.set()


def _print_when_ready(settings: Settings, address: str, metrics_folder: Path, stopping: threading.Event) -> None:
    while not _responds("localhost" if _is_unspecified(address) else address, settings.port):
        if stopping.wait(READY_POLL_SECONDS):
            return
    line = format_ready_line(settings, metrics_folder)
    if settings.prediction_log == "stdout":  # Standard output then has only the lines of the prediction log.
        logger.info(line)
        return
    with suppress(OSError):  # A closed standard output doesn't stop the server.
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


def _responds(address: str, port: int) -> bool:
    connection = HTTPConnection(address, port, timeout=5)
    try:
        connection.request("GET", "/healthz")
        connection.getresponse().read()
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
    return True


def format_ready_line(settings: Settings, metrics_folder: Path) -> str:
    """Return the server's URL with its bundle, or with the reason why it has none. Uses the states of the workers."""
    host = "localhost" if _is_unspecified(settings.host) else settings.host.strip("[]")
    url = f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"
    states = read_live_states(metrics_folder, stale_seconds=STALE_SECONDS)
    bundle = next((state.bundle for state in states if state.ready), None)
    if bundle is not None:
        return f"Ready: {url} (bundle {bundle}), docs at {url}/docs"
    reason = next((state.champion_error for state in states if state.champion_error), NO_CHAMPION_REASON)
    return f"Ready: {url} (no champion yet: {reason.rstrip('.')}), docs at {url}/docs"


def _is_unspecified(host: str) -> bool:
    """Return whether the host is the address of all interfaces, such as 0.0.0.0."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_unspecified
    except ValueError:
        return False
