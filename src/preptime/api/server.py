"""The server: Granian's WSGI workers, and the main process that starts, monitors, and stops them.

The main process predicts nothing: it loads neither Flask nor the libraries of a bundle. The server log goes to standard
error, one JSON document per line.
"""

from __future__ import annotations

import ipaddress
import logging
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import NoReturn

import msgspec
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels

from preptime.api.health_server import run_health_server
from preptime.api.json_logs import LogStream, convert_stderr_text, log_config, log_uncaught_exceptions
from preptime.api.limits import RESERVED_THREADS
from preptime.api.metrics import STALE_SECONDS
from preptime.api.metrics_store import MetricsStore, WorkerState, read_live_states, temporary_metrics_folder
from preptime.api.supervision import WorkerServer
from preptime.api.telemetry import check_telemetry, export_metrics
from preptime.api.worker import (
    DEFAULT_APPLICATION,
    WorkerApplicationLoader,
    check_settings,
    configured_api_keys,
    require_store_folder,
)
from preptime.errors import UsageError
from preptime.network import SERVICE_LINKS_HINT, find_service_links, resolve_free_address
from preptime.settings import Settings
from preptime.signals import wake_main_thread

MAX_CONNECTIONS = 1024
"""Maximum number of open connections per worker. The system queues as many more."""
MAX_HEADER_BYTES = 65_536
"""Maximum size of the headers of a request. Granian's default, 417 kB, would take 430 MB for the connections above."""
LOG_SIZE_SECONDS = 15.0
"""Interval at which the size of the prediction log is measured."""
READY_POLL_SECONDS = 0.05
"""Interval of the checks for the first response of a worker."""
NO_CHAMPION_REASON = "train or promote a bundle, and the server loads it automatically"

logger = logging.getLogger(__name__)


def serve(settings: Settings, application_spec: str = DEFAULT_APPLICATION) -> None:
    """Serve until SIGTERM or SIGINT. Then stop accepting requests, finish running ones within the timeout, and return.

    `application_spec` is the `module:function` that builds the WSGI application of a service in every worker. Raises
    `UsageError` or `StoreError` before anything starts, for example if a port is in use or a key is invalid.
    """
    check_settings(settings)
    configured_api_keys(settings)
    check_telemetry(os.environ)
    address = resolve_free_address(settings.host, settings.port, "PREPTIME_PORT")
    _check_health_port(settings)
    require_store_folder(settings)
    with ExitStack() as exit_stack:
        metrics_folder = Path(settings.metrics_folder or exit_stack.enter_context(temporary_metrics_folder()))
        worker_settings = msgspec.structs.replace(settings, metrics_folder=str(metrics_folder))
        # Otherwise, glibc keeps freed memory separately for each thread: about 50 MB more after large requests.
        os.environ.setdefault("MALLOC_ARENA_MAX", "1")
        # With large pages, 16 connections get about 3 % more requests per second. A worker takes 6 MB more.
        os.environ.setdefault("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")
        # Workers start from an empty process on every system, so that they inherit no lock, thread, or file.
        multiprocessing.set_start_method("spawn", force=True)
        log_stream = exit_stack.enter_context(convert_stderr_text())
        # The lock starts the process that tracks resources. Its messages are converted too.
        stdout_lock = multiprocessing.Lock() if settings.prediction_log == "stdout" else None
        server = _build_server(settings, application_spec, address, log_stream)
        log_uncaught_exceptions()
        _log_start(settings)
        metrics_store = MetricsStore(metrics_folder)
        is_alive = exit_stack.enter_context(
            server.monitor_workers(metrics_folder, metrics_store, settings.worker_timeout_seconds)
        )
        if settings.prediction_log == "folder":
            arguments = (Path(settings.prediction_log_folder), metrics_store)
            threading.Thread(target=_measure_prediction_log, args=arguments, name="log-size", daemon=True).start()
        if settings.health_port is not None:
            exit_stack.enter_context(run_health_server(address, settings.health_port, metrics_folder, is_alive))
        exit_stack.enter_context(export_metrics(metrics_folder, os.environ))
        exit_stack.enter_context(_announce_readiness(settings, address, metrics_folder))
        exit_stack.enter_context(wake_main_thread())
        try:
            server.serve(
                spawn_target=WorkerServer.run_worker,
                target_loader=WorkerApplicationLoader(worker_settings, application_spec, stdout_lock),
                wrap_loader=False,
            )
        finally:
            logger.info("Stopped.")


