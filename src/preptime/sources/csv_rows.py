"""Splits the bytes of a CSV file into chunks of whole rows. A stray quotation mark costs at most its own row.

Polars reads valid CSV fast, but a stray quotation mark makes it refuse the whole file. So a chunk with quotation marks
is checked first. If it isn't valid (RFC 4180), its lines with quotation marks are written again before Polars reads it:

- A mark inside an unquoted cell is a letter. Text after the closing mark of a cell belongs to the cell. Python's `csv`
  module reads both in the same way.
- A cell with line breaks needs a closing mark directly before a delimiter or the end of a line. None of its later lines
  can look like a row, and it can have at most `MAX_CELL_BYTES`. Otherwise, the opening mark was not closed: the line
  with this mark is one malformed row, and the rows after it are read.

A line looks like a row if it and the line with the opening mark both have as many cells as the header, if that mark is
a letter, and if it has numbers or times in the same cells. The cell with the mark doesn't count.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

CHUNK_BYTES = 8 << 20
MAX_CELL_BYTES = 16 << 20
"""A quoted cell with line breaks can't be longer, so that an unclosed quotation mark needs bounded memory."""

_QUOTE, _LINE_FEED = b'"', b"\n"
_QUOTE_BYTE, _LINE_FEED_BYTE, _RETURN_BYTE = _QUOTE[0], _LINE_FEED[0], 13
_NUMBER_OR_TIME = re.compile(rb"[+-]?[0-9][0-9 .,:/TZ+-]*(?:[AaPp][Mm])?")
_UNCLOSED, _INCOMPLETE = -1, -2


@dataclass(frozen=True, slots=True)
class CsvLayout:
    """How the rows of a CSV file are split."""

    delimiter: bytes
    """One ASCII character."""
    columns: int
    """The number of columns with a name. A row with a cell beyond them is malformed."""


@dataclass(frozen=True, slots=True)
class CsvChunk:
    """Whole rows as valid CSV. Blank lines are rows here."""

    content: bytes
    rows: int
    lines: int
    """The number of lines in the file. A row with line breaks has several."""

    def first_lines(self) -> NDArray[np.int64]:
        """Return [rows] the position of each row's first line in the chunk, from 0."""
        row_ends = np.flatnonzero(_Positions.of(self.content).is_row_end)
        return np.concatenate([np.zeros(1, np.int64), row_ends + 1])[: self.rows]

    def surplus_texts(self, rows: Iterable[int], layout: CsvLayout) -> list[str]:
        """Return the text beyond the columns in each of `rows`, whose positions are from 0."""
        positions = _Positions.of(self.content)
        ends = [*positions.line_feeds[positions.is_row_end].tolist(), len(self.content)]
        texts = []
        for row in rows:
            line = self.content[ends[row - 1] + 1 if row else 0 : ends[row]].removesuffix(b"\r")
            cells = [_decode_cell(cell) for cell in _split_line(line, layout.delimiter)[layout.columns :]]
            texts.append(layout.delimiter.join(cells).strip(layout.delimiter).decode())
        return texts


def iter_csv_chunks(
    file: BinaryIO, layout: CsvLayout, size: int = CHUNK_BYTES, *, end: int | None = None
) -> Iterator[CsvChunk]:
    """Yield the rows from the position of `file` to the byte `end` in chunks of about `size` bytes.

    Without `end`, a file that another program appends to can be endless. A row that is larger than `size` isn't split.
    """
    remainder, is_last = b"", False
    while not is_last:
        block = file.read(size if end is None else max(min(size, end - file.tell()), 0))
        is_last = not block
        data = remainder + block
        chunk, taken = _take_rows(data, layout, is_last=is_last)
        remainder = data[taken:]
        if chunk.content:
            yield chunk


