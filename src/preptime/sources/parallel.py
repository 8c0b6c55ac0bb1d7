"""Process batches of rows in threads, with results in order and bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

In = TypeVar("In")
Out = TypeVar("Out")


def map_in_order(
    batches: Iterable[In], function: Callable[[In], Out], workers: int, max_pending: int | None = None
) -> Generator[Out]:
    """Yield the result of `function` for each batch, in order, from `workers` threads.

    Memory holds at most `max_pending` batches, by default `workers` + 1. Threads are enough, because most of the work
    (ONNX Runtime, Polars, NumPy) releases the interpreter lock. An error in `batches` or `function` is raised here,
    after the results of the batches before it.
    """
    with ThreadPoolExecutor(workers) as pool:
        pending: deque[Future[Out]] = deque()
        try:
            for batch in batches:
                pending.append(pool.submit(function, batch))
                if len(pending) == (max_pending or workers + 1):
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
