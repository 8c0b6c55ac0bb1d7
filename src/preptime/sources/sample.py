"""A sample of the rows of a data source: its first rows, and rows at even distances in large files.

The sample of a large file takes a fraction of a second and a few megabytes, whatever the size of the file.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import polars as pl

from preptime.domain.data_dictionary import FILE_COLUMN, ROW_COLUMN
from preptime.sources.file_format import READ_ERRORS, read_error, scan_parquet
from preptime.sources.files import FileSource, InputFile
from preptime.sources.registry import open_source
from preptime.sources.source import DataSource

SAMPLE_ROWS = 50_000
MAX_PARTS = 20
"""Files of a folder that the sample reads."""
MAX_WHOLE_BYTES = 16 << 20
"""A larger CSV file is read in blocks."""
HEAD_BYTES = 4 << 20
BLOCKS = 15
BLOCK_BYTES = 256 << 10
"""Bytes at the start, and the number and the bytes of the blocks at even distances after them."""

_GZIP_MAGIC = b"\x1f\x8b"

ItemT = TypeVar("ItemT")


@dataclass(frozen=True, slots=True)
class Sample:
    """N rows of a data source."""

    frame: pl.DataFrame
    is_complete: bool
    """Whether these are all rows."""


def read_sample(location: str, rows: int = SAMPLE_ROWS) -> Sample:
    """Return about `rows` rows of a data source. Raises `DataError` if there are none."""
    source = open_source(location)
    parts = source.partitions()
    chosen = _evenly(parts, MAX_PARTS)
    samples = [_sample_part(part, -(-rows // len(chosen))) for part in chosen]
    # Each file has its own type for the column with its name.
    frame = pl.concat(
        [frame.with_columns(pl.col(f"^{FILE_COLUMN}$").cast(pl.String)) for frame, _ in samples], how="diagonal_relaxed"
    )
    if frame.is_empty():
        source.frame()  # raises the error of a source without rows
    is_complete = len(chosen) == len(parts) and all(complete for _, complete in samples)
    return Sample(frame, is_complete)


def _evenly(items: Sequence[ItemT], count: int) -> list[ItemT]:
    """Return at most `count` items at even distances, with the first and the last one."""
    if len(items) <= count:
        return list(items)
    return [items[index * (len(items) - 1) // (count - 1)] for index in range(count)]


def _sample_part(source: DataSource, rows: int) -> tuple[pl.DataFrame, bool]:
    """Return rows of one file or of a database, and whether they are all."""
    file = source.files[0] if isinstance(source, FileSource) else None
    if file is None or file.state is None:
        return _first_rows(source, rows)
    if file.header is None:
        frame, is_complete = _sample_parquet(file.path, rows)
    elif file.state.size_bytes > MAX_WHOLE_BYTES and (head := _unquoted_head(file.path)):
        frame, is_complete = _sample_csv(file, head, rows), False
    else:
        return _first_rows(source, rows)
    of_folders = (pl.lit(value, pl.String()).alias(name) for name, value in file.partition.items())
    return frame.with_columns(*of_folders), is_complete


def _first_rows(source: DataSource, rows: int) -> tuple[pl.DataFrame, bool]:
    frames: list[pl.DataFrame] = []
    count = 0
    for frame in source.batches(rows):
        if count >= rows:
            return pl.concat(frames, how="diagonal_relaxed").head(rows), False
        frames.append(frame)
        count += len(frame)
    return pl.concat(frames, how="diagonal_relaxed").head(rows), count <= rows


def _sample_parquet(path: Path, rows: int) -> tuple[pl.DataFrame, bool]:
    """Return the first half of the sample, and the other half in slices at even distances."""
    try:
        scan = scan_parquet(path, row_index_name=ROW_COLUMN)
        total = int(scan.select(pl.len()).collect().item())
        if total <= rows:
            return scan.collect(), True
        head, length = rows // 2, max(1, rows // 2 // BLOCKS)
        starts = [head + block * (total - head - length) // BLOCKS for block in range(1, BLOCKS + 1)]
        slices = [scan.head(head), *(scan.slice(start, length) for start in starts)]
        return pl.concat([part.collect() for part in slices]), False
    except READ_ERRORS as error:
        raise read_error(path, error) from error


def _unquoted_head(path: Path) -> bytes:
    """Return the complete lines at the start of a file, or nothing if it can't be split into rows in the middle.

    That's a compressed file, and one with a line feed in a quoted cell.
    """
    with path.open("rb") as file:
        head = _complete_lines(file.read(HEAD_BYTES))
    if head.startswith(_GZIP_MAGIC):
        return b""
    return b"" if any(line.count(b'"') % 2 for line in head.split(b"\n")) else head


def _complete_lines(block: bytes) -> bytes:
    return block[: block.rfind(b"\n") + 1]


def _sample_csv(file: InputFile, head: bytes, rows: int) -> pl.DataFrame:
    """Return half of the sample from the start of a file, and half from blocks of lines at even distances."""
    size = 0 if file.state is None else file.state.size_bytes
    lines = head.splitlines(keepends=True)
    parts = [b"".join(lines[: max(2, rows // 2)])]
    with file.path.open("rb") as content:
        for block in range(1, BLOCKS + 1):
            content.seek(len(head) + block * (size - len(head) - BLOCK_BYTES) // BLOCKS)
            _, _, complete = _complete_lines(content.read(BLOCK_BYTES)).partition(b"\n")  # the first line is cut
            parts.append(b"".join(complete.splitlines(keepends=True)[: max(1, rows // 2 // BLOCKS)]))
    with tempfile.TemporaryDirectory(prefix="preptime-sample-") as folder:
        sample = Path(folder) / "sample.csv"
        sample.write_bytes(b"".join(parts))
        return open_source(sample).frame()
