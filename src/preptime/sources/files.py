"""Data sources that are files: one CSV or Parquet file, a folder of partitions, or a glob.

A CSV file is read in chunks of whole rows, so that memory holds one chunk. Polars' own batch reader keeps the file in
memory and reads ahead: it takes 420 MB for a file of 200 MB, and chunks take 120 MB. `python -m benchmarks dashboard`
measures this in a whole upload.

Before a file is read, its format and its columns are checked. Afterward, its size and its modification time must be the
same as before. Otherwise, reading fails, because the rows may be from different states of the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from glob import has_magic
from pathlib import Path
from urllib.parse import unquote

import polars as pl

from preptime.domain.data_dictionary import FILE_COLUMN, RESTAURANTS_DICTIONARY, ROW_COLUMN, SURPLUS_COLUMN
from preptime.errors import DataError, OperationError, PreptimeError
from preptime.formatting import join_names
from preptime.schema.schema import TAKE_HOME_SCHEMA, Schema
from preptime.sources.csv_header import CsvHeader, read_csv_header
from preptime.sources.csv_rows import CsvChunk, iter_csv_chunks
from preptime.sources.file_format import (
    READ_ERRORS,
    is_compressed,
    is_parquet,
    open_decompressed,
    parquet_columns,
    path_text,
    read_error,
    scan_csv,
    scan_parquet,
)
from preptime.sources.source import concat_files

_SUFFIXES = (".csv", ".csv.gz", ".parquet")
_CHANGED_HINT = "Run the command again. Write new files under another name, and rename them when they are complete."
_PARTITION_FOLDER = re.compile(r"([^=]+)=(.*)")
NULL_PARTITION = "__HIVE_DEFAULT_PARTITION__"


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
    """The columns in the file."""
    header: CsvHeader | None
    """None for a Parquet file."""
    partition: Mapping[str, str | None]
    """The columns in the names of its folders, such as `city=London`, that the file itself doesn't have."""

    @classmethod
    def open(cls, path: Path, base: Path, schema: Schema) -> InputFile:
        """Read the columns of a file below the folder `base`. Raises `DataError` if it isn't CSV or Parquet."""
        state = FileState.of(path)
        header = None if is_parquet(path) else read_csv_header(path, schema.source.delimiter, _known_columns(schema))
        columns = parquet_columns(path) if header is None else header.names
        folders = path.relative_to(base).parts[:-1]
        partition = {name: value for name, value in partition_values(folders) if name not in columns}
        return cls(path, state, columns, header, partition)

    def check_unchanged(self) -> None:
        """Raise `OperationError` if the file was written, replaced, or deleted after it was opened."""
        _check_unchanged_file(self.path, self.state)


def _check_unchanged_file(path: Path, state: FileState | None) -> None:
    current = FileState.of(path)
    if current == state:
        return
    change = "was deleted while it was read"
    if current is not None and state is not None:
        before, after = f"{state.size_bytes:,} bytes", f"{current.size_bytes:,} bytes"
        sizes = f"it still has {after}" if before == after else f"it had {before} and now has {after}"
        change = f"changed while it was read: {sizes}"
    raise OperationError(f"The file {path_text(path)} {change}.", _CHANGED_HINT)


