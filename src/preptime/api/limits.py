"""Limits over all concurrent prediction requests of a worker: their number, the bytes of their bodies, their orders.

A request acquires its share before the work that the limit bounds. Beyond a limit, it gets 503 with `Retry-After`.
The memory that the limits allow is in docs/operations.md, "Limits and memory".
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Protocol

import msgspec

from preptime.errors import UsageError

CONCURRENCY, BYTES, ORDERS, BODY_TIMEOUT, NO_CHAMPION = "concurrency", "bytes", "orders", "body_timeout", "no_champion"
REJECTION_CAUSES = (CONCURRENCY, BYTES, ORDERS, BODY_TIMEOUT, NO_CHAMPION)
"""Causes of rejected requests, as counted by `RequestMetrics.count_rejection`."""

MAX_CONCURRENT_REJECTIONS = 12
"""Maximum number of rejected requests whose bodies are read concurrently, for clients that send before they receive.
Additional requests are rejected unread, so that slow clients can't occupy the threads that reject."""

RESERVED_THREADS = MAX_CONCURRENT_REJECTIONS + 4
"""Threads of a worker in addition to one per accepted request. They reject requests and respond to health checks."""


SMALL_BODY_BYTES, SMALL_REQUEST_ORDERS = 65_536, 100
"""Requests up to these sizes are limited only in number, so that a few large requests can't block all others."""

VALUES_PER_ORDER = 8
"""JSON values that count as one order before a large body is parsed. Each takes memory, whatever it means."""


class LimitSettings(Protocol):
    """The settings that limit requests."""

    @property
    def max_body_bytes(self) -> int:
        """Maximum size of a request body."""

    @property
    def max_orders(self) -> int:
        """Maximum number of orders in a request."""

    @property
    def max_concurrent_requests(self) -> int:
        """Maximum number of concurrent prediction requests per worker. Additional requests get HTTP 503."""

    @property
    def max_concurrent_bytes(self) -> int:
        """Maximum total size of the bodies of concurrent requests per worker. Additional requests get HTTP 503."""

    @property
    def max_concurrent_orders(self) -> int:
        """Maximum total number of orders of concurrent requests per worker. Additional requests get HTTP 503."""

    @property
    def body_timeout_seconds(self) -> float:
        """Seconds in which the body of a request must arrive. Otherwise, the request gets HTTP 408."""


def check_limits(settings: LimitSettings) -> None:
    """Raise `UsageError` if a limit over all requests is lower than the same limit of one request."""
    for total, single in (("max_concurrent_bytes", "max_body_bytes"), ("max_concurrent_orders", "max_orders")):
        total_limit, single_limit = getattr(settings, total), getattr(settings, single)
        if total_limit < single_limit:
            raise UsageError(
                f"PREPTIME_{total.upper()} is {total_limit}, which is less than PREPTIME_{single.upper()} "
                f"({single_limit}).",
                f"Set PREPTIME_{total.upper()} to at least {single_limit}, or lower PREPTIME_{single.upper()}.",
            )


class ConcurrencyLimiter:
    """A non-blocking counting semaphore for threads. Four times faster than `threading.Semaphore`."""

    def __init__(self, limit: int) -> None:
        self._permits = deque(range(limit))

    def try_acquire(self) -> bool:
        """Acquire a permit. Return False if none is available."""
        try:
            self._permits.pop()
        except IndexError:
            return False
        return True

    def release(self) -> None:
        """Return a permit."""
        self._permits.append(0)


class LimitExceededError(Exception):
    """A request doesn't fit into a limit. `cause` is one of `REJECTION_CAUSES`."""

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause


class RequestLimits:
    """The limits of a worker, and the totals of its concurrent requests. Safe to use from several threads."""

    def __init__(self, settings: LimitSettings) -> None:
        self._max_requests = settings.max_concurrent_requests
        self._max_bytes = settings.max_concurrent_bytes
        self._max_orders = settings.max_concurrent_orders
        self._lock = threading.Lock()
        self.requests = 0
        self.bytes = 0
        """Total size of the bodies that are being read or predicted."""
        self.orders = 0
        """Total number of orders in the bodies that are parsed."""

    def admit(self, size: int) -> Admission:
        """Acquire the share of a request whose body has `size` bytes. Raises `LimitExceededError`."""
        with self._lock:
            if self.requests >= self._max_requests:
                raise LimitExceededError(CONCURRENCY)
            if size > SMALL_BODY_BYTES and self.bytes + size > self._max_bytes:
                raise LimitExceededError(BYTES)
            self.requests += 1
            self.bytes += size
        return Admission(self, size)

    def add_bytes(self, admission: Admission, size: int) -> None:
        """Acquire more bytes for a body of unknown size. Raises `LimitExceededError`.

        After the release, which a late body causes while it's read, nothing is acquired.
        """
        with self._lock:
            if not admission.active:
                return
            if admission.bytes + size > SMALL_BODY_BYTES and self.bytes + size > self._max_bytes:
                raise LimitExceededError(BYTES)
            self.bytes += size
            admission.bytes += size

    def add_orders(self, admission: Admission, count: int) -> None:
        """Acquire orders, except those that the request has acquired already. Raises `LimitExceededError`.

        One request acquires at most the limit, so that an idle worker accepts it, whatever an order counts. After the
        release, nothing is acquired.
        """
        count = min(count, self._max_orders)
        with self._lock:
            more = count - admission.orders
            if more <= 0 or not admission.active:
                return
            if count > SMALL_REQUEST_ORDERS and self.orders + more > self._max_orders:
                raise LimitExceededError(ORDERS)
            self.orders += more
            admission.orders = count

    def release(self, admission: Admission) -> None:
        """Return everything that the request has acquired. A second call does nothing."""
        with self._lock:
            if not admission.active:
                return
            admission.active = False
            self.requests -= 1
            self.bytes -= admission.bytes
            self.orders -= admission.orders


class Admission(msgspec.Struct, gc=False, eq=False):
    """The share of one request in the limits of its worker."""

    limits: RequestLimits
    bytes: int
    orders: int = 0
    active: bool = True
