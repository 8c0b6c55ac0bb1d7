"""Health and metrics on a separate port, served by the main process from the state that the workers publish.

Slow clients can't block it: it accepts any number of connections one after another, and closes the oldest ones.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import BaseServer, ThreadingTCPServer

import msgspec

from preptime.api.metrics import METRICS_CONTENT_TYPE, STALE_SECONDS, render_metrics
from preptime.api.metrics_store import read_states

MAX_CONNECTIONS = 64
"""Maximum number of open connections. A new connection then closes the oldest one."""
MAX_REQUEST_SECONDS = 10.0
"""Connections are closed after this time, even if the client still sends or receives."""

AliveCheck = Callable[[], str | None]
"""Returns why the server isn't alive, or None if it is."""

Request = socket.socket | tuple[bytes, socket.socket]
"""A connection, in the type of `socketserver`."""

logger = logging.getLogger(__name__)


class ServerHealth(msgspec.Struct, frozen=True, omit_defaults=True):
    """The response of `/healthz` on this port."""

    status: str
    """`ok` or `failing`."""
    reason: str = ""
    """Why the server isn't alive."""


class ServerReadiness(msgspec.Struct, frozen=True):
    """The response of `/readyz` on this port."""

    ready: bool
    """Whether a worker is alive, and every live worker responds and is ready."""
    workers: int
    """Number of workers that respond."""
    unresponsive_workers: int
    """Number of workers that have stopped responding. They are replaced after `PREPTIME_WORKER_TIMEOUT_SECONDS`."""
    bundles: list[str]
    """IDs of the active bundles. Usually there's one, except while the workers load a new champion."""
    store_available: bool
    """Whether all workers can read the champion log."""
    errors: list[str]
    """Why the active bundles may not be the latest champion."""
    reasons: list[str]
    """Why the server isn't ready."""


class HealthHandler(BaseHTTPRequestHandler):
    """Responds to `/healthz`, `/readyz`, and `/metrics`."""

    timeout = MAX_REQUEST_SECONDS
    server_version = "preptime"
    sys_version = ""

    def __init__(
        self,
        metrics_folder: Path,
        is_alive: AliveCheck,
        request: socket.socket,
        client: tuple[str, int],
        server: BaseServer,
    ) -> None:
        self._metrics_folder = metrics_folder  # Before `super().__init__`, which already handles the request.
        self._is_alive = is_alive
        super().__init__(request, client, server)

    def do_GET(self) -> None:
        """Respond to one GET request."""
        match self.path.partition("?")[0]:
            case "/healthz":
                reason = self._is_alive()
                health = ServerHealth("ok") if reason is None else ServerHealth("failing", reason)
                self._respond(200 if reason is None else 503, "application/json", msgspec.json.encode(health))
            case "/readyz":
                readiness = read_readiness(self._metrics_folder)
                self._respond(200 if readiness.ready else 503, "application/json", msgspec.json.encode(readiness))
            case "/metrics":
                self._respond(200, METRICS_CONTENT_TYPE, render_metrics(self._metrics_folder))
            case _:
                self._respond(404, "text/plain; charset=utf-8", b"Not found. Available: /healthz, /readyz, /metrics.\n")

    def do_HEAD(self) -> None:
        """Respond to one HEAD request."""
        self.do_GET()

    def send_error(self, code: int, *_: object, **__: object) -> None:
        """Respond to an unsupported method or a malformed request, without details of the implementation."""
        if code == HTTPStatus.NOT_IMPLEMENTED:
            self._respond(
                405, "text/plain; charset=utf-8", b"Method not allowed. Use GET or HEAD.\n", Allow="GET, HEAD"
            )
        else:
            self._respond(code, "text/plain; charset=utf-8", b"Malformed HTTP request.\n")

    def log_message(self, *_: object, **__: object) -> None:
        """Log nothing, because probes arrive every few seconds."""

    def _respond(self, status: int, content_type: str, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


class HealthServer(ThreadingTCPServer):
    """Handles each request in its own thread. Not `http.server.HTTPServer`, which resolves its host name at start."""

    daemon_threads = True
    allow_reuse_address = os.name == "posix"
    request_queue_size = 128

    def __init__(self, address: str, port: int, metrics_folder: Path, is_alive: AliveCheck) -> None:
        self.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._accepted_at: dict[Request, float] = {}
        """Open connections, the oldest first, and when they were accepted."""
        self._lock = threading.Lock()
        super().__init__((address, port), partial(HealthHandler, metrics_folder, is_alive))

    def process_request(self, request: Request, client_address: object) -> None:
        """Handle a request in a new thread. Closes the oldest connection if there are too many."""
        with self._lock:
            if len(self._accepted_at) >= MAX_CONNECTIONS:
                _disconnect(next(iter(self._accepted_at)), self._accepted_at)
            self._accepted_at[request] = time.monotonic()
        super().process_request(request, client_address)

    def service_actions(self) -> None:
        """Close connections that are too old. The server calls this at least twice per second."""
        expired_before = time.monotonic() - MAX_REQUEST_SECONDS
        with self._lock:
            for connection, accepted_at in list(self._accepted_at.items()):
                if accepted_at < expired_before:
                    _disconnect(connection, self._accepted_at)

    def shutdown_request(self, request: Request) -> None:
        """Close a connection after its request."""
        with self._lock:
            self._accepted_at.pop(request, None)
            super().shutdown_request(request)

    def handle_error(self, request: object, client_address: object) -> None:
        """Log an unexpected error. A client that disconnects is none."""
        del request, client_address
        error = sys.exc_info()[1]
        if not isinstance(error, (ConnectionError, TimeoutError)):
            logger.error("A request to the health port failed.", exc_info=error)


def _disconnect(connection: Request, accepted_at: dict[Request, float]) -> None:
    """Disconnect a client. Its thread then closes the connection."""
    del accepted_at[connection]
    if isinstance(connection, socket.socket):
        with suppress(OSError):  # The client has already gone.
            connection.shutdown(socket.SHUT_RDWR)


def read_readiness(metrics_folder: Path) -> ServerReadiness:
    """Return the combined readiness of all live workers."""
    states = read_states(metrics_folder)
    responsive = [state for state in states if state.updated_at >= time.time() - STALE_SECONDS]
    unresponsive = len(states) - len(responsive)
    reasons = {state.reason for state in responsive if not state.ready}
    if unresponsive:
        reasons.add(f"Workers that don't respond: {unresponsive}.")
    if not states:
        reasons.add("No worker has started yet.")
    return ServerReadiness(
        ready=not reasons,
        workers=len(responsive),
        unresponsive_workers=unresponsive,
        bundles=sorted({state.bundle for state in responsive if state.ready}),
        store_available=all(state.store_available for state in responsive),
        errors=sorted({state.champion_error for state in responsive if state.champion_error}),
        reasons=sorted(reasons),
    )


@contextmanager
def run_health_server(address: str, port: int, metrics_folder: Path, is_alive: AliveCheck) -> Iterator[None]:
    """Serve in a thread while the context is active."""
    server = HealthServer(address, port, metrics_folder, is_alive)
    thread = threading.Thread(target=server.serve_forever, name="health", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
