"""A look at a file before it is read: what it is, its columns, and what is wrong with it in one sentence."""

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
_DELIMITER_NAMES = {";": "semicolons", "\t": "tabs", "|": "bars"}


def is_parquet(path: Path) -> bool:
    """Whether this is a parquet file, by its first bytes. Raises `DataError` when it cannot be read or is empty."""
    head = _read_head(path)
    if not head.strip():
        raise DataError(f"{path} is empty.", "Give a file with a header and rows.")
    if head.startswith(_PARQUET_MAGIC):
        return True
    if path.suffix.lower() == ".parquet":
        raise DataError(f"{path} is called parquet but does not begin like it.", "Write it again as parquet or csv.")
    return False


def parquet_columns(path: Path) -> tuple[str, ...]:
    """The columns of a parquet file. Raises `DataError` when it is damaged."""
    try:
        return _check_column_names(path, pl.read_parquet_schema(path))
    except (pl.exceptions.PolarsError, OSError) as error:
        raise read_error(path, error) from error


def csv_columns(path: Path) -> tuple[str, ...]:
    """The columns of a csv file in UTF-8, separated by commas. Raises `DataError` when it is anything else."""
    head = _read_head(path)
    file_format = next((name for magic, name in _FORMATS_BY_MAGIC.items() if head.startswith(magic)), None)
    if file_format is None and b"\x00" in head:
        file_format = "binary"
    if file_format:
        raise DataError(f"{path} is {file_format}, not csv.", "Write it as csv in UTF-8 or as parquet.")
    text = head.decode("utf-8-sig", errors="replace")
    if "�" in text.splitlines()[0]:
        raise read_error(path, ValueError("the header is not UTF-8"))
    try:
        # Lines end in a line feed here, as they do for the reader of the whole file.
        names = tuple(next(csv.reader(io.StringIO(text, newline="\n"))))
    except csv.Error as error:
        raise DataError(
            f"The header of {path} cannot be read ({error}).", "Write it as csv with a line feed after every row."
        ) from error
    if len(names) == 1:
        delimiter_name = next(
            (delimiter_word for delimiter, delimiter_word in _DELIMITER_NAMES.items() if delimiter in names[0]), None
        )
        if delimiter_name:
            raise DataError(f"{path} seems to be separated by {delimiter_name}, not commas.", "Write it with commas.")
    return _check_column_names(path, names)


def read_error(path: Path, error: Exception) -> DataError:
    """What is wrong with a file that a reader gave up on."""
    first_line = str(error).splitlines()[0][:160] if str(error) else type(error).__name__
    if path.suffix.lower() == ".parquet" or _read_head(path).startswith(_PARQUET_MAGIC):
        return DataError(
            f"{path} is a damaged parquet file ({first_line}).", "Write it again; it may have been cut short."
        )
    invalid = _find_invalid_utf8(path)
    if invalid is not None:
        offset, line, byte = invalid
        return DataError(
            f"{path} is not UTF-8: byte {offset:,} (line {line:,}) is 0x{byte:02x}.",
            "Write it in UTF-8; spreadsheets call it 'CSV UTF-8'.",
        )
    return DataError(
        f"{path} cannot be read as csv ({first_line}).", "Look for a quotation mark that is opened and never closed."
    )


def _check_column_names(path: Path, names: Iterable[str]) -> tuple[str, ...]:
    """The names, refused when one appears twice or is kept for the reader's own columns."""
    columns = tuple(names)
    duplicated = sorted({name for name in columns if columns.count(name) > 1})
    if duplicated:
        raise DataError(
            f"{path} has the column {', '.join(duplicated) or 'without a name'} more than once.",
            "Give each column its own name.",
        )
    reserved = [name for name in columns if name in READER_COLUMNS]
    if reserved:
        raise DataError(f"{path} has the column {', '.join(reserved)}, a name kept for the reader.", "Rename it.")
    return columns


def _read_head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_HEAD_BYTES)
    except OSError as error:
        raise DataError(
            f"{path} cannot be read ({error.strerror}).", "Check that it exists and may be read."
        ) from error


def _find_invalid_utf8(path: Path) -> tuple[int, int, int] | None:
    """(byte offset, line, the byte) where a file stops being UTF-8, reading in blocks; None when it never does."""
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
