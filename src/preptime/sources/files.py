"""Data sources that are files: one CSV or Parquet file, a folder of partitions, or a glob.

A large CSV file is read in chunks of whole rows, so that memory holds one chunk. Polars' own batch reader keeps the
file in memory and reads ahead: it takes 420 MB for a file of 200 MB, and chunks take 120 MB.
`python -m benchmarks dashboard` measures this in a whole upload.

Before a file is read, its format and its columns are checked. An error states the cause in one sentence.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from glob import has_magic
from pathlib import Path

import polars as pl

from preptime.domain.data_dictionary import FILE_COLUMN, READER_COLUMNS, ROW_COLUMN, SURPLUS_COLUMN
from preptime.errors import DataError

CHUNK_BYTES = 8 << 20
_SUFFIXES = (".csv", ".parquet")
_QUOTE, _LINE_FEED = b'"', b"\n"
_HEAD_BYTES = 65_536
_BLOCK_BYTES = 1 << 22
_PARQUET_MAGIC = b"PAR1"
_FORMATS_BY_MAGIC = {
    b"PK\x03\x04": "an Excel workbook or zip archive",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook",
    b"\x1f\x8b": "gzip-compressed",
    b"\x28\xb5\x2f\xfd": "zstd-compressed",
    b"BZh": "bzip2-compressed",
    b"%PDF": "a PDF",
    b"SQLite": "an SQLite database",
    b"ARROW1": "an Arrow file",
    b"Obj\x01": "an Avro file",
    b"\xff\xfe": "text in UTF-16",
    b"\xfe\xff": "text in UTF-16",
}
_DELIMITER_NAMES = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}


def iter_csv_chunks(path: Path, size: int = CHUNK_BYTES) -> Iterator[bytes]:
    """Yield the file's bytes in chunks that end after a row. The first chunk starts with the header.

    A row that is larger than `size` isn't split. A line feed inside a quoted cell doesn't end a row: a row ends where
    the number of quotation marks before it is even.
    """
    with path.open("rb") as file:
        remainder = b""
        while block := file.read(size):
            chunk = remainder + block
            end = _last_row_end(chunk)
            remainder = chunk[end:]
            if end:
                yield chunk[:end]
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


@dataclass(frozen=True)
class FileSource:
    """Files of one format with the same columns, in the order of their names."""

    name: str
    paths: tuple[Path, ...]
    columns: tuple[str, ...]
    parquet: bool

    def frame(self) -> pl.DataFrame:
        """Return all rows. Raises `DataError` if there are none or if a file can't be read."""
        frames = []
        for path in self.paths:
            try:
                frames.append(self._scan(path).collect())
            except (pl.exceptions.PolarsError, OSError) as error:
                raise read_error(path, error) from error
        # The names of the columns are the same. In Parquet, types can have different widths in different partitions.
        combined = pl.concat(frames, how="vertical_relaxed")
        if combined.is_empty():
            raise self._no_rows_error()
        return _drop_empty_surplus(combined)

    def batches(self, rows: int) -> Iterator[pl.DataFrame]:
        """Yield all rows in chunks of at most `rows`, each from one file. Raises `DataError` as `frame` does."""
        is_empty = True
        for path in self.paths:
            chunks = self._parquet_chunks(path, rows) if self.parquet else self._csv_chunks(path, rows)
            while (chunk := _next_batch(chunks, path)) is not None:
                if len(chunk):
                    is_empty = False
                    yield _drop_empty_surplus(chunk)
        if is_empty:
            raise self._no_rows_error()

    def partitions(self) -> tuple[FileSource, ...]:
        """Return one source for each file."""
        return tuple(FileSource(str(path), (path,), self.columns, self.parquet) for path in self.paths)

    def _parquet_chunks(self, path: Path, rows: int) -> Iterator[pl.DataFrame]:
        return self._scan(path).collect_batches(chunk_size=rows, maintain_order=True, lazy=True)

    def _csv_chunks(self, path: Path, rows: int) -> Iterator[pl.DataFrame]:
        row_offset = 0
        for index, content in enumerate(iter_csv_chunks(path)):
            chunk_rows = self._scan_csv(content, has_header=index == 0, row_offset=row_offset).collect()
            row_offset += len(chunk_rows)
            yield from self._with_file_column(chunk_rows.lazy(), path).collect().iter_slices(rows)

    def _scan(self, path: Path) -> pl.LazyFrame:
        if not self.parquet:
            return self._with_file_column(self._scan_csv(path), path)
        rows = pl.scan_parquet(path, row_index_name=ROW_COLUMN, row_index_offset=1, glob=False)
        return self._with_file_column(rows.select(ROW_COLUMN, *self.columns), path)

    def _scan_csv(self, source: Path | bytes, *, has_header: bool = True, row_offset: int = 0) -> pl.LazyFrame:
        """Scan all cells as text, so that an invalid cell becomes a validation reason and doesn't fail the file.

        One column more than the header shows which lines have too many cells. `row_offset` rows come before this scan.
        """
        return pl.scan_csv(
            source,
            has_header=has_header,
            schema=dict.fromkeys((*self.columns, SURPLUS_COLUMN), pl.String()),
            missing_columns="insert",
            truncate_ragged_lines=True,
            row_index_name=ROW_COLUMN,
            row_index_offset=1 + row_offset,
            glob=False,
        )

    def _with_file_column(self, rows: pl.LazyFrame, path: Path) -> pl.LazyFrame:
        """Add the file name. Blank lines of a CSV file aren't rows and are removed."""
        if not self.parquet:
            rows = rows.filter(~pl.all_horizontal(pl.col(self.columns).is_null()))
        file_names = pl.Enum([str(file_path) for file_path in self.paths])
        return rows.with_columns(pl.lit(str(path), file_names).alias(FILE_COLUMN))

    def _no_rows_error(self) -> DataError:
        return DataError(f"{self.name} has a header and no rows.", "Use a file with at least one row.")


