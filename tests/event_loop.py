"""Coroutines in tests."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


def run_coroutine(steps: Coroutine[Any, Any, T]) -> T:
    """Return the result of a coroutine, after its event loop has closed.

    The loop runs in a new thread. In the main thread, Playwright's loop runs from the first test with a browser on.
    """
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, steps).result()
