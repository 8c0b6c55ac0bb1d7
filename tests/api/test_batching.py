"""Requests that are in hand together: one thread does the work of all, and every one gets its own answer."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from preptime.api.batching import RequestBatcher

SECONDS = 20.0
"""No test waits longer for a thread."""
MOST = 64


class Doubling:
    """Work that doubles, remembers what it was asked together, and can be held up."""

    def __init__(self) -> None:
        self.asked: list[list[int]] = []
        self.running = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()
        self._one = threading.Lock()

    def __call__(self, asked: Sequence[int]) -> list[int]:
        small = asked[0] < MANY
        if small:
            assert self._one.acquire(blocking=False), "two at once"
        try:
            self.asked.append(list(asked))
            self.running.set()
            assert self.go_on.wait(SECONDS)
            if 13 in asked:
                raise ValueError("thirteen")
            return [2 * one for one in asked]
        finally:
            if small:
                self._one.release()


MANY = 1_000_000
"""Jobs from here on are larger than what is done together."""


def waiting(turns: RequestBatcher[int, int]) -> int:
    """How many requests are in the queue."""
    return len(turns._pending)


def until(true: Callable[[], bool]) -> None:
    """Wait for another thread."""
    ended = threading.Event()
    for _ in range(int(SECONDS * 1000)):
        if true():
            return
        ended.wait(0.001)
    pytest.fail("what was waited for did not happen")


Put = Callable[..., Future[int]]


@contextmanager
def held_up(do: Doubling, turns: RequestBatcher[int, int]) -> Iterator[Put]:
    """A first request holds the work up; others are put behind it, in order; at the end all go on."""
    do.go_on.clear()
    with ThreadPoolExecutor(32) as pool:
        first = pool.submit(turns.submit, 1, 1)
        assert do.running.wait(SECONDS)

        def put(job: int, size: int = 1) -> Future[int]:
            before = waiting(turns)
            future = pool.submit(turns.submit, job, size)
            until(lambda: waiting(turns) == before + 1)
            return future

        try:
            yield put
        finally:
            do.go_on.set()
        assert first.result(SECONDS) == 2


@pytest.fixture
def do() -> Doubling:
    return Doubling()


@pytest.fixture
def turns(do: Doubling) -> RequestBatcher[int, int]:
    return RequestBatcher(do, MOST)


def test_batcher_runs_pending_requests_in_one_batch(do: Doubling, turns: RequestBatcher[int, int]) -> None:
    with held_up(do, turns) as put:
        found = [put(10 * one) for one in range(2, 7)]
    assert [one.result(SECONDS) for one in found] == [20 * one for one in range(2, 7)]
    assert do.asked == [[1], [20, 30, 40, 50, 60]]


def test_batcher_oversized_request_leads_the_next_batch(do: Doubling, turns: RequestBatcher[int, int]) -> None:
    half = MOST // 2 + 1
    with held_up(do, turns) as put:
        found = [put(2, half), put(3, half), put(4)]
    assert [one.result(SECONDS) for one in found] == [4, 6, 8]
    assert do.asked[1:] == [[2], [3, 4]]


def test_batcher_fills_a_batch_to_the_exact_limit(do: Doubling, turns: RequestBatcher[int, int]) -> None:
    with held_up(do, turns) as put:
        found = [put(2, MOST - 5), put(3, 5), put(4)]
    assert [one.result(SECONDS) for one in found] == [4, 6, 8]
    assert do.asked[1:] == [[2, 3], [4]]


def test_batcher_large_request_bypasses_the_queue(do: Doubling, turns: RequestBatcher[int, int]) -> None:
    with held_up(do, turns), ThreadPoolExecutor(1) as pool:
        beside = pool.submit(turns.submit, MANY, MOST)
        until(lambda: len(do.asked) == 2)
        do.go_on.set()
        assert beside.result(SECONDS) == 2 * MANY
    assert waiting(turns) == 0


def test_batcher_error_reaches_only_its_own_request(
    do: Doubling, turns: RequestBatcher[int, int], caplog: pytest.LogCaptureFixture
) -> None:
    with held_up(do, turns) as put:
        good, bad, also_good = put(2), put(13), put(4)
    assert (good.result(SECONDS), also_good.result(SECONDS)) == (4, 8)
    with pytest.raises(ValueError, match="thirteen"):
        bad.result(SECONDS)
    assert "3 requests together failed" in caplog.text
    assert turns.submit(5, 1) == 10, "the queue goes on"


def test_batcher_continues_after_an_error(do: Doubling, turns: RequestBatcher[int, int]) -> None:
    half = MOST // 2 + 1
    with held_up(do, turns) as put:
        bad, good = put(13, half), put(2, half)
    with pytest.raises(ValueError, match="thirteen"):
        bad.result(SECONDS)
    assert good.result(SECONDS) == 4


def test_batcher_many_threads_get_their_own_results(do: Doubling, turns: RequestBatcher[int, int]) -> None:
    def ask(start: int) -> bool:
        return all(turns.submit(one, one % 7 + 1) == 2 * one for one in range(start, start + 300))

    with ThreadPoolExecutor(12) as pool:
        assert all(pool.map(ask, range(10_000, 130_000, 10_000)))
    assert sum(len(asked) for asked in do.asked) == 12 * 300
