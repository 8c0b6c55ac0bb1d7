"""Scoring a file: every row comes back in its place, with a prediction or with a reason (D4)."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from preptime.bundle.bundle import Bundle
from preptime.domain.dictionary import ORDERS, required
from preptime.domain.prediction import Predictions
from preptime.domain.verdict import Purpose, Reason, mask, reasons
from preptime.errors import FaultError, UsageError
from preptime.features.directory import Directory
from preptime.scoring.carried import Carried
from preptime.scoring.columns import BUNDLE, REASON, Clock, answers
from preptime.scoring.directory import extended
from preptime.scoring.document import ScoreDocument, Tally
from preptime.scoring.parallel import in_order
from preptime.scoring.size import about_rows
from preptime.tables.audit import Audited, audit, to_order_columns
from preptime.tables.columns import require
from preptime.tables.open import open_table
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
    scorer = _Scorer(
        bundle, Carried.of(table, to_csv=out.suffix.lower() == ".csv"), Clock(), _directory(bundle, directory)
    )
    tally = Tally()
    expected = about_rows(table) if progress else 0

    def scored() -> Iterator[pl.DataFrame]:
        threads = workers or max(2, min(os.cpu_count() or 1, MOST_WORKERS))
        with closing(in_order(table.batches(chunk_rows), scorer.score, threads)) as chunks:
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


def _directory(bundle: Bundle, given: Directory | None) -> Directory:
    known = bundle.history.directory
    return known if given is None else extended(known, given)


@dataclass(frozen=True)
class _Scored:
    """One chunk: what is written of it and what is counted."""

    frame: pl.DataFrame
    p50_seconds: NDArray[np.float32]
    basis: NDArray[np.int8]
    refused: dict[Reason, int]


@dataclass(frozen=True)
class _Scorer:
    """Everything that all chunks share; threads call it side by side."""

    bundle: Bundle
    carried: Carried
    clock: Clock
    directory: Directory

    def score(self, rows: pl.DataFrame) -> _Scored:
        audited = audit(rows, self.directory, need_label=False)
        kept = audited.kept(Purpose.SCORING)
        everything = bool(kept.all())
        frame = audited.frame if everything else audited.frame.filter(pl.Series(kept))
        predictions = self.bundle.predict(to_order_columns(frame))
        columns = self._answers(frame, predictions)
        refused: dict[Reason, int] = {}
        if not everything:
            columns, refused = _in_place(columns, audited, kept)
            columns = columns.with_columns(pl.lit(self.bundle.manifest.id).alias(BUNDLE))
        return _Scored(
            self.carried.of_chunk(rows).with_columns(columns), predictions.default, predictions.basis, refused
        )

    def _answers(self, frame: pl.DataFrame, predictions: Predictions) -> pl.DataFrame:
        local, utc = (frame[name].to_physical().to_numpy() for name in ("acknowledged_local", "acknowledged_utc"))
        return answers(predictions, local, utc, self.clock, self.bundle.manifest.id)


def _in_place(
    columns: pl.DataFrame, audited: Audited, kept: NDArray[np.bool_]
) -> tuple[pl.DataFrame, dict[Reason, int]]:
    """The answers to the kept rows, in their places among all rows, and the refused rows by their first reason."""
    place = pl.Series(np.cumsum(kept) - 1).set(pl.Series(~kept), None)
    spread = columns.select(pl.all().gather(place))
    against = audited.reasons & np.uint32(mask(Purpose.SCORING))
    masks, of_mask, counts = np.unique(against, return_inverse=True, return_counts=True)
    first = [reasons(int(bits))[0] if bits else None for bits in masks]
    texts = pl.Series(REASON, [None if one is None else str(one) for one in first], dtype=pl.String)
    refused: dict[Reason, int] = {}
    for one, count in zip(first, counts.tolist(), strict=True):
        if one is not None:
            refused[one] = refused.get(one, 0) + count
    return spread.with_columns(texts.gather(of_mask)), refused