def open_files(location: str) -> FileSource:
    """Open a file, the CSV or Parquet files below a folder, or the files that match a glob.

    Raises `DataError` if there is no file, if a file isn't CSV or Parquet, or if partitions have different columns.
    """
    paths = _resolve_paths(location)
    parquet_by_path = {path: is_parquet(path) for path in paths}
    first = paths[0]
    mismatched = next((path for path in paths if parquet_by_path[path] != parquet_by_path[first]), None)
    if mismatched is not None:
        raise DataError(
            f"{location} contains CSV and Parquet files ({first.name}, {mismatched.name}).", "Use one format."
        )
    read_columns = parquet_columns if parquet_by_path[first] else csv_columns
    columns = read_columns(first)
    for path in paths[1:]:
        partition_columns = read_columns(path)
        if set(partition_columns) != set(columns):
            missing_columns = sorted(set(columns) - set(partition_columns))
            difference = (
                f"lacks {', '.join(missing_columns)}"
                if missing_columns
                else f"adds {', '.join(sorted(set(partition_columns) - set(columns)))}"
            )
            raise DataError(
                f"The partition {path} {difference}, compared with {first}.", "Use partitions with the same columns."
            )
        if partition_columns != columns and not parquet_by_path[first]:
            raise DataError(
                f"The partition {path} has the columns of {first} in another order.", "Use the same order in both."
            )
    return FileSource(location, paths, columns, parquet_by_path[first])


def _resolve_paths(location: str) -> tuple[Path, ...]:
    path = Path(location)
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
    elif has_magic(location):
        candidates = _glob_paths(path)
        hint = "Check the pattern. ** matches any number of folders."
    else:
        raise _missing_file_error(path)
    files = tuple(sorted(candidate for candidate in candidates if candidate.is_file()))
    if not files:
        raise DataError(f"No file matches {location}.", hint)
    return files


def _glob_paths(pattern: Path) -> list[Path]:
    """Return the matches of a pattern below its last folder without wildcards."""
    base = next(folder for folder in pattern.parents if not has_magic(str(folder.relative_to(pattern.anchor))))
    return list(base.glob(str(pattern.relative_to(base))))


def _folder_name(folder: Path) -> str:
    return "The current folder" if folder == Path() else str(folder)


def _missing_file_error(path: Path) -> DataError:
    folder = path.parent
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    nearby_names = (
        sorted(entry.name for entry in folder.iterdir() if entry.suffix.lower() in _SUFFIXES)[:5]
        if folder.is_dir()
        else []
    )
    hint = f"{_folder_name(folder)} contains {', '.join(nearby_names)}." if nearby_names else "Check the path."
    return DataError(f"There is no file {path}.", hint)


def _next_batch(chunks: Iterator[pl.DataFrame], path: Path) -> pl.DataFrame | None:
    try:
        return next(chunks, None)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise read_error(path, error) from error


def _drop_empty_surplus(frame: pl.DataFrame) -> pl.DataFrame:
    """Remove the surplus column if no line has a surplus cell."""
    if SURPLUS_COLUMN in frame.columns and not frame[SURPLUS_COLUMN].is_not_null().any():
        return frame.drop(SURPLUS_COLUMN)
    return frame


