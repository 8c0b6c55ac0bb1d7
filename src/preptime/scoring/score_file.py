"""Chunks side by side, results in order, memory bounded.

Scoring a file: every row comes back in its place, with a prediction or with a reason (D4).
"""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import TypeVar

import polars as pl

from preptime.bundle.bundle import Bundle
from preptime.domain.data_dictionary import ORDERS_DICTIONARY, require_columns, required_columns
from preptime.errors import OperationError, UsageError
from preptime.features.restaurant_index import RestaurantIndex
from preptime.scoring.score_document import ScoreCounts, ScoreDocument
from preptime.scoring.scorer import ChunkScorer, PassthroughColumns, TimestampFormatter, restaurants_for
from preptime.sources.registry import open_source
from preptime.sources.source import DataSource, estimate_rows
from preptime.sources.writer import write_table

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


CHUNK_ROWS = 50_000
"""Large enough that the work per chunk vanishes beside the work per row, small enough to keep memory low."""
MAX_WORKERS = 16
"""Each holds a chunk; one reader and one writer don't feed more."""

_OS_ERROR = re.compile(r"([^:\s][^:]*) \(os error \d+\)")

ProgressCallback = Callable[[str, float], None]
"""Told the name of the stage and the share of it that is done, 0 to 1."""


def score_file(
    source: str,
    out: Path,
    bundle: Bundle,
    *,
    restaurants: RestaurantIndex | None = None,
    progress: ProgressCallback | None = None,
    chunk_rows: int = CHUNK_ROWS,
    workers: int | None = None,
) -> ScoreDocument:
    """Score the orders at `source` (a path, folder or glob of csv or parquet) into `out` (csv or parquet, by suffix).

    `out` has the rows and columns of `source`, unchanged and in order, and the columns of `preptime.scoring.scorer`
    behind them; those that are there already (a file scored twice) are replaced where they stand. It appears whole or
    not at all. `directory` describes restaurants that the bundle does not know. Memory holds `workers` + 1 chunks;
    neither `chunk_rows` nor `workers` changes a value. `progress` may be told from another thread.

    Raises `DataError` for a source that cannot be read, is empty or lacks a column, `UsageError` for an output that
    cannot be, `OperationError` when writing fails on the way.
    """
    data_source = open_source(source)
    require_columns(data_source.columns, required_columns(ORDERS_DICTIONARY, "scoring"), data_source.name)
    _check_output_is_not_input(data_source, out)
    scorer = ChunkScorer(
        bundle,
        PassthroughColumns.from_source(data_source, for_csv=out.suffix.lower() == ".csv"),
        TimestampFormatter(),
        restaurants_for(bundle, restaurants),
    )
    counts = ScoreCounts()
    expected_rows = estimate_rows(data_source) if progress else 0

    def iter_scored() -> Iterator[pl.DataFrame]:
        with closing(map_in_order(data_source.batches(chunk_rows), scorer.score, worker_count(workers))) as chunks:
            for chunk in chunks:
                counts.add(len(chunk.frame), chunk.p50_seconds, chunk.fallback_level, chunk.rejected)
                if progress and expected_rows:
                    progress("Scoring", min(counts.rows / expected_rows, 1.0))
                yield chunk.frame

    try:
        write_table(out, iter_scored())
    except (OSError, pl.exceptions.PolarsError) as error:  # what reading raises is a DataError already
        reason = _os_error_message(error)
        if reason is None:
            raise
        raise OperationError(
            f"{out} could not be written: {reason}.", "Nothing was left behind; make room and score again."
        ) from error
    if progress:
        progress("Scoring", 1.0)
    return counts.to_document(data_source.name, out, bundle.manifest.id)


def worker_count(requested: int | None) -> int:
    """How many threads score side by side."""
    return requested or max(2, min(os.cpu_count() or 1, MAX_WORKERS))


def _os_error_message(error: Exception) -> str | None:
    """What the operating system said, also where Polars passes it on; None when it said nothing."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    matched = _OS_ERROR.search(str(error))
    return matched[1] if matched else None


def _check_output_is_not_input(source: DataSource, out: Path) -> None:
    """The output may not be an input, nor stand where the next run would read it as one."""
    target = out.resolve()
    inputs = {Path(part.name).resolve() for part in source.partitions()}
    folder = Path(source.name)
    if target in inputs or (folder.is_dir() and target.is_relative_to(folder.resolve())):
        raise UsageError(f"The output {out} would be one of the inputs of {source.name}.", "Write to another place.")
