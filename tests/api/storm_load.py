"""Clients that send requests continuously, and record every response and every failure."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException

from tests.api.storm_bundles import REQUESTS

REQUESTS_PER_CONNECTION = 40
"""After this number, a client opens a new connection, which another worker may accept."""
PAUSE_SECONDS = 0.008
"""Pause between two requests of a client, because the server needs the machine too."""
MAX_REQUESTS = 20_000
"""Maximum number of requests of one client."""


@dataclass(frozen=True)
class ReceivedResponse:
    """A response. Times are from `time.monotonic()`."""

    request_id: str
    connection: str
    request_index: int
    started_at: float
    ended_at: float
    status: int
    body: bytes


@dataclass(frozen=True)
class FailedRequest:
    """A request without a response. Times are from `time.monotonic()`."""

    request_id: str
    connected_at: float
    started_at: float
    ended_at: float
    error: str


@dataclass
class Load:
    """`clients` threads that send requests to the server at `port` until it stops."""

    port: int
    key: str
    clients: int
    responses: list[ReceivedResponse] = field(default_factory=list)
    failures: list[FailedRequest] = field(default_factory=list)
    _stop_at_failure: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self) -> None:
        """Start all clients."""
        for number in range(self.clients):
            self._threads.append(threading.Thread(target=self._run_client, args=(number,), daemon=True))
            self._threads[-1].start()

    def stop_at_first_failure(self) -> float:
        """Let each client stop at its next failure. Return the current time."""
        self._stop_at_failure.set()
        return time.monotonic()

    def join(self, seconds: float) -> None:
        """Wait until every client has stopped, for at most `seconds` each."""
        for thread in self._threads:
            thread.join(seconds)
            assert not thread.is_alive()

    def _run_client(self, client: int) -> None:
        connection, name, connected_at = self._connect(client, 0)
        for number in range(MAX_REQUESTS):
            if number % REQUESTS_PER_CONNECTION == client:
                connection.close()
                connection, name, connected_at = self._connect(client, number)
            if not self._send(
                connection, name, connected_at, f"{client}-{number}", (client + 7 * number) % len(REQUESTS)
            ):
                connection.close()
                if self._stop_at_failure.is_set():
                    return
                connection, name, connected_at = self._connect(client, number)
            time.sleep(PAUSE_SECONDS)
        connection.close()

    def _connect(self, client: int, number: int) -> tuple[HTTPConnection, str, float]:
        return HTTPConnection("127.0.0.1", self.port, timeout=30), f"{client}/{number}", time.monotonic()

    def _send(self, connection: HTTPConnection, name: str, connected_at: float, request_id: str, index: int) -> bool:
        started_at = time.monotonic()
        headers = {"aikey": self.key, "Content-Type": "application/json", "X-Request-ID": request_id}
        try:
            connection.request("POST", "/v1/predictions", REQUESTS[index].body(), headers)
            response = connection.getresponse()
            body = response.read()
        except (OSError, HTTPException) as error:
            self.failures.append(FailedRequest(request_id, connected_at, started_at, time.monotonic(), repr(error)))
            return False
        self.responses.append(
            ReceivedResponse(request_id, name, index, started_at, time.monotonic(), response.status, body)
        )
        return True
