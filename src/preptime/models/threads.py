"""Threads that fit models side by side."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from preptime.models.cat import hold_catboost_logger


@contextmanager
def fitting_threads(threads: int | None) -> Iterator[ThreadPoolExecutor]:
    """A pool of `threads` (None: as many as the library likes); every fit that has company runs in one.

    The thread that opens it only waits: it fits nothing itself until the pool is gone.
    """
    with hold_catboost_logger(), ThreadPoolExecutor(threads) as pool:
        yield pool
