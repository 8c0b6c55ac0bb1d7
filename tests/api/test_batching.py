"""Batching of concurrent requests: one thread runs a batch, and every request gets its own result."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from preptime.api import batching
from preptime.api.batching import MAX_SINGLE_BATCHES, PROBE_INTERVAL, RequestBatcher

SECONDS = 20.0
"""Maximum time that a test waits for a thread."""
MAX_BYTES = 64


class DoublingFunction:
    """A batch function that doubles numbers, records its batches, and can be paused."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.running = threading.Event()
        self.unpaused = threading.Event()
        self.unpaused.set()
        self._single = threading.Lock()

    def __call__(self, numbers: Sequence[int]) -> list[int]:
        in_batch = numbers[0] < FIRST_LARGE_JOB
        if in_batch:
            assert self._single.acquire(blocking=False), "two batches run at the same time"
        try:
            self.batches.append(list(numbers))
            self.running.set()
            assert self.unpaused.wait(SECONDS)
            if 13 in numbers:
                raise ValueError("thirteen")
            return [2 * number for number in numbers]
        finally:
            if in_batch:
                self._single.release()


FIRST_LARGE_JOB = 1_000_000
"""Jobs from this number on are larger than a batch."""


def pending_count(batcher: RequestBatcher[int, int]) -> int:
    """Return the number of requests in the queue."""
    return len(batcher._pending)


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait until another thread makes the condition true."""
    timer = threading.Event()
    for _ in range(int(SECONDS * 1000)):
        if condition():
            return
        timer.wait(0.001)
    pytest.fail("the condition didn't become true")


Submit = Callable[..., Future[int]]


@contextmanager
def paused_batch(double: DoublingFunction, batcher: RequestBatcher[int, int]) -> Iterator[Submit]:
    """Pause the batch of a first request. Yields a function that submits requests after it. Resumes at the end."""
    double.unpaused.clear()
    with ThreadPoolExecutor(32) as pool:
        first = pool.submit(batcher.submit, 1, 1)
        assert double.running.wait(SECONDS)

        def submit(job: int, size: int = 1) -> Future[int]:
            before = pending_count(batcher)
            future = pool.submit(batcher.submit, job, size)
            wait_until(lambda: pending_count(batcher) == before + 1)
            return future

        try:
            yield submit
        finally:
            double.unpaused.set()
        assert first.result(SECONDS) == 2


@pytest.fixture
def double() -> DoublingFunction:
    return DoublingFunction()


@pytest.fixture
def batcher(double: DoublingFunction) -> RequestBatcher[int, int]:
    return RequestBatcher(double, MAX_BYTES)


def test_batcher_runs_pending_requests_in_one_batch(
    double: DoublingFunction, batcher: RequestBatcher[int, int]
) -> None:
    with paused_batch(double, batcher) as submit:
        futures = [submit(10 * number) for number in range(2, 7)]
    assert [future.result(SECONDS) for future in futures] == [20 * number for number in range(2, 7)]
    assert double.batches == [[1], [20, 30, 40, 50, 60]]


def test_batcher_oversized_request_leads_the_next_batch(
    double: DoublingFunction, batcher: RequestBatcher[int, int]
) -> None:
    half = MAX_BYTES // 2 + 1
    with paused_batch(double, batcher) as submit:
        futures = [submit(2, half), submit(3, half), submit(4)]
    assert [future.result(SECONDS) for future in futures] == [4, 6, 8]
    assert double.batches[1:] == [[2], [3, 4]]


def test_batcher_fills_a_batch_to_the_exact_limit(double: DoublingFunction, batcher: RequestBatcher[int, int]) -> None:
    with paused_batch(double, batcher) as submit:
        futures = [submit(2, MAX_BYTES - 5), submit(3, 5), submit(4)]
    assert [future.result(SECONDS) for future in futures] == [4, 6, 8]
    assert double.batches[1:] == [[2, 3], [4]]


def test_batcher_large_request_bypasses_the_queue(double: DoublingFunction, batcher: RequestBatcher[int, int]) -> None:
    with paused_batch(double, batcher), ThreadPoolExecutor(1) as pool:
        large_result = pool.submit(batcher.submit, FIRST_LARGE_JOB, MAX_BYTES)
        wait_until(lambda: len(double.batches) == 2)
        double.unpaused.set()
        assert large_result.result(SECONDS) == 2 * FIRST_LARGE_JOB
    assert pending_count(batcher) == 0


def test_batcher_error_reaches_only_its_own_request(
    double: DoublingFunction, batcher: RequestBatcher[int, int], caplog: pytest.LogCaptureFixture
) -> None:
    with paused_batch(double, batcher) as submit:
        good, bad, also_good = submit(2), submit(13), submit(4)
    assert (good.result(SECONDS), also_good.result(SECONDS)) == (4, 8)
    with pytest.raises(ValueError, match="thirteen"):
        bad.result(SECONDS)
    assert "A batch of 3 requests failed" in caplog.text
    assert batcher.submit(5, 1) == 10, "the queue continues"


def test_batcher_yields_rarely_for_a_single_client(
    batcher: RequestBatcher[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    yields, answers = list[int](), list[int]()
    monkeypatch.setattr(batching, "yield_thread", lambda: yields.append(len(answers)))
    for _ in range(2 * PROBE_INTERVAL + 1):
        answers.append(batcher.submit(100, 1))
    assert set(answers) == {200}
    assert yields == [*range(MAX_SINGLE_BATCHES), PROBE_INTERVAL, 2 * PROBE_INTERVAL]


@pytest.mark.parametrize("size", [1, 2], ids=["in_the_same_batch", "in_the_next_batch"])
def test_batcher_yields_again_after_requests_met(
    double: DoublingFunction, batcher: RequestBatcher[int, int], monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    for _ in range(MAX_SINGLE_BATCHES):
        batcher.submit(100, 1)
    double.running.clear()
    with paused_batch(double, batcher) as submit:
        submit(2, MAX_BYTES - 1)
        submit(3, size)
    yields: list[int] = []
    monkeypatch.setattr(batching, "yield_thread", lambda: yields.append(4))
    assert batcher.submit(4, 1) == 8
    assert yields == [4]


def test_batcher_continues_after_an_error(double: DoublingFunction, batcher: RequestBatcher[int, int]) -> None:
    half = MAX_BYTES // 2 + 1
    with paused_batch(double, batcher) as submit:
        bad, good = submit(13, half), submit(2, half)
    with pytest.raises(ValueError, match="thirteen"):
        bad.result(SECONDS)
    assert good.result(SECONDS) == 4


def test_batcher_many_threads_get_their_own_results(
    double: DoublingFunction, batcher: RequestBatcher[int, int]
) -> None:
    def submit_numbers(start: int) -> bool:
        return all(batcher.submit(number, number % 7 + 1) == 2 * number for number in range(start, start + 300))

    with ThreadPoolExecutor(12) as pool:
        assert all(pool.map(submit_numbers, range(10_000, 130_000, 10_000)))
    assert sum(len(batch) for batch in double.batches) == 12 * 300
