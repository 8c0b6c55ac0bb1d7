"""Scoring a file: every row comes back in its place, with a prediction or with a reason (D4)."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import polars as pl

from preptime.bundle.bundle import Bundle
from preptime.domain.dictionary import ORDERS, required
from preptime.errors import FaultError, UsageError
from preptime.features.directory import Directory
from preptime.scoring.carried import Carried
from preptime.scoring.chunk import Scorer, directory_of
from preptime.scoring.columns import Clock
from preptime.scoring.document import ScoreDocument, Tally
from preptime.scoring.parallel import in_order
from preptime.tables.columns import require
from preptime.tables.open import open_table
from preptime.tables.size import about_rows
from preptime.tables.table import Table
from preptime.tables.write import write_table

CHUNK_ROWS = 50_000
"""Large enough that the work per chunk vanishes beside the work per row, small enough to keep memory low."""
MOST_WORKERS = 16
"""Each holds a chunk; one reader and one writer don't feed more."""

_SYSTEM_ERROR = re.compile(r"([^:\s][^:]*) \(os error \d+\)")

Progress = Callable[[str, float], None]
"""Told the name of the stage and the share of it that is done, 0 to 1."""


def score_file(
    source: str,
    out: Path,
    bundle: Bundle,
    *,
    directory: Directory | None = None,
    progress: Progress | None = None,
    chunk_rows: int = CHUNK_ROWS,
    workers: int | None = None,
) -> ScoreDocument:
    """Score the orders at `source` (a path, folder or glob of csv or parquet) into `out` (csv or parquet, by suffix).

    `out` has the rows and columns of `source`, unchanged and in order, and the columns of `preptime.scoring.columns`
    behind them; those that are there already (a file scored twice) are replaced where they stand. It appears whole or
    not at all. `directory` describes restaurants that the bundle does not know. Memory holds `workers` + 1 chunks;
    neither `chunk_rows` nor `workers` changes a value. `progress` may be told from another thread.

    Raises `DataError` for a source that cannot be read, is empty or lacks a column, `UsageError` for an output that
    cannot be, `FaultError` when writing fails on the way.
    """
    table = open_table(source)
    require(table.columns, required(ORDERS, "scoring"), table.name)
    _check_apart(table, out)
    scorer = Scorer(
        bundle, Carried.of(table, to_csv=out.suffix.lower() == ".csv"), Clock(), directory_of(bundle, directory)
    )
    tally = Tally()
    expected = about_rows(table) if progress else 0

    def scored() -> Iterator[pl.DataFrame]:
        with closing(in_order(table.batches(chunk_rows), scorer.score, workers_of(workers))) as chunks:
            for chunk in chunks:
                tally.add(len(chunk.frame), chunk.p50_seconds, chunk.basis, chunk.refused)
                if progress and expected:
                    progress("Scoring", min(tally.rows / expected, 1.0))
                yield chunk.frame

    try:
        write_table(out, scored())
    except (OSError, pl.exceptions.PolarsError) as error:  # what reading raises is a DataError already
        reason = _of_the_system(error)
        if reason is None:
            raise
        raise FaultError(
            f"{out} could not be written: {reason}.", "Nothing was left behind; make room and score again."
        ) from error
    if progress:
        progress("Scoring", 1.0)
    return tally.document(table.name, out, bundle.manifest.id)


def workers_of(asked: int | None) -> int:
    """How many threads score side by side."""
    return asked or max(2, min(os.cpu_count() or 1, MOST_WORKERS))


def _of_the_system(error: Exception) -> str | None:
    """What the operating system said, also where Polars passes it on; None when it said nothing."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    found = _SYSTEM_ERROR.search(str(error))
    return found[1] if found else None


def _check_apart(table: Table, out: Path) -> None:
    """The output may not be an input, nor stand where the next run would read it as one."""
    target = out.resolve()
    inputs = {Path(part.name).resolve() for part in table.partitions()}
    folder = Path(table.name)
    if target in inputs or (folder.is_dir() and target.is_relative_to(folder.resolve())):
        raise UsageError(f"The output {out} would be one of the inputs of {table.name}.", "Write to another place.")