@dataclass(frozen=True)
class FileSource:
    """Files of one format with the same columns, in the order of their names."""

    location: Path
    """A file, a folder, or a glob."""
    files: tuple[InputFile, ...]
    columns: tuple[str, ...]
    schema: Schema = TAKE_HOME_SCHEMA
    """The schema of the rows."""
    empty_files: tuple[tuple[Path, FileState | None], ...] = ()
    """Files of 0 bytes next to the others, which have no rows."""

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
        chunks = []
        for file in self.files:
            try:
                chunks.append((path_text(file.path), self._add_reader_columns(self._read(file), file)))
            except READ_ERRORS as error:
                raise self._read_error(file, error) from error
        self._check_unchanged()
        combined = concat_files(self, chunks)
        if combined.is_empty():
            raise self._no_rows_error()
        return _drop_empty_surplus(combined)

    def batches(self, rows: int) -> Iterator[pl.DataFrame]:
        """Yield all rows in chunks of at most `rows`, each from one file. Raises the same errors as `frame`."""
        is_empty = True
        for file in self.files:
            chunks = self._parquet_chunks(file, rows) if file.header is None else _csv_chunks(file, file.header, rows)
            while (chunk := self._next_chunk(chunks, file)) is not None:
                if len(chunk):
                    is_empty = False
                    yield _drop_empty_surplus(self._add_reader_columns(chunk, file))
        self._check_unchanged()
        if is_empty:
            raise self._no_rows_error()

    def partitions(self) -> tuple[FileSource, ...]:
        """Return one source for each file."""
        return tuple(FileSource(file.path, (file,), self.columns, self.schema) for file in self.files)

    def _check_unchanged(self) -> None:
        """Raise `OperationError` if a file changed, or if the folder or the glob has other files than before."""
        for file in self.files:
            file.check_unchanged()
        for path, state in self.empty_files:
            _check_unchanged_file(path, state)
        # A hidden file can be the output of this command, which isn't complete yet.
        known_paths = {*self.paths, *(path for path, _ in self.empty_files)}
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

    def _read(self, file: InputFile) -> pl.DataFrame:
        if file.header is None:
            return self._scan_parquet(file).collect()
        return pl.concat([_empty_rows(file.header), *_csv_chunks(file, file.header)])

    def _scan_parquet(self, file: InputFile) -> pl.LazyFrame:
        return scan_parquet(file.path, row_index_name=ROW_COLUMN).select(ROW_COLUMN, *self._file_columns)

    @property
    def _file_columns(self) -> tuple[str, ...]:
        """The columns in the files, in the order of the first one."""
        return self.files[0].columns

    def _add_reader_columns(self, rows: pl.DataFrame, file: InputFile) -> pl.DataFrame:
        file_names = pl.Enum([path_text(path) for path in self.paths])
        return rows.with_columns(
            *(pl.lit(value, pl.String()).alias(name) for name, value in file.partition.items()),
            pl.lit(path_text(file.path), file_names).alias(FILE_COLUMN),
        )

    def _no_rows_error(self) -> DataError:
        return DataError(f"{self.name} has a header and no rows.", "Use a file with at least one row.")


def open_files(location: str, schema: Schema) -> FileSource:
    """Open a file, the CSV or Parquet files below a folder, or the files that match a glob.

    `schema.source` is the format of CSV files.

    Raises `DataError` if there is no file, if a file isn't CSV or Parquet, or if partitions have different columns.
    """
    path = Path(location)
    found = _resolve_paths(path)
    empty_files = tuple((name, FileState.of(name)) for name in found if name.stat().st_size == 0)
    empty_paths = {name for name, _ in empty_files} if len(empty_files) < len(found) else {*()}
    base = _base_folder(path)
    files = tuple(InputFile.open(name, base, schema) for name in found if name not in empty_paths)
    source = FileSource(path, files, (*files[0].columns, *files[0].partition), schema, empty_files)
    for file in files[1:]:
        _check_same_columns(source.name, files[0], file)
    return source


def _known_columns(schema: Schema) -> frozenset[str]:
    """Return the names that the files of a schema can have."""
    orders = (column.column for column in schema.orders.values())
    restaurants = (schema.restaurant_column(column.name) for column in RESTAURANTS_DICTIONARY)
    return frozenset((*orders, *restaurants, *(feature.column for feature in schema.features)))


def partition_values(folders: Iterable[str]) -> Iterator[tuple[str, str | None]]:
    """Yield the column and the value in each name of a folder, such as `city=K%C3%B6ln`. Spark writes such folders."""
    for folder in folders:
        if match := _PARTITION_FOLDER.fullmatch(folder):
            yield match[1], None if match[2] == NULL_PARTITION else unquote(match[2])


def _check_same_columns(name: str, first: InputFile, file: InputFile) -> None:
    """Raise `DataError` if two files differ in format, columns, or the order of CSV columns."""
    if (file.header is None) != (first.header is None):
        raise DataError(
            f"{name} contains CSV and Parquet files ({path_text(Path(first.path.name))}, "
            f"{path_text(Path(file.path.name))}).",
            "Use one format.",
        )
    if file.columns == first.columns and [*file.partition] == [*first.partition]:
        return
    columns, first_columns = {*file.columns, *file.partition}, {*first.columns, *first.partition}
    missing, added = first_columns - columns, columns - first_columns
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


