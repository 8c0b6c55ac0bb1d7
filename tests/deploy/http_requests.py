"""A key, an order, and clients that ask without a pause and remember what they got."""

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
MOST_ASKS = 50_000
"""Of one client."""
MOST_SECONDS = 60.0


@dataclass
class Load:
    """`clients` threads, each with a connection, that ask for a prediction until they are stopped."""

    port: int
    clients: int
    answered: list[int] = field(default_factory=list)
    """Statuses, in order of arrival."""
    broken: list[tuple[float, str]] = field(default_factory=list)
    """Requests that got no answer: when each began (`time.monotonic()`), and why."""
    _stop_at_refusal: threading.Event = field(default_factory=threading.Event)
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self) -> None:
        """Begin to ask."""
        for _ in range(self.clients):
            thread = threading.Thread(target=self._ask_on, daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop_at_refusal(self) -> None:
        """From now on a client ends when it cannot connect."""
        self._stop_at_refusal.set()

    def stop(self) -> None:
        """End every client after the request that it has under way."""
        self._stop.set()

    def join(self) -> None:
        """Wait for every client."""
        for thread in self._threads:
            thread.join(MOST_SECONDS)
            assert not thread.is_alive()

    def _ask_on(self) -> None:
        end = time.monotonic() + MOST_SECONDS
        connection = HTTPConnection("127.0.0.1", self.port, timeout=20)
        for _ in range(MOST_ASKS):
            if self._stop.is_set() or time.monotonic() > end:
                break
            if connection.sock is None:
                try:
                    connection.connect()
                except OSError:
                    if self._stop_at_refusal.is_set():
                        break
                    time.sleep(0.02)
                    continue
            self._ask(connection)
        connection.close()

    def _ask(self, connection: HTTPConnection) -> None:
        began = time.monotonic()
        try:
            connection.request("POST", "/v1/predictions", ORDER, HEADERS)
            response = connection.getresponse()
            response.read()
            self.answered.append(response.status)
        except (OSError, HTTPException) as error:
            self.broken.append((began, repr(error)))
            connection.close()
