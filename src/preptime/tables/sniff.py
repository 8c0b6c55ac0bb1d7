"""A look at a file before it is read: what it is, its columns, and what is wrong with it in one sentence."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path

import polars as pl

from preptime.errors import DataError
from preptime.tables.columns import ADDED

_HEAD_BYTES = 65_536
_BLOCK_BYTES = 1 << 22
_PARQUET = b"PAR1"
_NOT_CSV = {
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
_OTHER_DELIMITERS = {";": "semicolons", "\t": "tabs", "|": "bars"}


def is_parquet(path: Path) -> bool:
    """Whether this is a parquet file, by its first bytes. Raises `DataError` when it cannot be read or is empty."""
    head = _head(path)
    if not head.strip():
        raise DataError(f"{path} is empty.", "Give a file with a header and rows.")
    if head.startswith(_PARQUET):
        return True
    if path.suffix.lower() == ".parquet":
        raise DataError(f"{path} is called parquet but does not begin like it.", "Write it again as parquet or csv.")
    return False


def parquet_columns(path: Path) -> tuple[str, ...]:
    """The columns of a parquet file. Raises `DataError` when it is damaged."""
    try:
        return _own(path, pl.read_parquet_schema(path))
    except (pl.exceptions.PolarsError, OSError) as error:
        raise read_error(path, error) from error


def csv_columns(path: Path) -> tuple[str, ...]:
    """The columns of a csv file in UTF-8, separated by commas. Raises `DataError` when it is anything else."""
    head = _head(path)
    kind = next((name for magic, name in _NOT_CSV.items() if head.startswith(magic)), None)
    if kind is None and b"\x00" in head:
        kind = "binary"
    if kind:
        raise DataError(f"{path} is {kind}, not csv.", "Write it as csv in UTF-8 or as parquet.")
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
        found = next((word for sign, word in _OTHER_DELIMITERS.items() if sign in names[0]), None)
        if found:
            raise DataError(f"{path} seems to be separated by {found}, not commas.", "Write it with commas.")
    return _own(path, names)


def read_error(path: Path, error: Exception) -> DataError:
    """What is wrong with a file that a reader gave up on."""
    first = str(error).splitlines()[0][:160] if str(error) else type(error).__name__
    if path.suffix.lower() == ".parquet" or _head(path).startswith(_PARQUET):
        return DataError(f"{path} is a damaged parquet file ({first}).", "Write it again; it may have been cut short.")
    wrong = _not_utf8(path)
    if wrong is not None:
        offset, line, byte = wrong
        return DataError(
            f"{path} is not UTF-8: byte {offset:,} (line {line:,}) is 0x{byte:02x}.",
            "Write it in UTF-8; spreadsheets call it 'CSV UTF-8'.",
        )
    return DataError(
        f"{path} cannot be read as csv ({first}).", "Look for a quotation mark that is opened and never closed."
    )


def _own(path: Path, names: Iterable[str]) -> tuple[str, ...]:
    """The names, refused when one appears twice or is kept for the reader's own columns."""
    columns = tuple(names)
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if twice:
        raise DataError(
            f"{path} has the column {', '.join(twice) or 'without a name'} more than once.",
            "Give each column its own name.",
        )
    taken = [name for name in columns if name in ADDED]
    if taken:
        raise DataError(f"{path} has the column {', '.join(taken)}, a name kept for the reader.", "Rename it.")
    return columns


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_HEAD_BYTES)
    except OSError as error:
        raise DataError(
            f"{path} cannot be read ({error.strerror}).", "Check that it exists and may be read."
        ) from error


def _not_utf8(path: Path) -> tuple[int, int, int] | None:
    """(byte offset, line, the byte) where a file stops being UTF-8, reading in blocks; None when it never does."""
    offset, line, rest = 0, 1, b""
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            data = rest + block
            try:
                data.decode("utf-8")
                rest = b""
            except UnicodeDecodeError as error:
                if error.end < len(data) or "unexpected end" not in error.reason:
                    return offset + error.start, line + data.count(b"\n", 0, error.start), data[error.start]
                rest = data[error.start :]
            done = len(data) - len(rest)
            offset, line = offset + done, line + data.count(b"\n", 0, done)
    return (offset, line, rest[0]) if rest else None