def data_files(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder that are read, in no order, also those of 0 bytes."""
    for path in folder.rglob("*"):
        if _is_data_file(path.relative_to(folder)) and path.is_file():
            yield path


def _resolve_paths(path: Path) -> tuple[Path, ...]:
    if path.is_file():
        return (path,)
    if path.is_dir():
        candidates = list(data_files(path))
        hint = "Use a folder that contains .csv, .csv.gz, or .parquet files."
    elif has_magic(str(path)):
        candidates = _glob_paths(path)
        hint = "Check the pattern. ** matches any number of folders."
    else:
        raise _missing_file_error(path)
    files = tuple(sorted(candidate for candidate in candidates if candidate.is_file()))
    if not files:
        raise DataError(f"No file matches {path_text(path)}.", hint)
    return files


def _is_data_file(path: Path) -> bool:
    """Return whether a file below a folder is data.

    By convention, names that start with a dot or an underscore are markers and temporary files.
    """
    return _has_suffix(path) and not any(part[0] in "._" for part in path.parts)


def _has_suffix(path: Path) -> bool:
    return path.name.lower().endswith(_SUFFIXES)


def _base_folder(path: Path) -> Path:
    """Return the folder below which folder names can contain columns."""
    if path.is_dir():
        return path
    return path.parent if path.is_file() else _folder_without_wildcards(path)


def _folder_without_wildcards(pattern: Path) -> Path:
    return next(folder for folder in pattern.parents if not has_magic(str(folder.relative_to(pattern.anchor))))


def _glob_paths(pattern: Path) -> list[Path]:
    """Return the matches of a pattern below its last folder without wildcards."""
    base = _folder_without_wildcards(pattern)
    return list(base.glob(str(pattern.relative_to(base))))


def _folder_name(folder: Path) -> str:
    return "The current folder" if folder == Path() else path_text(folder)


def _missing_file_error(path: Path) -> DataError:
    folder = path.parent
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    nearby_names = (
        sorted(path_text(Path(entry.name)) for entry in folder.iterdir() if _has_suffix(entry))[:5]
        if folder.is_dir()
        else []
    )
    hint = f"{_folder_name(folder)} contains {', '.join(nearby_names)}." if nearby_names else "Check the path."
    return DataError(f"There is no file {path_text(path)}.", hint)


def _csv_chunks(file: InputFile, header: CsvHeader, rows: int | None = None) -> Iterator[pl.DataFrame]:
    """Yield the rows of a CSV file without blank lines, in chunks of at most `rows` if it isn't None."""
    row_offset, line = 0, header.lines + 1
    end = None if file.state is None or is_compressed(file.path) else file.state.size_bytes
    with open_decompressed(file.path) as content:
        content.seek(header.size_bytes)
        for chunk in iter_csv_chunks(content, header.layout, end=end):
            parsed = scan_csv(chunk.content, _csv_columns(header), delimiter=header.delimiter, row_offset=row_offset)
            chunk_rows = parsed.collect()
            if len(chunk_rows) != chunk.rows:
                raise pl.exceptions.ComputeError(
                    f"{chunk.rows:,} rows expected from line {line:,} on, {len(chunk_rows):,} found"
                )
            cleaned = _drop_blank_lines(_describe_surplus(chunk_rows, header, chunk, line), header.names)
            row_offset, line = row_offset + chunk.rows, line + chunk.lines
            yield from [cleaned] if rows is None else cleaned.iter_slices(rows)


def _csv_columns(header: CsvHeader) -> tuple[str, ...]:
    """Return the columns of a CSV file and those beyond them, which show the lines with too many cells."""
    return (*header.names, *(f"{SURPLUS_COLUMN}{index or ''}" for index in range(header.surplus_cells)))


def _empty_rows(header: CsvHeader) -> pl.DataFrame:
    return pl.DataFrame(
        schema={ROW_COLUMN: pl.get_index_type(), **dict.fromkeys((*header.names, SURPLUS_COLUMN), pl.String())}
    )


def _describe_surplus(rows: pl.DataFrame, header: CsvHeader, chunk: CsvChunk, line: int) -> pl.DataFrame:
    """Return the rows with one surplus column: the line in the file, and the text beyond the header's columns."""
    surplus_columns = _csv_columns(header)[len(header.names) :]
    surplus = rows.select(pl.coalesce(surplus_columns)).to_series()
    malformed_rows = surplus.is_not_null().arg_true()
    if len(malformed_rows):
        # Polars reads only the first of the surplus cells.
        texts = pl.Series(chunk.surplus_texts(malformed_rows, header.layout))
        lines = pl.Series(chunk.first_lines() + line).gather(malformed_rows).cast(pl.String())
        surplus = surplus.scatter(malformed_rows, "line " + lines + ": " + texts)
    return rows.drop(surplus_columns).with_columns(surplus.alias(SURPLUS_COLUMN))


def _drop_blank_lines(rows: pl.DataFrame, columns: tuple[str, ...]) -> pl.DataFrame:
    """Remove the blank lines of a CSV file, which aren't rows.

    As a filter of the scan, this takes 26 s for a header of 2,000 columns.
    """
    is_blank = rows.select(pl.all_horizontal(pl.col(*columns, SURPLUS_COLUMN).is_null())).to_series()
    return rows.filter(~is_blank) if is_blank.any() else rows


def _drop_empty_surplus(frame: pl.DataFrame) -> pl.DataFrame:
    """Remove the surplus column if no line has a surplus cell."""
    if SURPLUS_COLUMN in frame.columns and not frame[SURPLUS_COLUMN].is_not_null().any():
        return frame.drop(SURPLUS_COLUMN)
    return frame