def is_parquet(path: Path) -> bool:
    """Return whether a file is Parquet, by its first bytes. Raises `DataError` if it can't be read or is empty."""
    head = _read_head(path)
    if not head.strip():
        raise DataError(f"{path} is empty.", "Use a file with a header and rows.")
    if head.startswith(_PARQUET_MAGIC):
        return True
    if path.suffix.lower() == ".parquet":
        raise DataError(
            f"{path} has the suffix .parquet, but isn't a Parquet file.", "Export it again as Parquet, or rename it."
        )
    return False


def parquet_columns(path: Path) -> tuple[str, ...]:
    """Return the columns of a Parquet file. Raises `DataError` if it's damaged."""
    try:
        return _check_column_names(path, pl.read_parquet_schema(path))
    except (pl.exceptions.PolarsError, OSError) as error:
        raise read_error(path, error) from error


def csv_columns(path: Path) -> tuple[str, ...]:
    """Return the columns of a comma-separated file in UTF-8. Raises `DataError` for any other file."""
    head = _read_head(path)
    file_format = next((name for magic, name in _FORMATS_BY_MAGIC.items() if head.startswith(magic)), None)
    if file_format is None and b"\x00" in head:
        file_format = "binary"
    if file_format:
        raise DataError(f"{path} is {file_format}, not CSV.", "Export it as CSV in UTF-8 or as Parquet.")
    text = head.decode("utf-8-sig", errors="replace")
    if "�" in text.splitlines()[0]:
        raise read_error(path, ValueError("the header is not UTF-8"))
    try:
        # Lines end in a line feed, as in the reader of the whole file.
        names = tuple(next(csv.reader(io.StringIO(text, newline="\n"))))
    except csv.Error as error:
        raise DataError(
            f"The header of {path} can't be read ({error}).", "Export it as CSV with a line feed after every row."
        ) from error
    if len(names) == 1:
        delimiter_name = next(
            (delimiter_word for delimiter, delimiter_word in _DELIMITER_NAMES.items() if delimiter in names[0]), None
        )
        if delimiter_name:
            raise DataError(
                f"{path} is separated by {delimiter_name}, not by commas.", "Export it with commas as the separator."
            )
    return _check_column_names(path, names)


def read_error(path: Path, error: Exception) -> DataError:
    """Return an error that describes why a file can't be read."""
    first_line = str(error).splitlines()[0][:160] if str(error) else type(error).__name__
    if path.suffix.lower() == ".parquet" or _read_head(path).startswith(_PARQUET_MAGIC):
        return DataError(
            f"{path} is a damaged Parquet file ({first_line}).", "Export it again. It's possibly truncated."
        )
    invalid = _find_invalid_utf8(path)
    if invalid is not None:
        offset, line, byte = invalid
        return DataError(
            f"{path} is not UTF-8: byte {offset:,} (line {line:,}) is 0x{byte:02x}.",
            "Export it in UTF-8. In spreadsheet programs, choose 'CSV UTF-8'.",
        )
    return DataError(
        f"{path} can't be read as CSV ({first_line}).", "Check for a quotation mark without a closing one."
    )


def _check_column_names(path: Path, names: Iterable[str]) -> tuple[str, ...]:
    """Return the names. Raises `DataError` if one appears twice or is reserved for reader columns."""
    columns = tuple(names)
    duplicated = sorted({name for name in columns if columns.count(name) > 1})
    if duplicated:
        raise DataError(
            f"{path} has the column {', '.join(duplicated) or 'without a name'} more than once.",
            "Give each column a unique name.",
        )
    reserved = [name for name in columns if name in READER_COLUMNS]
    if reserved:
        raise DataError(f"{path} has the column {', '.join(reserved)}, which is reserved.", "Rename the column.")
    return columns


def _read_head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_HEAD_BYTES)
    except OSError as error:
        raise DataError(
            f"{path} can't be read ({error.strerror}).", "Check that the file exists and that you can read it."
        ) from error


def _find_invalid_utf8(path: Path) -> tuple[int, int, int] | None:
    """Return (byte offset, line, byte) of the first byte that isn't valid UTF-8, or None. Reads the file in blocks."""
    offset, line, remainder = 0, 1, b""
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            data = remainder + block
            try:
                data.decode("utf-8")
                remainder = b""
            except UnicodeDecodeError as error:
                if error.end < len(data) or "unexpected end" not in error.reason:
                    return offset + error.start, line + data.count(b"\n", 0, error.start), data[error.start]
                remainder = data[error.start :]
            decoded_bytes = len(data) - len(remainder)
            offset, line = offset + decoded_bytes, line + data.count(b"\n", 0, decoded_bytes)
    return (offset, line, remainder[0]) if remainder else None
