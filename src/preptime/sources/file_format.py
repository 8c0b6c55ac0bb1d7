"""The format, the columns, and the errors of an input file, checked before its rows are read.

An error states the cause in one sentence.
"""

from __future__ import annotations

import gzip
import os
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, cast
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import polars as pl
from polars.datatypes import DataTypeClass

from preptime.domain.data_dictionary import READER_COLUMNS, ROW_COLUMN
from preptime.errors import DataError
from preptime.formatting import escape_surrogates, join_names

_GZIP_ERRORS: tuple[type[BaseException], ...] = (gzip.BadGzipFile, EOFError, zlib.error)
READ_ERRORS: tuple[type[BaseException], ...] = (
    pl.exceptions.PolarsError,
    pl.exceptions.PanicException,
    OSError,
    *_GZIP_ERRORS,
)
"""The errors of Polars and of gzip while a file is read. A panic doesn't derive from `Exception`."""

HEAD_BYTES = 65_536
_BLOCK_BYTES = 1 << 22
_PARQUET_MAGIC, _GZIP_MAGIC = b"PAR1", b"\x1f\x8b"
_BYTE_ORDER_MARKS = (b"\xef\xbb\xbf", b"\xff\xfe\x00\x00", b"\x00\x00\xfe\xff", b"\xff\xfe", b"\xfe\xff")
_BLANK_BYTES = b" \t\r\n\v\f\x00"
_FORMATS_BY_MAGIC = {
    b"PK\x03\x04": "an Excel workbook or zip archive",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook",
    _GZIP_MAGIC: "compressed twice with gzip",
    b"\x28\xb5\x2f\xfd": "zstd-compressed",
    b"BZh": "bzip2-compressed",
    b"%PDF": "a PDF",
    b"SQLite": "an SQLite database",
    b"ARROW1": "an Arrow file",
    b"Obj\x01": "an Avro file",
    b"\xff\xfe\x00\x00": "text in UTF-32",
    b"\x00\x00\xfe\xff": "text in UTF-32",
    b"\xff\xfe": "text in UTF-16",
    b"\xfe\xff": "text in UTF-16",
}
_UNKNOWN_ZONE_VARIABLE = "POLARS_IGNORE_TIMEZONE_PARSE_ERROR"


def path_text(path: Path) -> str:
    r"""Return a path as text that every encoder accepts. Bytes that aren't UTF-8 become escapes, such as `\xff`."""
    return escape_surrogates(str(path))


def is_parquet(path: Path) -> bool:
    """Return whether a file is Parquet, by its first bytes. Raises `DataError` if it can't be read or is empty."""
    head = read_head(path)
    mark = next((mark for mark in _BYTE_ORDER_MARKS if head.startswith(mark)), b"")
    if not head[len(mark) :].strip(_BLANK_BYTES) and (mark or not head.strip()):
        content = "contains only a byte order mark" if mark else "is empty"
        raise DataError(f"{path_text(path)} {content}.", "Use a file with a header and rows.")
    if head.startswith(_PARQUET_MAGIC):
        if is_compressed(path):
            raise DataError(f"{path_text(path)} is a Parquet file inside a gzip file.", "Decompress it with gunzip.")
        return True
    if path.suffix.lower() == ".parquet":
        raise DataError(
            f"{path_text(path)} has the suffix .parquet, but isn't a Parquet file.",
            "Export it again as Parquet, or rename it.",
        )
    return False


def scan_parquet(path: Path, *, row_index_name: str | None = None) -> pl.LazyFrame:
    """Scan a Parquet file. Timestamps with a time zone that Polars doesn't know, such as `+05:30`, become UTC.

    Parquet stores them as instants, so that the values stay the same.
    """
    # Without this variable, Polars panics for such a time zone. It's read at every scan.
    os.environ.setdefault(_UNKNOWN_ZONE_VARIABLE, "1")
    with _polars_input(path) as source:
        rows = pl.scan_parquet(source, row_index_name=row_index_name, row_index_offset=1, glob=False)
    schema = rows.collect_schema()
    casts = [pl.col(name).cast(known) for name, dtype in schema.items() if (known := _with_known_zones(dtype)) != dtype]
    return rows.with_columns(casts) if casts else rows


def parquet_columns(path: Path) -> tuple[str, ...]:
    """Return the columns of a Parquet file. Raises `DataError` if it's damaged."""
    try:
        return check_column_names(path, scan_parquet(path).collect_schema().names())
    except READ_ERRORS as error:
        raise read_error(path, error) from error


def scan_csv(content: bytes, columns: Iterable[str], *, delimiter: str = ",", row_offset: int = 0) -> pl.LazyFrame:
    """Scan all cells as text, so that an invalid cell becomes a validation reason and doesn't fail the file.

    `content` is valid CSV without a header. `row_offset` rows come before it.
    """
    return pl.scan_csv(
        content,
        has_header=False,
        separator=delimiter,
        schema=dict.fromkeys(columns, pl.String()),
        missing_columns="insert",
        extra_columns="ignore",  # without it, Polars fails if the first line has surplus cells
        truncate_ragged_lines=True,
        row_index_name=ROW_COLUMN,
        row_index_offset=1 + row_offset,
    )


