"""Health and metrics on a port of their own, answered by the main process from what the workers tell."""

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

from preptime.api.metrics import STALE_SECONDS, render_metrics
from preptime.api.metrics_store import read_live_states

METRICS_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SOCKET_TIMEOUT_SECONDS = 10.0
"""A client that says nothing for so long is hung up on."""


class ServerReadiness(msgspec.Struct, frozen=True):
    """The document of `/readyz` on this port."""

    ready: bool
    """Whether every worker that lives predicts, and one does."""
    workers: int
    bundles: list[str]
    """What they serve: one bundle, but for the seconds of a change."""
    errors: list[str]
    """Why what is served may not be the latest champion."""


class HealthHandler(BaseHTTPRequestHandler):
    """Three pages, and nothing else."""

    timeout = SOCKET_TIMEOUT_SECONDS
    server_version = "preptime"
    sys_version = ""

    def __init__(self, metrics_folder: Path, request: socket, client: tuple[str, int], server: BaseServer) -> None:
        self._metrics_folder = metrics_folder  # first: what it is made of also answers the request
        super().__init__(request, client, server)

    def do_GET(self) -> None:
        """Answer one request."""
        match self.path.partition("?")[0]:
            case "/healthz":
                self._respond(200, "application/json", b'{"status":"ok"}')
            case "/readyz":
                readiness = read_readiness(self._metrics_folder)
                self._respond(200 if readiness.ready else 503, "application/json", msgspec.json.encode(readiness))
            case "/metrics":
                self._respond(200, METRICS_CONTENT_TYPE, render_metrics(self._metrics_folder))
            case _:
                self._respond(404, "text/plain; charset=utf-8", b"Here are /healthz, /readyz and /metrics.\n")

    def do_HEAD(self) -> None:
        """The same without its body."""
        self.do_GET()

    def send_error(self, code: int, *_: object, **__: object) -> None:
        """What the library itself refuses, in our own words: a method that is not there, a line that is no request."""
        if code == HTTPStatus.NOT_IMPLEMENTED:
            self._respond(405, "text/plain; charset=utf-8", b"Here GET and HEAD are answered.\n", Allow="GET, HEAD")
        else:
            self._respond(code, "text/plain; charset=utf-8", b"This is no request.\n")

    def log_message(self, *_: object, **__: object) -> None:
        """Nothing: probes come every few seconds."""

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
    """A thread for each request. Not the library's HTTP server, which asks for its own name when it starts."""

    daemon_threads = True
    allow_reuse_address = os.name == "posix"

    def __init__(self, address: str, port: int, metrics_folder: Path) -> None:
        self.address_family = AF_INET6 if ":" in address else AF_INET
        super().__init__((address, port), partial(HealthHandler, metrics_folder))


def read_readiness(metrics_folder: Path) -> ServerReadiness:
    """What the workers that live say together."""
    states = read_live_states(metrics_folder, stale_seconds=STALE_SECONDS)
    return ServerReadiness(
        ready=bool(states) and all(state.ready for state in states),
        workers=len(states),
        bundles=sorted({state.bundle for state in states if state.ready}),
        errors=sorted({state.champion_error for state in states if state.champion_error}),
    )


@contextmanager
def run_health_server(address: str, port: int, metrics_folder: Path) -> Iterator[None]:
    """Answer in a thread for as long as the context lasts."""
    server = HealthServer(address, port, metrics_folder)
    thread = threading.Thread(target=server.serve_forever, name="health", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
