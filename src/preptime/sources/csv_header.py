"""The header and the delimiter of a CSV file, read from its first lines.

The delimiter is the one of the schema, or else of a `sep=` line, or else the one that splits the header and most of the
first rows into the same number of cells.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from preptime.errors import DataError
from preptime.sources.csv_rows import CsvLayout
from preptime.sources.file_format import (
    HEAD_BYTES,
    READ_ERRORS,
    check_column_names,
    check_is_text,
    open_decompressed,
    path_text,
    read_error,
    read_head,
)

DELIMITERS = (",", ";", "\t", "|")
"""The delimiters that are detected. The schema can name another one."""
_MAX_HEADER_BYTES = 1 << 26
"""A million column names need 7 MB. A longer line isn't a header."""
_SAMPLE_ROWS = 20
_MAX_TITLE_CELLS = 2
_SEPARATOR_LINE = re.compile(rb'\xef\xbb\xbf"?sep=(.)"?\r?\n|"?sep=(.)"?\r?\n', re.IGNORECASE)
"""A first line that Excel writes and reads. It isn't a part of the table."""
_NUMBER = re.compile(r"\s*[+-]?[0-9][0-9 .,:/TZ+-]*\s*")
_DELIMITER_HINT = "Name it in schema.toml: [source] delimiter = {}"


@dataclass(frozen=True, slots=True)
class CsvHeader:
    """The header of a CSV file. Quoted column names can contain line feeds."""

    names: tuple[str, ...]
    """Without empty names at the end, which spreadsheet programs write for empty columns."""
    lines: int
    size_bytes: int
    delimiter: str
    surplus_cells: int
    """The number of empty names at the end, and one."""

    @property
    def layout(self) -> CsvLayout:
        """How the rows are split."""
        return CsvLayout(self.delimiter.encode(), len(self.names))


class _SampleRow(NamedTuple):
    """A row of the sample that isn't blank."""

    line: int
    cells: list[str]

    @property
    def width(self) -> int:
        """The number of cells, without empty ones at the end."""
        return len(_without_empty_end(self.cells))


def read_csv_header(path: Path, delimiter: str = "", known_columns: Collection[str] = ()) -> CsvHeader:
    """Return the header of a CSV file in UTF-8. Raises `DataError` for any other file.

    Args:
        path: A CSV file, possibly compressed with gzip.
        delimiter: The declared delimiter. By default, it's detected.
        known_columns: Columns of the schema. They decide if several delimiters split the first rows.
    """
    check_is_text(path)
    head = read_head(path)
    separator_line = _SEPARATOR_LINE.match(head)
    skipped = head[: separator_line.end()] if separator_line else b""
    separator = (separator_line[1] or separator_line[2]).decode("latin-1") if separator_line else ""
    sample = _Sample(path, _sample_text(head, len(skipped)), 1 + bool(skipped))
    delimiter = delimiter or separator or sample.detect_delimiter(known_columns)
    sample.check(delimiter)
    lines: list[bytes] = [skipped] if skipped else []
    try:
        with open_decompressed(path) as file:
            file.seek(len(skipped))
            blocks = iter(partial(file.readline, _MAX_HEADER_BYTES), b"")
            names = tuple(next(csv.reader(_decode_lines(blocks, lines), delimiter=delimiter), ()))
    except UnicodeDecodeError as error:
        raise read_error(path, error) from error
    except csv.Error as error:
        raise DataError(f"The header of {path_text(path)} can't be read ({error}).", _csv_hint(error)) from error
    except READ_ERRORS as error:
        raise read_error(path, error) from error
    named = check_column_names(path, _without_empty_end(names))
    size_bytes = sum(len(line) for line in lines)
    return CsvHeader(named, len(lines), size_bytes, delimiter, len(names) - len(named) + 1)


