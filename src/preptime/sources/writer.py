"""Writing tables: as a stream, and either whole or not at all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

import polars as pl
from polars.io.plugins import register_io_source

from preptime.atomic_write import atomic_path
from preptime.errors import DataError, UsageError

ROW_GROUP_ROWS = 50_000
"""What a reader holds at least: of 250,000, the first 2,000 answers of five million orders took 290 MB; now 40."""


def write_table(path: Path, chunks: Iterable[pl.DataFrame]) -> int:
    """Write chunks of the same columns to a csv or parquet file, by its suffix; the rows written.

    The file appears under its name when it is complete; a crash or an error leaves what was there before. Memory holds
    a few chunks at a time. Raises `UsageError` for another suffix and `DataError` when the folder cannot be written.
    """
    suffix = path.suffix.lower()
    if suffix not in {".csv", ".parquet"}:
        raise UsageError(f"{path} has the suffix {suffix or 'none'}.", "Name the output .csv or .parquet.")
    with atomic_path(path) as temporary_path:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary_path.touch(exist_ok=False)
        except OSError as error:
            raise DataError(f"{path.parent} cannot be written ({error.strerror}).", "Choose another folder.") from error
        return _write_csv(temporary_path, chunks) if suffix == ".csv" else _write_parquet(temporary_path, chunks)


def _write_csv(path: Path, chunks: Iterable[pl.DataFrame]) -> int:
    stream = iter(chunks)
    first = _take_first(stream)
    rows = len(first)
    with path.open("wb") as file:
        first.write_csv(file)
        for chunk in stream:
            chunk.write_csv(file, include_header=False)
            rows += len(chunk)
    return rows


def _write_parquet(path: Path, chunks: Iterable[pl.DataFrame]) -> int:
    stream = iter(chunks)
    first = _take_first(stream)
    rows = 0

    def source(*_: object) -> Iterator[pl.DataFrame]:
        nonlocal rows
        for chunk in chain([first], stream):
            rows += len(chunk)
            yield chunk

    register_io_source(source, schema=first.schema).sink_parquet(path, row_group_size=ROW_GROUP_ROWS)
    return rows


def _take_first(stream: Iterator[pl.DataFrame]) -> pl.DataFrame:
    first = next(stream, None)
    if first is None:
        raise UsageError("There is nothing to write.", "Give at least one chunk, if only an empty one.")
    return first
