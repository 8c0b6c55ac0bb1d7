"""Tests of the delimiter, the `sep=` line, the title lines, and the empty columns of CSV files."""

from __future__ import annotations

from pathlib import Path

import msgspec
import polars as pl
import pytest

from preptime.domain.data_dictionary import FILE_COLUMN, ROW_COLUMN, SURPLUS_COLUMN
from preptime.errors import DataError
from preptime.schema.schema import TAKE_HOME_SCHEMA, SourceDialect
from preptime.sources.files import open_files

ROWS = [("2015-06-01 12:00", "21,40", "7", "a;b|c"), ("2015-06-01 12:05", "8,00", "8", "")]


def write(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


def read(path: Path, delimiter: str = "") -> pl.DataFrame:
    """Return the company's columns of a file, after a check that batches have the same rows."""
    schema = msgspec.structs.replace(TAKE_HOME_SCHEMA, source=SourceDialect(delimiter=delimiter))
    source = open_files(str(path), schema)
    frame = source.frame()
    assert pl.concat(source.batches(1), how="diagonal").select(frame.columns).equals(frame)
    return frame.drop(ROW_COLUMN, FILE_COLUMN)


def read_error(path: Path, delimiter: str = "") -> DataError:
    with pytest.raises(DataError) as caught:
        read(path, delimiter)
    return caught.value


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|", "^"])
@pytest.mark.parametrize("start", ["", "sep={}\n", "\ufeffsep={}\r\n", '"sep={}"\n', "\ufeff"])
def test_delimiter_is_detected_or_declared(tmp_path: Path, delimiter: str, start: str) -> None:
    cells = [["at", "value", "id", "note"], *ROWS]
    quoted = [delimiter.join(f'"{cell}"' if delimiter in cell else cell for cell in line) for line in cells]
    path = write(tmp_path / "orders.csv", start.format(delimiter) + "\n".join(quoted) + "\n")
    is_detectable = delimiter != "^" or "sep" in start
    for declared in {delimiter, "" if is_detectable else delimiter}:
        frame = read(path, declared)
        assert frame.columns == ["at", "value", "id", "note"]
        assert [tuple(cell or "" for cell in row) for row in frame.rows()] == ROWS


def test_line_numbers_count_a_separator_line(tmp_path: Path) -> None:
    frame = read(write(tmp_path / "orders.csv", "sep=;\na;b\n1;2;3\n"))
    assert frame.rows() == [("1", "2", "line 3: 3")]


def test_known_columns_decide_between_delimiters(tmp_path: Path) -> None:
    text = "restaurant_id,city;x\n1,London;2\n2,Leeds;3\n"
    assert read(write(tmp_path / "a.csv", text)).columns == ["restaurant_id", "city;x"]
    text = "id,at;restaurant_id;city\n1,5;2;London\n"
    assert read(write(tmp_path / "b.csv", text)).columns == ["id,at", "restaurant_id", "city"]


def test_ambiguous_delimiter_is_an_error_with_the_line_to_add(tmp_path: Path) -> None:
    error = read_error(path := write(tmp_path / "orders.csv", "a,b;c\n1,2;3\n"))
    assert error.facts == (f"The delimiter of {path} is ambiguous: line 1 has 2 cells with ',' and 2 cells with ';'.")
    assert error.hint == 'Name it in schema.toml: [source] delimiter = "," or ";".'
    assert read(path, ",").rows() == [("1", "2;3")]
    assert read(path, ";").rows() == [("1,2", "3")]


def test_wrong_declared_delimiter_is_an_error_with_the_right_one(tmp_path: Path) -> None:
    error = read_error(path := write(tmp_path / "orders.csv", "a\tb\tc\n1\t2\t3\n"), ";")
    assert error.facts == f"Line 1 of {path} has 1 cell with the delimiter ';', and 3 with '\\t'."
    assert error.hint == 'Name it in schema.toml: [source] delimiter = "\\t".'


@pytest.mark.parametrize(
    ("titles", "line", "count"),
    [
        ("Orders of 1 May 2024\n\n", 3, "1 cell"),
        ("Orders,,,\nMade by Ann,,,\n", 3, "1 cell"),
        ("Orders,May 2024\n", 2, "2 cells"),
        ('"Orders,\nall of them"\n', 3, "1 cell"),
    ],
)
@pytest.mark.parametrize("delimiter", [",", ";"])
def test_title_lines_are_an_error_that_names_them(
    tmp_path: Path, titles: str, line: int, count: str, delimiter: str
) -> None:
    table = titles + "at,restaurant_id,items,note\n2024-05-01 12:00,1,3,\n2024-05-01 12:01,2,4,x\n"
    error = read_error(path := write(tmp_path / "orders.csv", table.replace(",", delimiter)))
    assert error.facts == (
        f"Line 1 of {path} has {count} and line {line} has 4: the file seems to start with title lines."
    )
    assert error.hint == (
        f"Delete the lines before line {line}, so that the file starts with the names of the columns."
    )


def test_empty_columns_at_the_end_are_no_columns(tmp_path: Path) -> None:
    frame = read(write(tmp_path / "orders.csv", "a,b,, \n1,2,,\n3,4,,,\n5\n,,,\n6,7,,x\n8,9,y,\n"))
    surplus = [None, None, None, "line 6: x", "line 7: y"]
    assert frame["a"].to_list() == ["1", "3", "5", "6", "8"]
    assert frame["b"].to_list() == ["2", "4", None, "7", "9"]
    assert frame[SURPLUS_COLUMN].to_list() == surplus


def test_one_column_with_commas_in_its_cells_is_read(tmp_path: Path) -> None:
    frame = read(write(tmp_path / "notes.csv", "note\nfirst, second\nthird\n"))
    assert frame.rows() == [("first", "line 2:  second"), ("third", None)]
