"""Threads of a worker beyond those for the requests that it takes on: somebody has to say that there is no place."""

from __future__ import annotations

from collections import deque

MAX_CONCURRENT_REJECTIONS = 12
"""Requests at once that are read to their end before they are refused, for a client that sends and only then listens.
One more is refused unread, so that slow clients can't take the threads that refuse."""

RESERVED_THREADS = MAX_CONCURRENT_REJECTIONS + 4
"""The last ones refuse unread, and answer health."""


class ConcurrencyLimiter:
    """So many places, taken and given back by threads. A quarter of the time of a semaphore, which waits for turns."""

    def __init__(self, limit: int) -> None:
        self._permits = deque(range(limit))

    def try_acquire(self) -> bool:
        """Take one; False when there is none."""
        try:
            self._permits.pop()
        except IndexError:
            return False
        return True

    def release(self) -> None:
        """Give one back."""
        self._permits.append(0)
