"""Clients that ask without pause for breath, and remember every answer and every failure."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException

from tests.api.storm_bundles import REQUESTS

REQUESTS_PER_CONNECTION = 40
"""Then a new one, which another worker may get."""
PAUSE_SECONDS = 0.008
"""Between two requests of a client: the machine is needed by the server too."""
MAX_REQUESTS = 20_000
"""Of one client."""


@dataclass(frozen=True)
class ReceivedResponse:
    """An answer. Times are `time.monotonic()`."""

    request_id: str
    connection: str
    request_index: int
    began: float
    ended: float
    status: int
    body: bytes


@dataclass(frozen=True)
class FailedRequest:
    """A request that got none."""

    request_id: str
    opened: float
    began: float
    ended: float
    error: str


@dataclass
class Load:
    """`clients` threads that ask the server at `port` until they are told to stop."""

    port: int
    key: str
    clients: int
    responses: list[ReceivedResponse] = field(default_factory=list)
    failures: list[FailedRequest] = field(default_factory=list)
    _ending: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self) -> None:
        """Begin to ask."""
        for number in range(self.clients):
            self._threads.append(threading.Thread(target=self._run_client, args=(number,), daemon=True))
            self._threads[-1].start()

    def stop_at_first_failure(self) -> float:
        """From now on a client stops at its first failure; when that was said."""
        self._ending.set()
        return time.monotonic()

    def join(self, seconds: float) -> None:
        """Wait until every client has stopped."""
        for thread in self._threads:
            thread.join(seconds)
            assert not thread.is_alive()

    def _run_client(self, client: int) -> None:
        connection, name, opened = self._open(client, 0)
        for number in range(MAX_REQUESTS):
            if number % REQUESTS_PER_CONNECTION == client:
                connection.close()
                connection, name, opened = self._open(client, number)
            if not self._send(connection, name, opened, f"{client}-{number}", (client + 7 * number) % len(REQUESTS)):
                connection.close()
                if self._ending.is_set():
                    return
                connection, name, opened = self._open(client, number)
            time.sleep(PAUSE_SECONDS)
        connection.close()

    def _open(self, client: int, number: int) -> tuple[HTTPConnection, str, float]:
        return HTTPConnection("127.0.0.1", self.port, timeout=30), f"{client}/{number}", time.monotonic()

    def _send(self, connection: HTTPConnection, name: str, opened: float, request_id: str, question: int) -> bool:
        began = time.monotonic()
        headers = {"aikey": self.key, "Content-Type": "application/json", "X-Request-ID": request_id}
        try:
            connection.request("POST", "/v1/predictions", REQUESTS[question].body(), headers)
            response = connection.getresponse()
            body = response.read()
        except (OSError, HTTPException) as error:
            self.failures.append(FailedRequest(request_id, opened, began, time.monotonic(), repr(error)))
            return False
        self.responses.append(
            ReceivedResponse(request_id, name, question, began, time.monotonic(), response.status, body)
        )
        return True
