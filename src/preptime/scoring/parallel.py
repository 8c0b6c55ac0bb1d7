"""Chunks side by side, results in order, memory bounded."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

In = TypeVar("In")
Out = TypeVar("Out")


def map_in_order(chunks: Iterable[In], function: Callable[[In], Out], workers: int) -> Generator[Out]:
    """`work` of every chunk, in the chunks' order, by `workers` threads; at most `workers` + 1 chunks are held.

    Threads, because nearly all the work (ONNX Runtime, Polars, NumPy) lets go of the interpreter's lock. What reading
    or `work` raises is raised here, after the chunks before it.
    """
    with ThreadPoolExecutor(workers) as pool:
        pending: deque[Future[Out]] = deque()
        try:
            for chunk in chunks:
                pending.append(pool.submit(function, chunk))
                if len(pending) > workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
