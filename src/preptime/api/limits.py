"""Threads of a worker beyond those for the requests that it takes on: somebody has to say that there is no place."""

from __future__ import annotations

REFUSING = 12
"""Requests at once that are read to their end before they are refused, for a client that sends and only then listens.
One more is refused unread, so that slow clients can't take the threads that refuse."""

THREADS_TO_SPARE = REFUSING + 4
"""The last ones refuse unread, and answer health."""
