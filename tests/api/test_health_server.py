"""The health port: responses, slow clients, and clients that hang up."""

from __future__ import annotations

import json
import logging
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest

from preptime.api import health_server
from preptime.api.health_server import MAX_CONNECTIONS, read_readiness, run_health_server
from preptime.api.metrics import STALE_SECONDS
from preptime.api.metrics_store import MetricsStore, WorkerState
from tests.api.processes import free_port

HALF_REQUEST = b"GET /healthz HTTP/1.1\r\nX-A: "


class HealthPort:
    """A health server of a test, with one worker."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.problem: str | None = None
        self.worker = MetricsStore(folder)

    def get(self, path: str) -> tuple[int, str]:
        """Return the status and body of a response."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read().decode()
        connection.close()
        return response.status, body

    def connect(self, content: bytes = b"") -> socket.socket:
        """Return a connection that has sent `content`."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        connection.sendall(content)
        return connection


@pytest.fixture
def health(tmp_path: Path) -> Iterator[HealthPort]:
    """Return a running health server."""
    made = HealthPort(tmp_path)
    with run_health_server("127.0.0.1", made.port, tmp_path, lambda: made.problem):
        yield made


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    assert condition()


def test_healthz_reports_why_the_server_isnt_alive(health: HealthPort) -> None:
    assert health.get("/healthz") == (200, '{"status":"ok"}')
    health.problem = "No worker has responded for 91 s."
    status, body = health.get("/healthz")
    assert (status, json.loads(body)) == (503, {"status": "failing", "reason": health.problem})


def test_readyz_reports_reasons_and_unresponsive_workers(health: HealthPort, tmp_path: Path) -> None:
    assert json.loads(health.get("/readyz")[1])["reasons"] == ["No worker has started yet."]
    now = time.time()
    health.worker.publish_state(WorkerState(updated_at=now, ready=True, bundle="b"))
    assert health.get("/readyz")[0] == 200
    other = MetricsStore(tmp_path)
    other.publish_state(WorkerState(updated_at=now, ready=False, reason="No champion.", store_available=False))
    status, body = health.get("/readyz")
    readiness = json.loads(body)
    assert (status, readiness["workers"], readiness["reasons"]) == (503, 2, ["No champion."])
    assert readiness["store_available"] is False
    other.publish_state(WorkerState(updated_at=now - STALE_SECONDS - 1, ready=True, bundle="b"))
    status, body = health.get("/readyz")
    readiness = json.loads(body)
    assert (status, readiness["workers"], readiness["unresponsive_workers"]) == (503, 1, 1)
    assert readiness["reasons"] == ["Workers that don't respond: 1."]


def test_health_port_answers_despite_many_slow_clients(health: HealthPort) -> None:
    slow = []
    for number in range(3 * MAX_CONNECTIONS):
        slow.append(health.connect(HALF_REQUEST))
        if number % MAX_CONNECTIONS == 0:
            assert health.get("/healthz")[0] == 200
    assert health.get("/healthz")[0] == 200
    assert slow[0].recv(100) == b"", "the oldest connections are closed"
    assert threading.active_count() < 2 * MAX_CONNECTIONS
    for connection in slow:
        connection.close()


def test_health_port_closes_connections_after_a_time(health: HealthPort, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that sends a byte now and then never reaches the timeout of a single read."""
    monkeypatch.setattr(health_server, "MAX_REQUEST_SECONDS", 0.5)
    connection = health.connect(HALF_REQUEST)
    closed = threading.Event()

    def send_slowly() -> None:
        while not closed.is_set():
            try:
                connection.sendall(b"a")
            except OSError:
                return
            closed.wait(0.05)

    sender = threading.Thread(target=send_slowly)
    sender.start()
    try:
        assert connection.recv(100) == b""
    except ConnectionResetError:
        pass  # The server closed the connection before it read everything.
    finally:
        closed.set()
        sender.join()
        connection.close()


def test_client_that_hangs_up_logs_nothing(
    health: HealthPort, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    before = threading.active_count()
    for content in (b"", HALF_REQUEST, b"GET /metrics HTTP/1.1\r\n\r\n" * 100, b"\x16\x03\x01 not HTTP\r\n\r\n"):
        for _ in range(20):
            connection = health.connect(content)
            # Closing with a reset makes the server's next write or read fail.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()
    wait_for(lambda: threading.active_count() <= before)
    assert health.get("/healthz")[0] == 200
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []


def test_unexpected_error_is_logged(
    health: HealthPort, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    health.worker.publish_state(WorkerState(updated_at=time.time(), ready=True))
    (state_file,) = tmp_path.glob("*.state")
    state_file.write_bytes(b"damaged")
    connection = health.connect(b"GET /readyz HTTP/1.1\r\n\r\n")
    assert connection.recv(100) == b""
    connection.close()
    assert [record.getMessage() for record in caplog.records] == ["A request to the health port failed."]
    assert capfd.readouterr() == ("", "")


def test_readiness_needs_a_responding_worker(tmp_path: Path) -> None:
    assert not read_readiness(tmp_path).ready