def _measure_prediction_log(folder: Path, metrics_store: MetricsStore) -> NoReturn:
    """Update the metrics of the prediction log's size. A slow disk delays only this thread."""
    while True:
        try:
            metrics_store.set_log_size(*measure_log_files(folder))
        except OSError as error:
            logger.warning("The size of the prediction log can't be measured: %s", error)
        time.sleep(LOG_SIZE_SECONDS)


def measure_log_files(folder: Path) -> tuple[int, int]:
    """Return the total size in bytes and the number of the files of the prediction log."""
    sizes = []
    for path in folder.glob("predictions-*.jsonl"):
        with suppress(FileNotFoundError):  # A worker has just deleted an old file.
            sizes.append(path.stat().st_size)
    return sum(sizes), len(sizes)


def _log_start(settings: Settings) -> None:
    count = "1 worker" if settings.workers == 1 else f"{settings.workers} workers"
    logger.info("Starting: %s, port %d of %s.", count, settings.port, settings.host)
    logger.info("Settings: %s", _describe_changed_settings(settings))
    if service_links := find_service_links(os.environ):
        logger.warning("Ignored variables: %s. %s", ", ".join(service_links), SERVICE_LINKS_HINT)


def _check_health_port(settings: Settings) -> None:
    if settings.health_port is None:
        return
    if settings.health_port == settings.port:
        raise UsageError(
            f"PREPTIME_HEALTH_PORT and PREPTIME_PORT are both {settings.port}.",
            "Set another PREPTIME_HEALTH_PORT, or remove it: the API's port serves health and metrics too.",
        )
    resolve_free_address(settings.host, settings.health_port, "PREPTIME_HEALTH_PORT")


def _build_server(
    settings: Settings, application_spec: str, address: str, log_stream: LogStream | None
) -> WorkerServer:
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
        http1_settings=HTTP1Settings(
            header_read_timeout=round(settings.header_timeout_seconds * 1000), max_buffer_size=MAX_HEADER_BYTES
        ),
        websockets=False,
        log_level=LogLevels(settings.log_level),
        log_dictconfig=log_config(settings.log_level, log_stream),
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
    states = read_live_states(metrics_folder, stale_seconds=STALE_SECONDS)
    if not any(state.ready for state in states):
        logger.warning("%s", describe_missing_champion(settings, states))
    line = format_ready_line(settings, states)
    if settings.prediction_log == "stdout":  # Standard output then has only the lines of the prediction log.
        logger.info(line)
        return
    with suppress(OSError):  # A closed standard output doesn't stop the server.
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


def describe_missing_champion(settings: Settings, states: list[WorkerState]) -> str:
    """Return why the server can't predict yet, with the store's address without secrets, and how to get a champion."""
    store = settings.redacted()["PREPTIME_STORE"]
    error = next((state.champion_error for state in states if state.champion_error), None)
    if error is not None:
        return f"The server has no champion of the store {store} yet: {error}"
    return (
        f"The store {store} has no champion, so the server can't predict yet. Create one with preptime train --date "
        "DATE, or promote a bundle with preptime bundles promote. The server loads it automatically."
    )


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


def format_ready_line(settings: Settings, states: list[WorkerState]) -> str:
    """Return the server's URL with its bundle, or with the reason why it has none."""
    host = "localhost" if _is_unspecified(settings.host) else settings.host.strip("[]")
    url = f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"
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