@dataclass(frozen=True, slots=True)
class _Positions:
    """The positions of quotation marks and line feeds in CSV."""

    values: NDArray[np.uint8]
    marks: NDArray[np.int64]
    line_feeds: NDArray[np.int64]
    is_row_end: NDArray[np.bool_]
    """Which line feeds have an even number of marks before them. In valid CSV, they end a row."""

    @classmethod
    def of(cls, data: bytes) -> _Positions:
        values = np.frombuffer(data, np.uint8)
        marks, line_feeds = np.flatnonzero(values == _QUOTE_BYTE), np.flatnonzero(values == _LINE_FEED_BYTE)
        return cls(values, marks, line_feeds, np.searchsorted(marks, line_feeds) % 2 == 0)

    def before(self, end: int) -> _Positions:
        """Return the positions before `end`."""
        marks, line_feeds = np.searchsorted(self.marks, end), np.searchsorted(self.line_feeds, end)
        return _Positions(
            self.values[:end], self.marks[:marks], self.line_feeds[:line_feeds], self.is_row_end[:line_feeds]
        )

    @property
    def last_row_end(self) -> int:
        """The position after the last line feed that ends a row, or 0."""
        row_ends = np.flatnonzero(self.is_row_end)
        return int(self.line_feeds[row_ends[-1]]) + 1 if len(row_ends) else 0

    @property
    def rows(self) -> int:
        """The number of rows, the last of which can be without a line feed."""
        is_unterminated = len(self.values) > 0 and self.values[-1] != _LINE_FEED_BYTE
        return int(np.count_nonzero(self.is_row_end)) + bool(is_unterminated)


def _take_rows(data: bytes, layout: CsvLayout, *, is_last: bool) -> tuple[CsvChunk, int]:
    """Return the whole rows at the start of `data`, and the number of bytes taken."""
    if _QUOTE not in data:
        end = len(data) if is_last else data.rfind(_LINE_FEED) + 1
        lines = int(np.count_nonzero(np.frombuffer(data, np.uint8, count=end) == _LINE_FEED_BYTE)) if end else 0
        is_unterminated = end > 0 and data[end - 1] != _LINE_FEED_BYTE
        return CsvChunk(data[:end], lines + is_unterminated, lines), end
    positions = _Positions.of(data)
    end = len(data) if is_last else positions.last_row_end
    positions = positions.before(end)
    if end and _are_marks_valid(positions, layout.delimiter[0]) and not _has_possible_row(positions, layout):
        return CsvChunk(data[:end], positions.rows, len(positions.line_feeds)), end
    content, taken = _repair(data, layout, is_last=is_last)
    return CsvChunk(content, _Positions.of(content).rows, data.count(_LINE_FEED, 0, taken)), taken


def _are_marks_valid(positions: _Positions, delimiter: int) -> bool:
    """Return whether every quotation mark opens a cell, closes one, or is one of two in a quoted cell."""
    values, marks = positions.values, positions.marks
    if len(marks) % 2:
        return False
    opening, closing = marks[::2], marks[1::2]
    # The index -1 means the last byte. It's replaced by a line feed, as if the content had one before and after it.
    before, after = values[opening - 1], np.append(values, np.uint8(_LINE_FEED_BYTE))[closing + 1]
    before[opening == 0] = _LINE_FEED_BYTE
    is_start = (before == delimiter) | (before == _LINE_FEED_BYTE) | (before == _QUOTE_BYTE)
    is_end = (after == delimiter) | (after == _LINE_FEED_BYTE) | (after == _QUOTE_BYTE)
    returns = closing[after == _RETURN_BYTE]
    if len(returns):
        is_end[after == _RETURN_BYTE] = values[np.minimum(returns + 2, len(values) - 1)] == _LINE_FEED_BYTE
    return bool(is_start.all() and is_end.all())


def _has_possible_row(positions: _Positions, layout: CsvLayout) -> bool:
    """Return whether a line that starts in a quoted cell has as many delimiters as a row."""
    if positions.is_row_end.all():
        return False
    delimiters = np.flatnonzero(positions.values == layout.delimiter[0])
    delimiters_before = np.searchsorted(delimiters, np.append(positions.line_feeds, len(positions.values)))
    return bool((np.diff(delimiters_before)[~positions.is_row_end] >= layout.columns - 1).any())


