"""One run of the graph for all requests that are in hand.

A worker's threads share the interpreter, and mostly one core. Left to themselves they get in each other's way: each is
stopped halfway by the next, so all are slow and some very slow. Here they take turns, first come first served, and
whoever's turn it is asks for the others as well: on one core, half as many requests again, and the slowest hundredth at
twice the median where it was three to six times (docs/decisions/0009-requests-in-hand-share-a-run.md).
An order's numbers don't depend on those beside it: the tests hold graph and features to that, bit by bit.
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

_Asked = TypeVar("_Asked")
_Told = TypeVar("_Told")

MOST_TOGETHER = 64
"""Rows in one run. Sixteen in a run cost 38 µs each where one alone costs 97; beyond 32 nothing more is saved."""
CALLS = 3
"""How often whoever's turn it is calls for others, as long as that brings some."""

give_way: Callable[[], object] = getattr(os, "sched_yield", partial(time.sleep, 0))
"""Let other threads of this process run, if any wants to: the call gives up the interpreter and the core."""


class _Place(Generic[_Asked, _Told]):
    """A request's place in the queue."""

    __slots__ = ("asked", "kind", "leads", "told", "turn")

    def __init__(self, asked: Sequence[_Asked], kind: bool) -> None:
        self.asked = asked
        self.kind = kind
        self.leads = False
        """Whether it is its turn."""
        self.told: Sequence[_Told] | None = None
        """What another's run gave."""
        self.turn = threading.Lock()
        """Released when either is set, or neither: then the run that it stood in failed."""
        self.turn.acquire()


class Turns(Generic[_Asked, _Told]):
    """Calls of one function from many threads, one after the other, those of one kind together."""

    def __init__(self, run: Callable[[Sequence[_Asked], bool], Sequence[_Told]]) -> None:
        """`run` gives a row for each row asked, whatever stands beside it; rows of two kinds are never mixed."""
        self._run = run
        self._lock = threading.Lock()
        self._led = False
        """Whether it is anybody's turn."""
        self._waiting = deque[_Place[_Asked, _Told]]()

    def run(self, asked: Sequence[_Asked], kind: bool) -> Sequence[_Told]:
        """`run(asked, kind)`. What it raises for one request is raised in that one alone."""
        if len(asked) > MOST_TOGETHER:
            return self._run(asked, kind)
        place = self._place(asked, kind)
        if place is not None:
            place.turn.acquire()
            if not place.leads:
                return self._run(asked, kind) if place.told is None else place.told
        try:
            return self._lead(asked, kind)
        finally:
            self._pass_on()

    def _place(self, asked: Sequence[_Asked], kind: bool) -> _Place[_Asked, _Told] | None:
        """A place in the queue, or None where nobody is before this request."""
        with self._lock:
            if not self._led:
                self._led = True
                return None
            place = _Place[_Asked, _Told](asked, kind)
            self._waiting.append(place)
            return place

    def _lead(self, asked: Sequence[_Asked], kind: bool) -> Sequence[_Told]:
        """Run for this request and for those behind it."""
        self._call()
        joining = self._joining(kind, MOST_TOGETHER - len(asked))
        if not joining:
            return self._run(asked, kind)
        try:
            told = self._run([*asked, *(row for place in joining for row in place.asked)], kind)
            start = len(asked)
            for place in joining:
                place.told = told[start : start + len(place.asked)]
                start += len(place.asked)
            return told[: len(asked)]
        except Exception:
            logger.exception("A run for %d requests failed; each is asked alone", 1 + len(joining))
        finally:
            for place in joining:
                place.turn.release()
        return self._run(asked, kind)

    def _call(self) -> None:
        """Let requests come that other threads have in hand: holding the interpreter, this one holds them up."""
        for _ in range(CALLS):
            came = len(self._waiting)
            give_way()
            if len(self._waiting) == came:
                return

    def _joining(self, kind: bool, most: int) -> list[_Place[_Asked, _Told]]:
        """Take those of this kind out of the queue, up to `most` rows."""
        joining, staying = list[_Place[_Asked, _Told]](), deque[_Place[_Asked, _Told]]()
        with self._lock:
            for place in self._waiting:
                if place.kind is kind and len(place.asked) <= most:
                    joining.append(place)
                    most -= len(place.asked)
                else:
                    staying.append(place)
            self._waiting = staying
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