def open_decompressed(path: Path) -> BinaryIO:
    """Open a file, and decompress it while it's read if it's compressed with gzip."""
    return cast("BinaryIO", gzip.open(path)) if is_compressed(path) else path.open("rb")


def is_compressed(path: Path) -> bool:
    """Return whether a file is compressed with gzip, by its first bytes."""
    with path.open("rb") as file:
        return file.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC


def decompressed_size(path: Path) -> int:
    """Return the size of a file, or an estimate of its decompressed size, from the last 4 bytes of a gzip file."""
    size = path.stat().st_size
    if not is_compressed(path):
        return size
    with path.open("rb") as file:
        file.seek(-4, os.SEEK_END)
        return max(size, int.from_bytes(file.read(4), "little"))


def read_error(path: Path, error: BaseException) -> DataError:
    """Return an error that describes why a file can't be read."""
    first_line = str(error).splitlines()[0][:160] if str(error) else type(error).__name__
    if isinstance(error, _GZIP_ERRORS):
        return DataError(
            f"{path_text(path)} is a damaged gzip file ({first_line}).", "Compress it again. It's possibly truncated."
        )
    if path.suffix.lower() == ".parquet" or read_head(path).startswith(_PARQUET_MAGIC):
        if first_line.startswith("precision must be"):
            return DataError(
                f"{path_text(path)} has a column whose type can't be read ({first_line}).",
                "Export the column with another type. Decimal numbers can have at most 38 digits.",
            )
        return DataError(
            f"{path_text(path)} is a damaged Parquet file ({first_line}).", "Export it again. It's possibly truncated."
        )
    invalid = _find_invalid_utf8(path)
    if invalid is not None:
        offset, line, byte = invalid
        return DataError(
            f"{path_text(path)} is not UTF-8: byte {offset:,} (line {line:,}) is 0x{byte:02x}.",
            "Export it in UTF-8. In spreadsheet programs, choose 'CSV UTF-8'.",
        )
    return DataError(
        f"{path_text(path)} can't be read as CSV ({first_line}).", "Check for a quotation mark without a closing one."
    )


@contextmanager
def _polars_input(path: Path) -> Iterator[Path | BinaryIO]:
    """Yield what Polars can scan: the path, or an open file if the path isn't UTF-8. Polars duplicates the handle."""
    if path_text(path) != str(path):
        with path.open("rb") as file:
            yield file
    else:
        yield path


def _with_known_zones(dtype: pl.DataType | DataTypeClass) -> pl.DataType | DataTypeClass:
    """Return a type with UTC in place of every time zone that Polars or Python doesn't know."""
    if isinstance(dtype, pl.Datetime) and dtype.time_zone is not None and not _is_known_zone(dtype.time_zone):
        return pl.Datetime(dtype.time_unit, "UTC")
    if isinstance(dtype, pl.List):
        return pl.List(_with_known_zones(dtype.inner))
    if isinstance(dtype, pl.Array):
        return pl.Array(_with_known_zones(dtype.inner), dtype.size)
    if isinstance(dtype, pl.Struct):
        return pl.Struct({field.name: _with_known_zones(field.dtype) for field in dtype.fields})
    return dtype


@lru_cache(maxsize=1024)
def _is_known_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
        pl.Series([0]).cast(pl.Datetime("us")).dt.replace_time_zone(name)
    except (ZoneInfoNotFoundError, ValueError, OSError, pl.exceptions.PolarsError):
        return False
    return True


def check_is_text(path: Path) -> None:
    """Raise `DataError` if the first bytes of a file aren't text in UTF-8."""
    head = read_head(path)
    file_format = next((name for magic, name in _FORMATS_BY_MAGIC.items() if head.startswith(magic)), None)
    if file_format is None and b"\x00" in head:
        file_format = "binary"
    if file_format:
        raise DataError(f"{path_text(path)} is {file_format}, not CSV.", "Export it as CSV in UTF-8 or as Parquet.")


def check_column_names(path: Path, names: Iterable[str]) -> tuple[str, ...]:
    """Return the names. Raises `DataError` if one appears twice or is reserved for reader columns."""
    columns = tuple(names)
    duplicated = sorted(name for name, count in Counter(columns).items() if count > 1)
    if duplicated:
        raise DataError(
            f"{path_text(path)} has the column {join_names(duplicated) or 'without a name'} more than once.",
            "Give each column a unique name.",
        )
    reserved = [name for name in columns if name in READER_COLUMNS]
    if reserved:
        raise DataError(
            f"{path_text(path)} has the column {join_names(reserved)}, which is reserved.", "Rename the column."
        )
    return columns


def read_head(path: Path) -> bytes:
    """Return the first `HEAD_BYTES` of a file, decompressed. Raises `DataError` if it can't be read."""
    try:
        with open_decompressed(path) as file:
            return file.read(HEAD_BYTES)
    except _GZIP_ERRORS as error:
        raise read_error(path, error) from error
    except OSError as error:
        raise DataError(
            f"{path_text(path)} can't be read ({error.strerror}).",
            "Check that the file exists and that you can read it.",
        ) from error


def _find_invalid_utf8(path: Path) -> tuple[int, int, int] | None:
    """Return (byte offset, line, byte) of the first byte that isn't valid UTF-8, or None. Reads the file in blocks."""
    offset, line, remainder = 0, 1, b""
    with open_decompressed(path) as file:
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