def _repair(data: bytes, layout: CsvLayout, *, is_last: bool) -> tuple[bytes, int]:
    """Return the whole rows as valid CSV, and the number of bytes taken. Rows without quotation marks are unchanged."""
    parts: list[bytes] = []
    copied = position = 0
    while (mark := data.find(_QUOTE, position)) >= 0:
        start = max(data.rfind(_LINE_FEED, position, mark) + 1, position)
        row = _parse_row(data, start, layout, is_last=is_last)
        if row is None:
            return b"".join([*parts, data[copied:start]]), start
        position, replacement = row
        if replacement is not None:
            parts += (data[copied:start], replacement)
            copied = position
    end = len(data) if is_last else max(data.rfind(_LINE_FEED) + 1, position)
    return b"".join([*parts, data[copied:end]]), end


def _parse_row(data: bytes, start: int, layout: CsvLayout, *, is_last: bool) -> tuple[int, bytes | None] | None:
    """Return the end of the row at `start` and its replacement, or None if the end isn't in `data`.

    A row that is valid CSV has no replacement.
    """
    line_start = position = start
    line_end = _find_line_end(data, start, is_last=is_last)
    if line_end == _INCOMPLETE:
        return None
    cells: list[bytes] = []
    stray_cell = b""
    while True:
        mark = position
        if data.startswith(_QUOTE, position):
            mark = _find_closing_mark(data, position, (line_start, line_end), layout, is_last=is_last)
        if mark == _INCOMPLETE:
            return None
        if mark == _UNCLOSED:
            unclosed = _split_line(data[position:line_end].removesuffix(b"\r"), layout.delimiter)
            return _after(data, line_end), _malformed_row([*cells, *unclosed], unclosed[0], layout)
        if mark > line_end:
            line_start = data.rfind(_LINE_FEED, line_end, mark) + 1
            line_end = _find_line_end(data, mark, is_last=True)
        rest = data[mark:line_end].removesuffix(b"\r")
        cell = data[position:mark] + rest.partition(layout.delimiter)[0]
        cells.append(cell)
        is_valid = mark == position + len(cell) - 1 if mark > position else _QUOTE not in cell
        stray_cell = stray_cell if is_valid else stray_cell or cell
        position += len(cell) + 1
        if layout.delimiter not in rest:
            break
    if not stray_cell:
        return _after(data, line_end), None
    if len(cells) < layout.columns:
        return _after(data, line_end), _malformed_row(cells, stray_cell, layout)
    return _after(data, line_end), layout.delimiter.join(map(_encode_cell, cells)) + _LINE_FEED


def _after(data: bytes, line_end: int) -> int:
    return min(line_end + 1, len(data))


def _find_line_end(data: bytes, position: int, *, is_last: bool) -> int:
    """Return the index of the next line feed, or of the end of the file, or `_INCOMPLETE`."""
    end = data.find(_LINE_FEED, position)
    if end >= 0:
        return end
    return len(data) if is_last else _INCOMPLETE


def _next_mark(data: bytes, position: int, end: int) -> int:
    """Return the next quotation mark that isn't one of two, or -1."""
    while (mark := data.find(_QUOTE, position, end)) >= 0 and data.startswith(_QUOTE, mark + 1):
        position = mark + 2
    return mark


