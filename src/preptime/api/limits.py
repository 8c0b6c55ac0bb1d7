"""Threads of a worker beyond those for the requests that it takes on: somebody has to say that there is no place."""

from __future__ import annotations

from collections import deque

REFUSING = 12
"""Requests at once that are read to their end before they are refused, for a client that sends and only then listens.
One more is refused unread, so that slow clients can't take the threads that refuse."""

THREADS_TO_SPARE = REFUSING + 4
"""The last ones refuse unread, and answer health."""


class Places:
    """So many places, taken and given back by threads. A quarter of the time of a semaphore, which waits for turns."""

    def __init__(self, number: int) -> None:
        self._free = deque(range(number))

    def take(self) -> bool:
        """Take one; False when there is none."""
        try:
            self._free.pop()
        except IndexError:
            return False
        return True

    def give_back(self) -> None:
        """Give one back."""
        self._free.append(0)
