"""Tests of splitting CSV into rows: wherever the file is cut, and wherever a quotation mark is."""

from __future__ import annotations

import csv
import gzip
import io
from functools import partial
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from preptime.domain.data_dictionary import ROW_COLUMN, SURPLUS_COLUMN
from preptime.errors import DataError
from preptime.schema.schema import TAKE_HOME_SCHEMA
from preptime.sources import csv_rows
from preptime.sources.csv_rows import CsvLayout, iter_csv_chunks
from preptime.sources.files import open_files
from preptime.sources.source import estimate_rows

LAYOUT = CsvLayout(b",", 3)
CELLS = st.text(st.sampled_from('ab,;"\n é1'), max_size=6)
LINES = st.lists(st.one_of(st.just([]), st.lists(CELLS, min_size=1, max_size=4)), min_size=1, max_size=12)
"""Blank lines, short lines, and lines with a surplus cell. Cells contain delimiters, quotes, and line feeds."""
HEADER = b"at,id,note,items\n"
FILES = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def encode_csv(lines: list[list[str]], delimiter: str = ",") -> bytes:
    """Return the lines as CSV, after a header of three columns and a complete row."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n", delimiter=delimiter)
    writer.writerows([["a", "b", "c"], ["x", "y", "z"], *lines])
    return text.getvalue().encode()


def read_both(path: Path, size: int, rows: int = 1000) -> pl.DataFrame:
    """Return the frame of a file, after a check that batches from chunks of `size` bytes have the same rows."""
    source = open_files(str(path), TAKE_HOME_SCHEMA)
    frame = source.frame()
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("preptime.sources.files.iter_csv_chunks", partial(iter_csv_chunks, size=size))
        batches = pl.concat(source.batches(rows), how="diagonal")
    assert batches.select(frame.columns).equals(frame)
    assert batches.width == frame.width
    return frame


def read_rows(path: Path, body: bytes, size: int = 7) -> list[tuple[str | None, ...]]:
    """Return the rows after `HEADER`: the note, the items, and what makes the line malformed."""
    path.write_bytes(HEADER + body)
    frame = read_both(path, size)
    surplus = pl.col(SURPLUS_COLUMN) if SURPLUS_COLUMN in frame.columns else pl.lit(None).alias(SURPLUS_COLUMN)
    return frame.select("note", "items", surplus).rows()


def possible_row(cells: list[str], delimiter: str) -> bool:
    """Return whether two lines of a row have as many delimiters as rows, and numbers."""
    lines = encode_csv([cells], delimiter).decode().split("\n")[2:]
    return sum("1" in line and line.count(delimiter) > 1 for line in lines) > 1


@FILES
@given(
    LINES,
    st.integers(1, 60),
    st.sampled_from([b"", b"\xef\xbb\xbf"]),
    st.tuples(st.sampled_from([1, 3, 1000]), st.sampled_from(",;\t|")),
)
@example([["x\n\n\ny", "2"], [], ["4", "5", "6", "7"]], 1, b"\xef\xbb\xbf", (1, ","))
@example([["", "", "", "7"], ["", "x\ny"], ["3"]], 8, b"", (1000, ";"))
@example([["1\n1", "", ""]], 1, b"", (1000, "|"))
def test_valid_csv_is_read_as_python_reads_it(
    tmp_path: Path, lines: list[list[str]], size: int, start: bytes, format_: tuple[int, str]
) -> None:
    rows, delimiter = format_
    assume(not any(possible_row(line, delimiter) for line in lines))
    path = tmp_path / "orders.csv"
    content = encode_csv(lines, delimiter)
    path.write_bytes(start + content)
    frame = read_both(path, size, rows)
    reader = csv.reader(io.StringIO(content.decode(), newline=""), delimiter=delimiter)
    expected = [cells for cells in reader if any(cells)][1:]
    columns = [pl.col(name).fill_null("") for name in "abc"]
    read = [[*row] for row in frame.select(columns).rows() if any(row)]
    assert read == [[*cells, "", ""][:3] for cells in expected if any(cells[:3])]
    malformed = sum(1 for cells in expected if "".join(cells[3:]))
    assert (frame[SURPLUS_COLUMN].is_not_null().sum() if SURPLUS_COLUMN in frame.columns else 0) == malformed


@FILES
@given(st.text(st.sampled_from('a,"\n\r é1'), max_size=60), st.integers(1, 40))
@example('5" pizza,2\n3\n', 8)
@example('"a\n"b",c\n\n"d\n', 3)
@example('1,"\n2,"",\n', 1)
def test_any_text_gives_the_same_rows_in_chunks(tmp_path: Path, text: str, size: int) -> None:
    path = tmp_path / "orders.csv"
    path.write_bytes(b"a,b,c\nx,y,z\n" + text.encode())
    read_both(path, size)
    with path.open("rb") as file:
        chunks = list(iter_csv_chunks(file, LAYOUT, size))
    assert sum(chunk.lines for chunk in chunks) == path.read_bytes().count(b"\n")
    assert all(len(chunk.first_lines()) == chunk.rows for chunk in chunks)


NOTES = st.text(st.sampled_from("ab\" '"), max_size=5)


@FILES
@given(st.lists(NOTES, min_size=1, max_size=10), st.integers(1, 60))
@example(['"start', "ok", 'end"', 'x"'], 9)
@example(['"', '"', '"'], 100)
def test_quotation_mark_costs_at_most_its_row(tmp_path: Path, notes: list[str], size: int) -> None:
    """Notes that a program wrote without quoting them."""
    path = tmp_path / "orders.csv"
    body = "".join(f"2015-06-01 12:{index:02d},7,{note},{index}\n" for index, note in enumerate(notes))
    rows = read_rows(path, body.encode(), size)
    assert len(rows) == len(notes)
    for index, (note, (read, items, problem)) in enumerate(zip(notes, rows, strict=True)):
        if not note.startswith('"'):
            assert (read or "", items, problem) == (note, str(index), None)
        elif problem is not None:
            assert problem.startswith(f"line {index + 2}: ")


def test_stray_quotation_mark_is_a_letter(tmp_path: Path) -> None:
    path = tmp_path / "orders.csv"
    assert read_rows(path, b'2015-06-01,1,12" pizza,3\n2015-06-02,2,ok,4\n') == [
        ('12" pizza', "3", None),
        ("ok", "4", None),
    ]
    assert read_rows(path, b'2015-06-01,1,"12" pizza",3\r\n2015-06-02,2,"a" ,4\r\n') == [
        ('12 pizza"', "3", None),
        ("a ", "4", None),
    ]


@pytest.mark.parametrize(
    ("body", "notes"),
    [
        (b'2015-06-01,1,"great,3\n2015-06-02,2,ok,4\n2015-06-03,3,"a\nb",5\n', ['"great', "ok", "a\nb"]),
        (b'2015-06-01,1,"great,3\n2015-06-02,2,12",4\n2015-06-03,3,c,5\n', ['"great', '12"', "c"]),
        (b'2015-06-01,1,"great,3\n2015-06-02,2,"quoted, ok",4\n2015-06-03,3,"",5', ['"great', "quoted, ok", ""]),
        (
            b'"2015-06-01","1","great,"3"\n"2015-06-02","2","ok","4"\n"2015-06-03","3","c","5"\n',
            ['great,3"', "ok", "c"],
        ),
    ],
)
@pytest.mark.parametrize("size", [1, 50, 8 << 20])
def test_unclosed_quotation_mark_makes_its_line_malformed(
    tmp_path: Path, body: bytes, notes: list[str], size: int
) -> None:
    rows = read_rows(tmp_path / "orders.csv", body, size)
    assert [note for note, _, _ in rows] == notes
    assert [(problem or "")[:8] for _, _, problem in rows] == ["line 2: ", "", ""]


def test_unclosed_quotation_mark_needs_bounded_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_rows, "MAX_CELL_BYTES", 100)
    path = tmp_path / "orders.csv"
    path.write_bytes(b'x,"note' + b"\nletters" * 1_000)
    with path.open("rb") as file:
        chunks = list(iter_csv_chunks(file, LAYOUT, 200))
    assert sum(chunk.rows for chunk in chunks) == 1_001
    assert all(len(chunk.content) < 400 for chunk in chunks)


def test_quoted_line_breaks_are_read(tmp_path: Path) -> None:
    """A cell is one cell even if its lines contain delimiters, and if a line has as many cells as the header."""
    note = b'"Dear,\r\n""a"", b, c, d\r\n\r\nbye, bye"'
    first = b'"2015-06-01\n12:00",1,x,2\n"Fish, 2\nChips",7,y,3\n'
    assert [row[0] for row in read_rows(tmp_path / "orders.csv", first, 5)] == ["x", "y"]
    rows = read_rows(tmp_path / "orders.csv", b"2015-06-01,1," + note + b",3\n" + b"2015-06-02,2,x,4\n", 5)
    assert rows == [('Dear,\r\n"a", b, c, d\r\n\r\nbye, bye', "3", None), ("x", "4", None)]


def test_malformed_line_is_numbered_as_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "orders.csv"
    path.write_bytes(b'a,"b\n",c\n1,"x\ny",3\n\n1,2,3,4\n"z\n1,12"",3\n5,6,7,,8\n')
    frame = read_both(path, 6)
    assert frame[ROW_COLUMN].to_list() == [1, 3, 4, 5, 6]
    assert frame[SURPLUS_COLUMN].to_list() == [None, "line 6: 4", 'line 7: "z', None, None]


def test_rows_that_polars_lost_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from preptime.sources.file_format import scan_csv

    path = tmp_path / "orders.csv"
    path.write_bytes(b"a,b\n1,2\n3,4\n")
    monkeypatch.setattr("preptime.sources.files.scan_csv", lambda *a, **o: scan_csv(*a, **o).head(1))
    with pytest.raises(DataError, match="2 rows expected from line 2 on, 1 found"):
        open_files(str(path), TAKE_HOME_SCHEMA).frame()


def test_iter_csv_chunks_bounds_the_chunk_size(tmp_path: Path) -> None:
    path = tmp_path / "orders.csv"
    path.write_bytes(b'1,"x\ny"\n' * 1000)
    with path.open("rb") as file:
        chunks = list(iter_csv_chunks(file, CsvLayout(b",", 2), 100))
    assert all(len(chunk.content) < 200 for chunk in chunks)
    assert all(chunk.content.endswith(b"\n") and chunk.content.count(b'"') % 2 == 0 for chunk in chunks)
    assert b"".join(chunk.content for chunk in chunks) == path.read_bytes()


def test_compressed_file_has_the_same_rows(tmp_path: Path) -> None:
    content = HEADER + b'2015-06-01,1,12" pizza,3\n' * 1_000
    (tmp_path / "a.csv").write_bytes(content)
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress(content))
    plain, compressed = (read_both(tmp_path / name, 100) for name in ("a.csv", "b.csv.gz"))
    assert compressed.drop("_file").equals(plain.drop("_file"))
    estimates = [estimate_rows(open_files(str(tmp_path / name), TAKE_HOME_SCHEMA)) for name in ("a.csv", "b.csv.gz")]
    assert estimates[0] == estimates[1] == 1_001
    assert len(open_files(str(tmp_path), TAKE_HOME_SCHEMA).frame()) == 2_000
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress(content)[:-20])
    with pytest.raises(DataError, match=r"b\.csv\.gz is a damaged gzip file"):
        open_files(str(tmp_path / "b.csv.gz"), TAKE_HOME_SCHEMA).frame()
