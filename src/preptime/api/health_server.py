"""Health and metrics on a separate port, served by the main process from the state that the workers publish."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socket import AF_INET, AF_INET6, socket
from socketserver import BaseServer, ThreadingTCPServer

import msgspec

from preptime.api.metrics import METRICS_CONTENT_TYPE, STALE_SECONDS, render_metrics
from preptime.api.metrics_store import read_live_states

SOCKET_TIMEOUT_SECONDS = 10.0
"""Connections without data for this time are closed."""


class ServerReadiness(msgspec.Struct, frozen=True):
    """The response of `/readyz` on this port."""

    ready: bool
    """Whether at least one worker is alive and every live worker is ready."""
    workers: int
    bundles: list[str]
    """IDs of the active bundles. Usually there's one, except while the workers load a new champion."""
    errors: list[str]
    """Why the active bundles may not be the latest champion."""


class HealthHandler(BaseHTTPRequestHandler):
    """Responds to `/healthz`, `/readyz`, and `/metrics`."""

    timeout = SOCKET_TIMEOUT_SECONDS
    server_version = "preptime"
    sys_version = ""

    def __init__(self, metrics_folder: Path, request: socket, client: tuple[str, int], server: BaseServer) -> None:
        self._metrics_folder = metrics_folder  # Before `super().__init__`, which already handles the request.
        super().__init__(request, client, server)

    def do_GET(self) -> None:
        """Respond to one GET request."""
        match self.path.partition("?")[0]:
            case "/healthz":
                self._respond(200, "application/json", b'{"status":"ok"}')
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

    def __init__(self, address: str, port: int, metrics_folder: Path) -> None:
        self.address_family = AF_INET6 if ":" in address else AF_INET
        super().__init__((address, port), partial(HealthHandler, metrics_folder))


def read_readiness(metrics_folder: Path) -> ServerReadiness:
    """Return the combined readiness of all live workers."""
    states = read_live_states(metrics_folder, stale_seconds=STALE_SECONDS)
    return ServerReadiness(
        ready=bool(states) and all(state.ready for state in states),
        workers=len(states),
        bundles=sorted({state.bundle for state in states if state.ready}),
        errors=sorted({state.champion_error for state in states if state.champion_error}),
    )


@contextmanager
def run_health_server(address: str, port: int, metrics_folder: Path) -> Iterator[None]:
    """Serve in a thread while the context is active."""
    server = HealthServer(address, port, metrics_folder)
    thread = threading.Thread(target=server.serve_forever, name="health", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
