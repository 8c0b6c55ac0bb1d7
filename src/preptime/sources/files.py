"""Data sources that are files: one CSV or Parquet file, a folder of partitions, or a glob.

A large CSV file is read in chunks of whole rows, so that memory holds one chunk. Polars' own batch reader keeps the
file in memory and reads ahead: it takes 420 MB for a file of 200 MB, and chunks take 120 MB.
`python -m benchmarks dashboard` measures this in a whole upload.

Before a file is read, `preptime.sources.file_format` checks its format and its columns. Afterward, its size and its
modification time must be the same as before. Otherwise, reading fails, because the rows may be from different states of
the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from glob import has_magic
from pathlib import Path

import polars as pl

from preptime.domain.data_dictionary import FILE_COLUMN, ROW_COLUMN, SURPLUS_COLUMN
from preptime.errors import DataError, OperationError, PreptimeError
from preptime.formatting import join_names
from preptime.sources.file_format import (
    READ_ERRORS,
    CsvHeader,
    is_parquet,
    parquet_columns,
    path_text,
    read_csv_header,
    read_error,
    scan_csv,
    scan_parquet,
)
from preptime.sources.source import incompatible_types_error

CHUNK_BYTES = 8 << 20
_SUFFIXES = (".csv", ".parquet")
_QUOTE, _LINE_FEED = b'"', b"\n"
_CHANGED_HINT = "Run the command again. Write new files under another name, and rename them when they are complete."


def iter_csv_chunks(path: Path, size: int = CHUNK_BYTES, *, start: int = 0, end: int | None = None) -> Iterator[bytes]:
    """Yield the file's bytes from `start` to `end` in chunks that end after a row.

    Without `end`, a file that another program appends to can be endless.

    A row that is larger than `size` isn't split. A line feed inside a quoted cell doesn't end a row: a row ends where
    the number of quotation marks before it is even.
    """
    with path.open("rb") as file:
        file.seek(start)
        remainder = b""
        while block := file.read(size if end is None else max(min(size, end - file.tell()), 0)):
            chunk = remainder + block
            row_end = _last_row_end(chunk)
            remainder = chunk[row_end:]
            if row_end:
                yield chunk[:row_end]
        if remainder:
            yield remainder


def _last_row_end(chunk: bytes) -> int:
    """Return the index after the last line feed outside quotes, or 0 if there is none."""
    end = chunk.rfind(_LINE_FEED)
    is_inside_quotes = chunk.count(_QUOTE, 0, max(end, 0)) % 2
    while end >= 0 and is_inside_quotes:
        before = chunk.rfind(_LINE_FEED, 0, end)
        is_inside_quotes ^= chunk.count(_QUOTE, max(before, 0), end) % 2
        end = before
    return end + 1


@dataclass(frozen=True, slots=True)
class FileState:
    """What changes when a file is written or replaced.

    The inode isn't a part of it: some network file systems give a file a new inode while it's unchanged.
    """

    size_bytes: int
    modified_ns: int

    @classmethod
    def of(cls, path: Path) -> FileState | None:
        """Return the state of a file, or None if there is no such file."""
        try:
            status = path.stat()
        except FileNotFoundError:
            return None
        return cls(status.st_size, status.st_mtime_ns)


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file, its state when it was opened, and the header of a CSV file."""

    path: Path
    state: FileState | None
    columns: tuple[str, ...]
    header: CsvHeader | None
    """None for a Parquet file."""

    @classmethod
    def open(cls, path: Path) -> InputFile:
        """Read the columns of a file. Raises `DataError` if it isn't CSV or Parquet."""
        state = FileState.of(path)
        if is_parquet(path):
            return cls(path, state, parquet_columns(path), None)
        header = read_csv_header(path)
        return cls(path, state, header.names, header)

    def check_unchanged(self) -> None:
        """Raise `OperationError` if the file was written, replaced, or deleted after it was opened."""
        current = FileState.of(self.path)
        if current == self.state:
            return
        change = "was deleted while it was read"
        if current is not None and self.state is not None:
            before, after = f"{self.state.size_bytes:,} bytes", f"{current.size_bytes:,} bytes"
            sizes = f"it still has {after}" if before == after else f"it had {before} and now has {after}"
            change = f"changed while it was read: {sizes}"
        raise OperationError(f"The file {path_text(self.path)} {change}.", _CHANGED_HINT)


