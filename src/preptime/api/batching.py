"""Micro-batching of prediction requests.

A worker's threads share the interpreter and usually one core. If every thread handles its own request, the threads
interrupt each other, and latency grows. Therefore, one thread at a time handles its own request and all requests that
wait. On one core, that gives 2.5 times the throughput, with a p99 of twice the median
(docs/decisions/0009-micro-batching.md).
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

MAX_YIELDS = 3
"""How often a leader yields to other threads to collect more requests, as long as each yield adds some."""
MAX_SINGLE_BATCHES, PROBE_INTERVAL = 16, 128
"""After this many batches of one request in a row, only every `PROBE_INTERVAL`th leader yields.

A yield also gives the core to other processes, for up to a few milliseconds, and a single client gains nothing from it.
"""

yield_thread: Callable[[], object] = getattr(os, "sched_yield", partial(time.sleep, 0))
"""Release the interpreter and the core, so that other threads of this process can run."""

logger = logging.getLogger(__name__)

_Job = TypeVar("_Job")
_Result = TypeVar("_Result")


class _PendingRequest(Generic[_Job, _Result]):
    """A request that waits in the queue."""

    __slots__ = ("is_leader", "job", "result", "size", "wakeup")

    def __init__(self, job: _Job, size: int) -> None:
        self.job = job
        self.size = size
        self.is_leader = False
        """Whether this request's thread runs the next batch."""
        self.result: tuple[_Result] | None = None
        """The result, if another thread computed it."""
        self.wakeup = threading.Lock()
        """Released when `is_leader` or `result` is set. If neither is set, the batch of this request failed."""
        self.wakeup.acquire()


class RequestBatcher(Generic[_Job, _Result]):
    """Runs the jobs of many threads in batches, one batch at a time, in order of arrival.

    The thread that runs a batch is its leader.
    """

    def __init__(self, process_batch: Callable[[Sequence[_Job]], Sequence[_Result]], max_batch_bytes: int) -> None:
        """`process_batch` returns one result per job. The total size of a batch is at most `max_batch_bytes`."""
        self._process_batch = process_batch
        self._max_batch_bytes = max_batch_bytes
        self._lock = threading.Lock()
        self._has_leader = False
        """Whether a thread runs a batch."""
        self._single_batches = 0
        """Batches of one request since requests last met. Only the leader reads and changes it."""
        self._pending = deque[_PendingRequest[_Job, _Result]]()

    def submit(self, job: _Job, size: int) -> _Result:
        """Run a job and return its result.

        An exception reaches only the request that caused it. Requests of `max_batch_bytes` or more bypass the queue.
        """
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
        """Add a job to the queue. Return None if this thread leads immediately."""
        with self._lock:
            if not self._has_leader:
                self._has_leader = True
                return None
            # Not `_PendingRequest[…](…)`: evaluating the subscript at run time takes 2 µs.
            pending: _PendingRequest[_Job, _Result] = _PendingRequest(job, size)
            self._pending.append(pending)
            return pending

    def _run_batch(self, job: _Job, size: int) -> _Result:
        """Run this job together with the first pending ones."""
        if self._single_batches < MAX_SINGLE_BATCHES or self._single_batches % PROBE_INTERVAL == 0:
            self._yield_to_peers()
        followers = self._take_followers(self._max_batch_bytes - size)
        self._single_batches = 0 if followers else self._single_batches + 1
        if not followers:
            return self._run_single(job)
        try:
            own_result, *follower_results = self._process_batch([job, *(follower.job for follower in followers)])
        except Exception:  # Retried separately below, so that only the request that caused it gets the exception.
            logger.exception("A batch of %d requests failed. Each request is retried separately.", 1 + len(followers))
        else:
            for follower, result in zip(followers, follower_results, strict=True):
                follower.result = (result,)
            return own_result
        finally:
            for follower in followers:
                follower.wakeup.release()
        return self._run_single(job)

    def _yield_to_peers(self) -> None:
        """Let other threads enqueue their requests. While this thread holds the interpreter, they can't."""
        for _ in range(MAX_YIELDS):
            pending_count = len(self._pending)
            yield_thread()
            if len(self._pending) == pending_count:
                return

    def _take_followers(self, max_bytes: int) -> list[_PendingRequest[_Job, _Result]]:
        """Remove the first pending requests from the queue, as many as fit into `max_bytes`."""
        followers: list[_PendingRequest[_Job, _Result]] = []
        with self._lock:
            while self._pending and self._pending[0].size <= max_bytes:
                max_bytes -= self._pending[0].size
                followers.append(self._pending.popleft())
        return followers

    def _hand_over(self) -> None:
        """Make the next pending request the leader."""
        with self._lock:
            if not self._pending:
                self._has_leader = False
                return
            successor = self._pending.popleft()
            self._single_batches = 0
        successor.is_leader = True
        successor.wakeup.release()
