"""Tests of `map_in_order`: concurrent chunks, ordered results, bounded memory."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from preptime.sources.parallel import map_in_order


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 3), max_size=12), st.integers(1, 5))
def test_map_in_order_keeps_order_of_chunks(delays: list[int], workers: int) -> None:
    def sleep_and_return(chunk: tuple[int, int]) -> int:
        time.sleep(chunk[1] / 1000)
        return chunk[0]

    assert list(map_in_order(enumerate(delays), sleep_and_return, workers)) == list(range(len(delays)))


def test_map_in_order_holds_at_most_workers_plus_one_chunks() -> None:
    read: list[int] = []

    def chunks() -> Iterator[int]:
        for chunk in range(100):
            read.append(chunk)
            yield chunk

    for index, result in enumerate(map_in_order(chunks(), lambda chunk: chunk, 3)):
        assert result == index
        assert len(read) <= index + 4


def test_map_in_order_runs_workers_concurrently() -> None:
    barrier = threading.Barrier(2, timeout=30)
    results = map_in_order([barrier, barrier], threading.Barrier.wait, 2)
    assert sorted(results) == [0, 1]


def test_map_in_order_raises_after_earlier_results() -> None:
    results = map_in_order(range(5), lambda chunk: 6 // (3 - chunk), 2)
    assert [next(results) for _ in range(3)] == [2, 3, 6]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_map_in_order_raises_errors_of_the_iterable() -> None:
    def chunks() -> Iterator[int]:
        yield 1
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        list(map_in_order(chunks(), lambda chunk: chunk, 2))


def test_map_in_order_stops_threads_when_closed() -> None:
    before = threading.active_count()
    results = map_in_order(iter(int, 1), lambda chunk: chunk, 2)
    assert next(results) == 0
    results.close()
    assert threading.active_count() == before
