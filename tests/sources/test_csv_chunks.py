"""A csv file read in pieces is the file, wherever it was cut."""

from __future__ import annotations

import csv
import io
from functools import partial
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from preptime.errors import DataError
from preptime.sources.files import iter_csv_chunks, open_files

CELLS = st.text(st.sampled_from('ab,"\n é1'), max_size=6)
LINES = st.lists(st.one_of(st.just([]), st.lists(CELLS, min_size=1, max_size=4)), min_size=1, max_size=12)
"""Blank lines, short ones, one cell too many; cells with commas, quotes and line feeds."""


def written(lines: list[list[str]]) -> bytes:
    """As csv, under a header of three columns and a first row that is whole."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([["a", "b", "c"], ["1", "2", "3"], *lines])
    return text.getvalue().encode()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(LINES, st.integers(1, 60), st.booleans(), st.sampled_from([1, 3, 1000]))
@example([["x\n\n\ny", "2"], [], ["4", "5", "6", "7"]], 1, True, 1)
@example([['5" pizza', "2"], ["3"]], 8, False, 1000)
def test_the_rows_are_those_of_the_whole_file(
    tmp_path: Path, lines: list[list[str]], size: int, mark: bool, rows: int
) -> None:
    path = tmp_path / "orders.csv"
    content = (b"\xef\xbb\xbf" if mark else b"") + written(lines)
    path.write_bytes(content)
    assert b"".join(iter_csv_chunks(path, size)) == content
    with pytest.MonkeyPatch.context() as here:
        here.setattr("preptime.sources.files.iter_csv_chunks", partial(iter_csv_chunks, size=size))
        table = open_files(str(path))
        found = pl.concat(table.batches(rows), how="diagonal")
    whole = table.frame()
    assert found.select(whole.columns).equals(whole)
    assert found.width == whole.width


def test_a_stray_quote_is_refused_as_in_the_whole_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "orders.csv"
    path.write_bytes(b'a,b,c\n1,5" pizza,3\n4,5,6\n7,8,9\n')
    monkeypatch.setattr("preptime.sources.files.iter_csv_chunks", partial(iter_csv_chunks, size=10))
    table = open_files(str(path))
    for read in (table.frame, lambda: list(table.batches(100))):
        with pytest.raises(DataError, match="cannot be read as csv"):
            read()


def test_pieces_are_bounded(tmp_path: Path) -> None:
    path = tmp_path / "orders.csv"
    path.write_bytes(b"a,b\n" + b'1,"x\ny"\n' * 1000)
    found = list(iter_csv_chunks(path, 100))
    assert all(len(piece) < 200 for piece in found)
    assert all(piece.endswith(b"\n") and piece.count(b'"') % 2 == 0 for piece in found)