@dataclass(frozen=True)
class FileSource:
    """Files of one format with the same columns, in the order of their names."""

    location: Path
    """A file, a folder, or a glob."""
    files: tuple[InputFile, ...]
    columns: tuple[str, ...]

    @property
    def name(self) -> str:
        """The location as text."""
        return path_text(self.location)

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files, in order."""
        return tuple(file.path for file in self.files)

    def frame(self) -> pl.DataFrame:
        """Return all rows.

        Raises `DataError` if there are none or if a file can't be read, and `OperationError` if a file changed.
        """
        frames = []
        for file in self.files:
            try:
                frames.append(self._add_file_name(self._read(file), file))
            except READ_ERRORS as error:
                raise self._read_error(file, error) from error
        self._check_unchanged()
        try:
            # The names of the columns are the same. In Parquet, types can have different widths in different files.
            combined = pl.concat(frames, how="vertical_relaxed")
        except pl.exceptions.PolarsError as error:
            raise incompatible_types_error(self.name, error) from error
        if combined.is_empty():
            raise self._no_rows_error()
        return _drop_empty_surplus(combined)

    def batches(self, rows: int) -> Iterator[pl.DataFrame]:
        """Yield all rows in chunks of at most `rows`, each from one file. Raises the same errors as `frame`."""
        is_empty = True
        for file in self.files:
            chunks = self._parquet_chunks(file, rows) if file.header is None else self._csv_chunks(file, rows)
            while (chunk := self._next_chunk(chunks, file)) is not None:
                if len(chunk):
                    is_empty = False
                    yield _drop_empty_surplus(self._add_file_name(chunk, file))
        self._check_unchanged()
        if is_empty:
            raise self._no_rows_error()

    def partitions(self) -> tuple[FileSource, ...]:
        """Return one source for each file."""
        return tuple(FileSource(file.path, (file,), self.columns) for file in self.files)

    def _check_unchanged(self) -> None:
        """Raise `OperationError` if a file changed, or if the folder or the glob has other files than before."""
        for file in self.files:
            file.check_unchanged()
        # A hidden file can be the output of this command, which isn't complete yet.
        known_paths = {*self.paths}
        added = [path for path in _resolve_paths(self.location) if path not in known_paths and path.name[0] != "."]
        if added:
            raise OperationError(
                f"The file {path_text(added[0])} was added to {self.name} while it was read.", _CHANGED_HINT
            )

    def _next_chunk(self, chunks: Iterator[pl.DataFrame], file: InputFile) -> pl.DataFrame | None:
        try:
            return next(chunks, None)
        except READ_ERRORS as error:
            raise self._read_error(file, error) from error

    def _read_error(self, file: InputFile, error: BaseException) -> PreptimeError:
        """Return the reason why a file can't be read. A change of the file explains every other error."""
        try:
            file.check_unchanged()
        except OperationError as changed:
            return changed
        return read_error(file.path, error)

    def _parquet_chunks(self, file: InputFile, rows: int) -> Iterator[pl.DataFrame]:
        return self._scan_parquet(file).collect_batches(chunk_size=rows, maintain_order=True, lazy=True)

    def _csv_chunks(self, file: InputFile, rows: int) -> Iterator[pl.DataFrame]:
        row_offset = 0
        start, end = (file.header.size_bytes if file.header else 0), (file.state.size_bytes if file.state else None)
        for content in iter_csv_chunks(file.path, start=start, end=end):
            chunk_rows = scan_csv(content, self._csv_columns, row_offset=row_offset).collect()
            row_offset += len(chunk_rows)
            yield from _drop_blank_lines(chunk_rows, self.columns).iter_slices(rows)

    def _read(self, file: InputFile) -> pl.DataFrame:
        if file.header is None:
            return self._scan_parquet(file).collect()
        rows = scan_csv(file.path, self._csv_columns, skip_lines=file.header.lines).collect()
        return _drop_blank_lines(rows, self.columns)

    def _scan_parquet(self, file: InputFile) -> pl.LazyFrame:
        return scan_parquet(file.path, row_index_name=ROW_COLUMN).select(ROW_COLUMN, *self.columns)

    @property
    def _csv_columns(self) -> tuple[str, ...]:
        """The columns of a CSV file. One more than the header shows which lines have too many cells."""
        return (*self.columns, SURPLUS_COLUMN)

    def _add_file_name(self, rows: pl.DataFrame, file: InputFile) -> pl.DataFrame:
        file_names = pl.Enum([path_text(path) for path in self.paths])
        return rows.with_columns(pl.lit(path_text(file.path), file_names).alias(FILE_COLUMN))

    def _no_rows_error(self) -> DataError:
        return DataError(f"{self.name} has a header and no rows.", "Use a file with at least one row.")


