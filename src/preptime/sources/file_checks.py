"""Checks of a file before it's read: its format, its columns, and the cause of an error in one sentence."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path

import polars as pl

from preptime.domain.data_dictionary import READER_COLUMNS
from preptime.errors import DataError

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
