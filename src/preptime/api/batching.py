"""Threads of a worker beyond those for the requests that it takes on: somebody has to say that there is no place.

One thread answers for all requests that are in hand.

A worker's threads share the interpreter, and mostly one core. Left to themselves they get in each other's way: each is
stopped halfway by the next, so all are slow and some very slow. Here they take turns, first come first served, and
whoever's turn it is does the work of the others as well: on one core, two and a half times as many requests, and the
slowest hundredth at twice the median (docs/decisions/0009-micro-batching.md).
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Generic, TypeVar

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


logger = logging.getLogger(__name__)

_Job = TypeVar("_Job")
_Result = TypeVar("_Result")

MAX_YIELDS = 3
"""How often whoever's turn it is calls for others, as long as that brings some."""

yield_thread: Callable[[], object] = getattr(os, "sched_yield", partial(time.sleep, 0))
"""Let other threads of this process run, if any wants to: the call gives up the interpreter and the core."""


class _PendingRequest(Generic[_Job, _Result]):
    """A request's place in the queue."""

    __slots__ = ("is_leader", "job", "result", "size", "wakeup")

    def __init__(self, job: _Job, size: int) -> None:
        self.job = job
        self.size = size
        self.is_leader = False
        """Whether it is its turn."""
        self.result: tuple[_Result] | None = None
        """What another made of it."""
        self.wakeup = threading.Lock()
        """Released when either is set, or neither: then what it was part of failed."""
        self.wakeup.acquire()


class RequestBatcher(Generic[_Job, _Result]):
    """Jobs from many threads, done by one of them at a time, as many together as fit."""

    def __init__(self, process_batch: Callable[[Sequence[_Job]], Sequence[_Result]], max_batch_bytes: int) -> None:
        """`process_batch` gives a result for each job, whatever stands beside it. `max_batch_bytes`: the size of jobs that stand together."""
        self._process_batch = process_batch
        self._max_batch_bytes = max_batch_bytes
        self._lock = threading.Lock()
        self._has_leader = False
        """Whether it is anybody's turn."""
        self._pending = deque[_PendingRequest[_Job, _Result]]()

    def submit(self, job: _Job, size: int) -> _Result:
        """What becomes of a job. What doing it raises is raised here alone. One as large as `max_batch_bytes` waits for nobody."""
        if size >= self._max_batch_bytes:
            return self._run_single(job)
        pending = self._enqueue(job, size)
        if pending is not None:
            pending.wakeup.acquire()
            if not pending.is_leader:
                return self._run_single(job) if pending.result is None else pending.result[0]
        try:
            return self._run_batch(job, size)
        finally:
            self._hand_over()

    def _run_single(self, job: _Job) -> _Result:
        return self._process_batch([job])[0]

    def _enqueue(self, job: _Job, size: int) -> _PendingRequest[_Job, _Result] | None:
        """A place in the queue, or None where nobody is before this request."""
        with self._lock:
            if not self._has_leader:
                self._has_leader = True
                return None
            pending: _PendingRequest[_Job, _Result] = _PendingRequest(
                job, size
            )  # not `_Place[…](…)`: asked at run time, that takes 2 µs
            self._pending.append(pending)
            return pending

    def _run_batch(self, job: _Job, size: int) -> _Result:
        """Do this job and those behind it."""
        self._yield_to_peers()
        followers = self._take_followers(self._max_batch_bytes - size)
        if not followers:
            return self._run_single(job)
        try:
            own_result, *follower_results = self._process_batch([job, *(follower.job for follower in followers)])
        except Exception:  # whatever one of them did: each is tried alone, where it is raised to its own request
            logger.exception("%d requests together failed; each is tried alone", 1 + len(followers))
        else:
            for follower, result in zip(followers, follower_results, strict=True):
                follower.result = (result,)
            return own_result
        finally:
            for follower in followers:
                follower.wakeup.release()
        return self._run_single(job)

    def _yield_to_peers(self) -> None:
        """Let requests come that other threads have in hand: holding the interpreter, this one holds them up."""
        for _ in range(MAX_YIELDS):
            pending_count = len(self._pending)
            yield_thread()
            if len(self._pending) == pending_count:
                return

    def _take_followers(self, max_bytes: int) -> list[_PendingRequest[_Job, _Result]]:
        """Take the first ones out of the queue, as many as fit."""
        followers: list[_PendingRequest[_Job, _Result]] = []
        with self._lock:
            while self._pending and self._pending[0].size <= max_bytes:
                max_bytes -= self._pending[0].size
                followers.append(self._pending.popleft())
        return followers

    def _hand_over(self) -> None:
        """It is the next one's turn."""
        with self._lock:
            if not self._pending:
                self._has_leader = False
                return
            successor = self._pending.popleft()
        successor.is_leader = True
        successor.wakeup.release()