def _find_closing_mark(
    data: bytes, opening_mark: int, line: tuple[int, int], layout: CsvLayout, *, is_last: bool
) -> int:
    """Return the mark that closes the cell opened at `opening_mark`, `_UNCLOSED`, or `_INCOMPLETE`.

    `line` is the start and the end of the line with the opening mark.
    """
    line_start, line_end = line
    opening_line = data[line_start:line_end]
    mark = _next_mark(data, opening_mark + 1, line_end)
    while mark < 0:
        start = line_end + 1
        if start >= len(data):
            return _UNCLOSED if is_last or start - opening_mark > MAX_CELL_BYTES else _INCOMPLETE
        line_end = _find_line_end(data, start, is_last=is_last)
        if (len(data) if line_end == _INCOMPLETE else line_end) - opening_mark > MAX_CELL_BYTES:
            return _UNCLOSED
        if line_end == _INCOMPLETE:
            return _INCOMPLETE
        if _is_row(data[start:line_end], opening_line, opening_mark - line_start, layout):
            return _UNCLOSED
        mark = _next_mark(data, start, line_end)
        if mark >= 0 and not _ends_cell(data[mark + 1 : line_end], layout.delimiter):
            return _UNCLOSED
    return mark


def _ends_cell(rest: bytes, delimiter: bytes) -> bool:
    """Return whether a delimiter or the end of the line comes next."""
    return rest in {b"", b"\r"} or rest.startswith(delimiter)


def _is_row(line: bytes, opening_line: bytes, mark: int, layout: CsvLayout) -> bool:
    """Return whether a line and the opening line are rows with numbers or times in the same cells.

    `mark` is the position of the opening mark in its line.
    """
    if line.count(layout.delimiter) < layout.columns - 1:
        return False
    cells = [_bare(cell) for cell in _split_line(line, layout.delimiter)]
    if len(cells) < layout.columns or any(cells[layout.columns :]):
        return False
    opening_cells = [_bare(cell) for cell in _split_line(opening_line, layout.delimiter)]
    opened_cell = len(_split_line(opening_line[:mark], layout.delimiter)) - 1
    numeric = [
        cell
        for index, (cell, opening) in enumerate(zip(cells, opening_cells, strict=False))
        if index != opened_cell and _NUMBER_OR_TIME.fullmatch(opening)
    ]
    if len(opening_cells) < layout.columns or not any(numeric):
        return False
    return all(not cell or _NUMBER_OR_TIME.fullmatch(cell) for cell in numeric)


def _bare(cell: bytes) -> bytes:
    return cell.strip(b' "\r')


def _split_line(line: bytes, delimiter: bytes) -> list[bytes]:
    """Return the cells of one line with their quotation marks. A mark without a closing one is a letter."""
    cells: list[bytes] = []
    position = 0
    while position <= len(line):
        mark = _next_mark(line, position + 1, len(line)) if line.startswith(_QUOTE, position) else position
        end = line.find(delimiter, max(mark, position))
        cells.append(line[position : None if end < 0 else end])
        position = len(line) + 1 if end < 0 else end + 1
    return cells


def _encode_cell(cell: bytes) -> bytes:
    """Return a cell as valid CSV. Text after a closing mark belongs to the cell."""
    if _QUOTE not in cell:
        return cell
    mark = _next_mark(cell, 1, len(cell)) if cell.startswith(_QUOTE) else -1
    return _quote(cell) if mark < 0 else cell[:mark] + _double(cell[mark + 1 :]) + _QUOTE


def _decode_cell(cell: bytes) -> bytes:
    """Return the text of a cell of valid CSV."""
    return cell[1:-1].replace(_QUOTE * 2, _QUOTE) if cell.startswith(_QUOTE) else cell


def _double(text: bytes) -> bytes:
    return text.replace(_QUOTE, _QUOTE * 2)


def _quote(text: bytes) -> bytes:
    return _QUOTE + _double(text) + _QUOTE


def _malformed_row(cells: list[bytes], stray_cell: bytes, layout: CsvLayout) -> bytes:
    """Return a row with the cell that contains the stray mark as its surplus cell."""
    named = [_encode_cell(cell) for cell in cells[: layout.columns]]
    named += [b""] * (layout.columns - len(named))
    return layout.delimiter.join([*named, _quote(stray_cell)]) + _LINE_FEED