def open_files(location: str) -> FileSource:
    """Open a file, the CSV or Parquet files below a folder, or the files that match a glob.

    Raises `DataError` if there is no file, if a file isn't CSV or Parquet, or if partitions have different columns.
    """
    path = Path(location)
    files = tuple(InputFile.open(found) for found in _resolve_paths(path))
    source = FileSource(path, files, files[0].columns)
    for file in files[1:]:
        _check_same_columns(source.name, files[0], file)
    return source


def _check_same_columns(name: str, first: InputFile, file: InputFile) -> None:
    """Raise `DataError` if two files differ in format, columns, or the order of CSV columns."""
    if (file.header is None) != (first.header is None):
        raise DataError(
            f"{name} contains CSV and Parquet files ({path_text(Path(first.path.name))}, "
            f"{path_text(Path(file.path.name))}).",
            "Use one format.",
        )
    if file.columns == first.columns:
        return
    missing, added = ({*first.columns} - {*file.columns}), ({*file.columns} - {*first.columns})
    if missing or added:
        difference = f"lacks {join_names(sorted(missing))}" if missing else f"adds {join_names(sorted(added))}"
        raise DataError(
            f"The partition {path_text(file.path)} {difference}, compared with {path_text(first.path)}.",
            "Use partitions with the same columns.",
        )
    if file.header is not None:
        raise DataError(
            f"The partition {path_text(file.path)} has the columns of {path_text(first.path)} in another order.",
            "Use the same order in both.",
        )


def _resolve_paths(path: Path) -> tuple[Path, ...]:
    if path.is_file():
        return (path,)
    if path.is_dir():
        # By convention, names that start with a dot or an underscore are markers and temporary files.
        candidates = [
            candidate
            for candidate in path.rglob("*")
            if candidate.suffix.lower() in _SUFFIXES and candidate.name[0] not in "._"
        ]
        hint = "Use a folder that contains .csv or .parquet files."
    elif has_magic(str(path)):
        candidates = _glob_paths(path)
        hint = "Check the pattern. ** matches any number of folders."
    else:
        raise _missing_file_error(path)
    files = tuple(sorted(candidate for candidate in candidates if candidate.is_file()))
    if not files:
        raise DataError(f"No file matches {path_text(path)}.", hint)
    return files


def _glob_paths(pattern: Path) -> list[Path]:
    """Return the matches of a pattern below its last folder without wildcards."""
    base = next(folder for folder in pattern.parents if not has_magic(str(folder.relative_to(pattern.anchor))))
    return list(base.glob(str(pattern.relative_to(base))))


def _folder_name(folder: Path) -> str:
    return "The current folder" if folder == Path() else path_text(folder)


def _missing_file_error(path: Path) -> DataError:
    folder = path.parent
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    nearby_names = (
        sorted(path_text(Path(entry.name)) for entry in folder.iterdir() if entry.suffix.lower() in _SUFFIXES)[:5]
        if folder.is_dir()
        else []
    )
    hint = f"{_folder_name(folder)} contains {', '.join(nearby_names)}." if nearby_names else "Check the path."
    return DataError(f"There is no file {path_text(path)}.", hint)


def _drop_blank_lines(rows: pl.DataFrame, columns: tuple[str, ...]) -> pl.DataFrame:
    """Remove the blank lines of a CSV file, which aren't rows.

    As a filter of the scan, this takes 26 s for a header of 2,000 columns.
    """
    is_blank = rows.select(pl.all_horizontal(pl.col(columns).is_null())).to_series()
    return rows.filter(~is_blank) if is_blank.any() else rows


def _drop_empty_surplus(frame: pl.DataFrame) -> pl.DataFrame:
    """Remove the surplus column if no line has a surplus cell."""
    if SURPLUS_COLUMN in frame.columns and not frame[SURPLUS_COLUMN].is_not_null().any():
        return frame.drop(SURPLUS_COLUMN)
    return frame