@dataclass(frozen=True, slots=True)
class _Sample:
    """The first rows of a CSV file, split with each possible delimiter."""

    path: Path
    text: str
    first_line: int

    def rows(self, delimiter: str) -> list[_SampleRow]:
        """Return the rows that aren't blank, up to one that can't be read."""
        reader = csv.reader(io.StringIO(self.text, newline=""), delimiter=delimiter)
        rows: list[_SampleRow] = []
        line = self.first_line
        try:
            for cells in reader:
                if any(cells):
                    rows.append(_SampleRow(line, cells))
                line = self.first_line + reader.line_num
                if len(rows) > _SAMPLE_ROWS:
                    break
        except csv.Error:
            pass  # The header is read again, and its errors are reported then.
        return rows

    def detect_delimiter(self, known_columns: Collection[str]) -> str:
        """Return the delimiter. Raises `DataError` if several are possible."""
        rows = {delimiter: self.rows(delimiter) for delimiter in DELIMITERS}
        candidates = [delimiter for delimiter in DELIMITERS if rows[delimiter] and len(rows[delimiter][0].cells) > 1]
        if len(candidates) > 1:
            candidates = [delimiter for delimiter in candidates if _is_consistent(rows[delimiter])] or candidates
        if len(candidates) > 1:
            known = {name: len({*rows[name][0].cells} & {*known_columns}) for name in candidates}
            candidates = [name for name in candidates if known[name] == max(known.values())]
        if len(candidates) > 1:
            counts = " and ".join(f"{len(rows[name][0].cells):,} cells with {name!r}" for name in candidates)
            raise DataError(
                f"The delimiter of {path_text(self.path)} is ambiguous: line {self.first_line} has {counts}.",
                _DELIMITER_HINT.format(" or ".join(map(_toml_text, candidates)) + "."),
            )
        return candidates[0] if candidates else DELIMITERS[0]

    def check(self, delimiter: str) -> None:
        """Raise `DataError` if another delimiter splits the header, or if title lines precede it."""
        rows = self.rows(delimiter)
        if not rows:
            return
        if len(rows[0].cells) == 1:
            self._check_other_delimiters(rows[0], delimiter)
        titles = _find_header_after_titles(rows) if rows[0].width > 1 else None
        for other in DELIMITERS if rows[0].width <= 1 else ():
            titles = titles or _find_header_after_titles(self.rows(other))
        if titles:
            count = f"{rows[0].width} {'cell' if rows[0].width == 1 else 'cells'}"
            raise DataError(
                f"Line {rows[0].line} of {path_text(self.path)} has {count} and line {titles.line} has "
                f"{titles.width}: the file seems to start with title lines.",
                f"Delete the lines before line {titles.line}, so that the file starts with the names of the columns.",
            )

    def _check_other_delimiters(self, header: _SampleRow, delimiter: str) -> None:
        headers = {other: self.rows(other)[:1] for other in DELIMITERS if other != delimiter}
        widths = {other: len(rows[0].cells) if rows else 0 for other, rows in headers.items()}
        other = max(widths, key=lambda name: widths[name])
        if widths[other] > 1:
            raise DataError(
                f"Line {header.line} of {path_text(self.path)} has 1 cell with the delimiter {delimiter!r}, and "
                f"{widths[other]} with {other!r}.",
                _DELIMITER_HINT.format(f"{_toml_text(other)}."),
            )


def _sample_text(head: bytes, start: int) -> str:
    """Return the text from `start`. In a longer file, the last line is cut, so it isn't included."""
    end = head.rfind(b"\n") + 1 if len(head) == HEAD_BYTES else len(head)
    return head[start : end if end > start else None].decode("utf-8-sig", "replace")


def _toml_text(delimiter: str) -> str:
    return '"\\t"' if delimiter == "\t" else f'"{delimiter}"'


def _is_consistent(rows: list[_SampleRow]) -> bool:
    """Return whether most rows have as many cells as the header. Empty cells at the end don't count."""
    header, *others = rows
    return 2 * sum(len(row.cells) >= header.width >= row.width for row in others) >= len(others)


def _find_header_after_titles(rows: list[_SampleRow]) -> _SampleRow | None:
    """Return the row of names after title lines: wider than them, without numbers, and as wide as all later rows."""
    widest = max((row.width for row in rows), default=0)
    index = next((index for index, row in enumerate(rows) if row.width == widest), 0)
    header, later = (rows[index], rows[index + 1 :]) if index else (None, [])
    if (
        header is None
        or not _could_be_title(rows[0], header)
        or any(_NUMBER.fullmatch(cell) or not cell for cell in header.cells[:widest])
    ):
        return None
    has_number = any(_NUMBER.fullmatch(cell) for row in later for cell in row.cells)
    return header if has_number and all(len(row.cells) >= widest for row in later) else None


def _could_be_title(line: _SampleRow, header: _SampleRow) -> bool:
    """Return whether the first line has far fewer cells than a later one. Otherwise, the later one is malformed."""
    return line.width <= _MAX_TITLE_CELLS and header.width >= line.width + 2


def _without_empty_end(names: Iterable[str]) -> tuple[str, ...]:
    """Return the names without empty ones at the end. The first one stays."""
    kept = list(names)
    while len(kept) > 1 and not kept[-1].strip():
        kept.pop()
    return tuple(kept)


def _decode_lines(lines: Iterable[bytes], read_lines: list[bytes]) -> Iterator[str]:
    """Yield lines as text, and append the ones that were read to `read_lines`."""
    for line in lines:
        encoding = "utf-8" if read_lines else "utf-8-sig"
        read_lines.append(line)
        yield line.decode(encoding)


def _csv_hint(error: csv.Error) -> str:
    if "field limit" in str(error):
        return "Check for a quotation mark without a closing one, or use a shorter column name."
    return "Export it as CSV with a line feed after every row."
