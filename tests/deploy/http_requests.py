"""A key, an order, and a load of clients that send requests without a pause."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException

KEY = "a key for tests"
KEYS = f"dispatch:{hashlib.sha256(KEY.encode()).hexdigest()}"
HEADERS = {"aikey": KEY, "content-type": "application/json"}
ORDER = json.dumps(
    {
        "order_id": "A-1",
        "order_acknowledged_at": "2015-06-17 12:28:28+01:00",
        "order_value_gbp": 21.4,
        "restaurant_id": 10,
        "number_of_items": 3,
    }
).encode()
MAX_REQUESTS = 50_000
"""Limit for each client."""
MAX_SECONDS = 60.0


@dataclass
class Load:
    """`clients` threads, each with a connection, that request predictions until they are stopped."""

    port: int
    clients: int
    statuses: list[int] = field(default_factory=list)
    """Statuses of the responses, in order of arrival."""
    failures: list[tuple[float, str]] = field(default_factory=list)
    """Requests without a response: start (`time.monotonic()`) and error."""
    _stop_at_refusal: threading.Event = field(default_factory=threading.Event)
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self) -> None:
        """Start the clients."""
        for _ in range(self.clients):
            thread = threading.Thread(target=self._run_client, daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop_at_refusal(self) -> None:
        """From now on, stop a client when it can't connect."""
        self._stop_at_refusal.set()

    def stop(self) -> None:
        """Stop every client after its current request."""
        self._stop.set()

    def join(self) -> None:
        """Wait for every client."""
        for thread in self._threads:
            thread.join(MAX_SECONDS)
            assert not thread.is_alive()

    def failures_before(self, moment: float) -> list[str]:
        """Return the errors of requests that started before `moment`."""
        return [error for start, error in self.failures if start < moment]

    def _run_client(self) -> None:
        deadline = time.monotonic() + MAX_SECONDS
        connection = HTTPConnection("127.0.0.1", self.port, timeout=20)
        for _ in range(MAX_REQUESTS):
            if self._stop.is_set() or time.monotonic() > deadline:
                break
            if connection.sock is None:
                try:
                    connection.connect()
                except OSError:
                    if self._stop_at_refusal.is_set():
                        break
                    time.sleep(0.02)
                    continue
            self._send(connection)
        connection.close()

    def _send(self, connection: HTTPConnection) -> None:
        start = time.monotonic()
        try:
            connection.request("POST", "/v1/predictions", ORDER, HEADERS)
            response = connection.getresponse()
            response.read()
            self.statuses.append(response.status)
        except (OSError, HTTPException) as error:
            self.failures.append((start, repr(error)))
            connection.close()
