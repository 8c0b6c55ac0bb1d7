"""One thread answers for all requests that are in hand.

A worker's threads share the interpreter, and mostly one core. Left to themselves they get in each other's way: each is
stopped halfway by the next, so all are slow and some very slow. Here they take turns, first come first served, and
whoever's turn it is does the work of the others as well: on one core, two and a half times as many requests, and the
slowest hundredth at twice the median (docs/decisions/0009-requests-in-hand-share-a-run.md).
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

logger = logging.getLogger(__name__)

_Job = TypeVar("_Job")
_Done = TypeVar("_Done")

CALLS = 3
"""How often whoever's turn it is calls for others, as long as that brings some."""

give_way: Callable[[], object] = getattr(os, "sched_yield", partial(time.sleep, 0))
"""Let other threads of this process run, if any wants to: the call gives up the interpreter and the core."""


class _Place(Generic[_Job, _Done]):
    """A request's place in the queue."""

    __slots__ = ("done", "job", "leads", "size", "turn")

    def __init__(self, job: _Job, size: int) -> None:
        self.job = job
        self.size = size
        self.leads = False
        """Whether it is its turn."""
        self.done: tuple[_Done] | None = None
        """What another made of it."""
        self.turn = threading.Lock()
        """Released when either is set, or neither: then what it was part of failed."""
        self.turn.acquire()


class Turns(Generic[_Job, _Done]):
    """Jobs from many threads, done by one of them at a time, as many together as fit."""

    def __init__(self, do: Callable[[Sequence[_Job]], Sequence[_Done]], most: int) -> None:
        """`do` gives a result for each job, whatever stands beside it. `most`: the size of jobs that stand together."""
        self._do = do
        self._most = most
        self._lock = threading.Lock()
        self._led = False
        """Whether it is anybody's turn."""
        self._waiting = deque[_Place[_Job, _Done]]()

    def do(self, job: _Job, size: int) -> _Done:
        """What becomes of a job. What doing it raises is raised here alone. One as large as `most` waits for nobody."""
        if size >= self._most:
            return self._alone(job)
        place = self._place(job, size)
        if place is not None:
            place.turn.acquire()
            if not place.leads:
                return self._alone(job) if place.done is None else place.done[0]
        try:
            return self._lead(job, size)
        finally:
            self._pass_on()

    def _alone(self, job: _Job) -> _Done:
        return self._do([job])[0]

    def _place(self, job: _Job, size: int) -> _Place[_Job, _Done] | None:
        """A place in the queue, or None where nobody is before this request."""
        with self._lock:
            if not self._led:
                self._led = True
                return None
            place: _Place[_Job, _Done] = _Place(job, size)  # not `_Place[…](…)`: asked at run time, that takes 2 µs
            self._waiting.append(place)
            return place

    def _lead(self, job: _Job, size: int) -> _Done:
        """Do this job and those behind it."""
        self._call()
        joining = self._joining(self._most - size)
        if not joining:
            return self._alone(job)
        try:
            own, *others = self._do([job, *(place.job for place in joining)])
        except Exception:  # whatever one of them did: each is tried alone, where it is raised to its own request
            logger.exception("%d requests together failed; each is tried alone", 1 + len(joining))
        else:
            for place, done in zip(joining, others, strict=True):
                place.done = (done,)
            return own
        finally:
            for place in joining:
                place.turn.release()
        return self._alone(job)

    def _call(self) -> None:
        """Let requests come that other threads have in hand: holding the interpreter, this one holds them up."""
        for _ in range(CALLS):
            came = len(self._waiting)
            give_way()
            if len(self._waiting) == came:
                return

    def _joining(self, most: int) -> list[_Place[_Job, _Done]]:
        """Take the first ones out of the queue, as many as fit."""
        joining: list[_Place[_Job, _Done]] = []
        with self._lock:
            while self._waiting and self._waiting[0].size <= most:
                most -= self._waiting[0].size
                joining.append(self._waiting.popleft())
        return joining

    def _pass_on(self) -> None:
        """It is the next one's turn."""
        with self._lock:
            if not self._waiting:
                self._led = False
                return
            place = self._waiting.popleft()
        place.leads = True
        place.turn.release()
