"""Requests that are in hand together: one run for all of them, and every one gets its own answer."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from preptime.api.turns import MOST_TOGETHER, Turns

SECONDS = 20.0
"""No test waits longer for a thread."""


class Doubling:
    """A run that doubles, remembers what it was asked, and can be held up."""

    def __init__(self) -> None:
        self.asked: list[tuple[list[int], bool]] = []
        self.running = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()
        self._one = threading.Lock()

    def __call__(self, asked: Sequence[int], kind: bool) -> list[int]:
        if len(asked) <= MOST_TOGETHER:
            assert self._one.acquire(blocking=False), "two runs at once"
        try:
            self.asked.append((list(asked), kind))
            self.running.set()
            assert self.go_on.wait(SECONDS)
            if 13 in asked:
                raise ValueError("thirteen")
            return [2 * one for one in asked]
        finally:
            if len(asked) <= MOST_TOGETHER:
                self._one.release()


def waiting(turns: Turns[int, int]) -> int:
    """How many requests are in the queue."""
    return len(turns._waiting)


def until(true: Callable[[], bool]) -> None:
    """Wait for another thread."""
    ended = threading.Event()
    for _ in range(int(SECONDS * 1000)):
        if true():
            return
        ended.wait(0.001)
    pytest.fail("what was waited for did not happen")


@contextmanager
def held_up(run: Doubling, turns: Turns[int, int]) -> Iterator[Callable[[list[int], bool], Future[Sequence[int]]]]:
    """A first request holds the run up; others are put behind it, in order; at the end all go on."""
    run.go_on.clear()
    with ThreadPoolExecutor(32) as pool:
        first = pool.submit(turns.run, [1], False)
        assert run.running.wait(SECONDS)

        def put(asked: list[int], kind: bool) -> Future[Sequence[int]]:
            before = waiting(turns)
            future = pool.submit(turns.run, asked, kind)
            until(lambda: waiting(turns) == before + 1)
            return future

        try:
            yield put
        finally:
            run.go_on.set()
        assert first.result(SECONDS) == [2]


def test_those_who_wait_are_asked_for_in_one_run() -> None:
    run = Doubling()
    turns = Turns(run)
    with held_up(run, turns) as put:
        found = [put([10 * one, 10 * one + 1], False) for one in range(2, 7)]
    assert [one.result(SECONDS) for one in found] == [[20 * one, 20 * one + 2] for one in range(2, 7)]
    assert run.asked == [([1], False), ([20, 21, 30, 31, 40, 41, 50, 51, 60, 61], False)]


def test_two_kinds_are_never_in_one_run_and_each_keeps_its_order() -> None:
    run = Doubling()
    turns = Turns(run)
    with held_up(run, turns) as put:
        found = [put([one], one % 2 == 0) for one in range(2, 9)]
    assert [one.result(SECONDS) for one in found] == [[2 * one] for one in range(2, 9)]
    assert run.asked == [([1], False), ([2, 4, 6, 8], True), ([3, 5, 7], False)]


def test_a_run_has_its_most_rows_and_who_does_not_fit_leads_the_next() -> None:
    run = Doubling()
    turns = Turns(run)
    half = MOST_TOGETHER // 2 + 1
    with held_up(run, turns) as put:
        found = [put([one] * half, False) for one in (2, 3)]
        small = put([4], False)
    assert [one.result(SECONDS) for one in found] == [[4] * half, [6] * half]
    assert small.result(SECONDS) == [8]
    assert run.asked[1:] == [([2] * half + [4], False), ([3] * half, False)]


def test_many_rows_wait_for_nobody() -> None:
    run = Doubling()
    turns = Turns(run)
    many = list(range(100, 101 + MOST_TOGETHER))
    with held_up(run, turns), ThreadPoolExecutor(1) as pool:
        beside = pool.submit(turns.run, many, False)
        until(lambda: len(run.asked) == 2)
        run.go_on.set()
        assert beside.result(SECONDS) == [2 * one for one in many]
    assert waiting(turns) == 0


def test_the_fault_of_one_is_no_others(caplog: pytest.LogCaptureFixture) -> None:
    run = Doubling()
    turns = Turns(run)
    with held_up(run, turns) as put:
        good, bad, also_good = put([2], False), put([13], False), put([4], False)
    assert (good.result(SECONDS), also_good.result(SECONDS)) == ([4], [8])
    with pytest.raises(ValueError, match="thirteen"):
        bad.result(SECONDS)
    assert "A run for 3 requests failed" in caplog.text
    assert turns.run([5], True) == [10], "the queue goes on"


def test_a_fault_alone_is_raised_and_the_queue_goes_on() -> None:
    run = Doubling()
    turns = Turns(run)
    with held_up(run, turns) as put:
        bad, good = put([13], True), put([2], False)
    with pytest.raises(ValueError, match="thirteen"):
        bad.result(SECONDS)
    assert good.result(SECONDS) == [4]
    assert turns.run([], False) == []


def test_many_threads_each_get_their_own() -> None:
    run = Doubling()
    turns = Turns(run)

    def ask(start: int) -> bool:
        asked = [[start + one, start - one - 1] for one in range(1, 200)]
        return all(turns.run(one, one[0] % 3 == 0) == [2 * of for of in one] for one in asked)

    with ThreadPoolExecutor(12) as pool:
        assert all(pool.map(ask, range(10_000, 130_000, 10_000)))
    assert all(len(asked) <= MOST_TOGETHER for asked, _ in run.asked)
