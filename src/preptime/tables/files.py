"""Tables that are files: one csv or parquet file, a folder of partitions, or a glob."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from glob import has_magic
from pathlib import Path

import polars as pl

from preptime.errors import DataError
from preptime.tables.columns import FILE, ROW, SURPLUS
from preptime.tables.pieces import pieces
from preptime.tables.sniff import csv_columns, is_parquet, parquet_columns, read_error

_SUFFIXES = (".csv", ".parquet")


@dataclass(frozen=True)
class FileTable:
    """Files of one kind with the same columns, read one after the other in the order of their names."""

    name: str
    paths: tuple[Path, ...]
    columns: tuple[str, ...]
    parquet: bool

    def frame(self) -> pl.DataFrame:
        """All rows. Raises `DataError` when there are none or a file cannot be read."""
        parts = []
        for path in self.paths:
            try:
                parts.append(self._scan(path).collect())
            except (pl.exceptions.PolarsError, OSError) as error:
                raise read_error(path, error) from error
        # The columns are the same; in parquet their types may differ in width from part to part.
        whole = pl.concat(parts, how="vertical_relaxed")
        if whole.is_empty():
            raise self._no_rows()
        return _tidy(whole)

    def batches(self, rows: int) -> Iterator[pl.DataFrame]:
        """The same rows in chunks of at most `rows`; each chunk stands in one file."""
        empty = True
        for path in self.paths:
            chunks = self._parquet_chunks(path, rows) if self.parquet else self._csv_chunks(path, rows)
            while (chunk := _next(chunks, path)) is not None:
                if len(chunk):
                    empty = False
                    yield _tidy(chunk)
        if empty:
            raise self._no_rows()

    def partitions(self) -> tuple[FileTable, ...]:
        """One table per file."""
        return tuple(FileTable(str(path), (path,), self.columns, self.parquet) for path in self.paths)

    def _parquet_chunks(self, path: Path, rows: int) -> Iterator[pl.DataFrame]:
        return self._scan(path).collect_batches(chunk_size=rows, maintain_order=True, lazy=True)

    def _csv_chunks(self, path: Path, rows: int) -> Iterator[pl.DataFrame]:
        before = 0
        for place, piece in enumerate(pieces(path)):
            lines = self._csv(piece, has_header=place == 0, before=before).collect()
            before += len(lines)
            yield from self._named(lines.lazy(), path).collect().iter_slices(rows)

    def _scan(self, path: Path) -> pl.LazyFrame:
        if not self.parquet:
            return self._named(self._csv(path), path)
        rows = pl.scan_parquet(path, row_index_name=ROW, row_index_offset=1, glob=False)
        return self._named(rows.select(ROW, *self.columns), path)

    def _csv(self, source: Path | bytes, *, has_header: bool = True, before: int = 0) -> pl.LazyFrame:
        """Every line as text, so that a bad cell is a verdict on its row and not a failed read.

        One column more than the header has shows which lines have too many cells. `before`: how many lines came before.
        """
        return pl.scan_csv(
            source,
            has_header=has_header,
            schema=dict.fromkeys((*self.columns, SURPLUS), pl.String()),
            missing_columns="insert",
            truncate_ragged_lines=True,
            row_index_name=ROW,
            row_index_offset=1 + before,
            glob=False,
        )

    def _named(self, rows: pl.LazyFrame, path: Path) -> pl.LazyFrame:
        """With the file's name, and of a csv without its blank lines, which are no rows."""
        if not self.parquet:
            rows = rows.filter(~pl.all_horizontal(pl.col(self.columns).is_null()))
        return rows.with_columns(pl.lit(str(path), pl.Enum([str(one) for one in self.paths])).alias(FILE))

    def _no_rows(self) -> DataError:
        return DataError(f"{self.name} has a header and no rows.", "Give a file with at least one row.")


def open_files(source: str) -> FileTable:
    """The table at a path, a folder (all csv or all parquet files below it) or a glob.

    Raises `DataError` when there is nothing, when a file is no csv or parquet, or when partitions differ in columns.
    """
    paths = _paths(source)
    kinds = {path: is_parquet(path) for path in paths}
    first = paths[0]
    other = next((path for path in paths if kinds[path] != kinds[first]), None)
    if other is not None:
        raise DataError(f"{source} mixes csv and parquet files ({first.name}, {other.name}).", "Give one kind.")
    read = parquet_columns if kinds[first] else csv_columns
    columns = read(first)
    for path in paths[1:]:
        own = read(path)
        if set(own) != set(columns):
            lacking = sorted(set(columns) - set(own))
            what = f"lacks {', '.join(lacking)}" if lacking else f"adds {', '.join(sorted(set(own) - set(columns)))}"
            raise DataError(f"The partition {path} {what}, unlike {first}.", "Give partitions with the same columns.")
        if own != columns and not kinds[first]:
            raise DataError(
                f"The partition {path} has the columns of {first} in another order.", "Write both in the same order."
            )
    return FileTable(source, paths, columns, kinds[first])


def _paths(source: str) -> tuple[Path, ...]:
    path = Path(source)
    if path.is_file():
        return (path,)
    if path.is_dir():
        # Names that begin with a dot or underscore are markers and temporary files, by every engine's custom.
        found = [one for one in path.rglob("*") if one.suffix.lower() in _SUFFIXES and one.name[0] not in "._"]
        hint = "Give a folder with .csv or .parquet files in it."
    elif has_magic(source):
        found = _matches(path)
        hint = "Check the pattern; ** stands for any folders."
    else:
        raise _missing(path)
    files = tuple(sorted(one for one in found if one.is_file()))
    if not files:
        raise DataError(f"No file matches {source}.", hint)
    return files


def _matches(pattern: Path) -> list[Path]:
    """What a pattern finds below its last folder without wildcards."""
    fixed = Path(pattern.anchor)
    for part in pattern.relative_to(pattern.anchor).parts:
        if has_magic(part):
            break
        fixed /= part
    return list(fixed.glob(str(pattern.relative_to(fixed))))


def _called(folder: Path) -> str:
    return "This folder" if folder == Path() else str(folder)


def _missing(path: Path) -> DataError:
    folder = path.parent
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    near = (
        sorted(one.name for one in folder.iterdir() if one.suffix.lower() in _SUFFIXES)[:5] if folder.is_dir() else []
    )
    beside = f"{_called(folder)} holds {', '.join(near)}." if near else "Check the path."
    return DataError(f"There is no file {path}.", beside)


def _next(chunks: Iterator[pl.DataFrame], path: Path) -> pl.DataFrame | None:
    try:
        return next(chunks, None)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise read_error(path, error) from error


def _tidy(frame: pl.DataFrame) -> pl.DataFrame:
    """Without the surplus column when no line has a surplus cell."""
    if SURPLUS in frame.columns and not frame[SURPLUS].is_not_null().any():
        return frame.drop(SURPLUS)
    return frame
