"""Tests of reading a CSV file in chunks: the result is the file, wherever it's cut."""

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
"""Blank lines, short lines, and lines with a surplus cell. Cells contain commas, quotes, and line feeds."""


def encode_csv(lines: list[list[str]]) -> bytes:
    """Return the lines as CSV, after a header of three columns and a complete row."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([["a", "b", "c"], ["1", "2", "3"], *lines])
    return text.getvalue().encode()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(LINES, st.integers(1, 60), st.booleans(), st.sampled_from([1, 3, 1000]))
@example([["x\n\n\ny", "2"], [], ["4", "5", "6", "7"]], 1, True, 1)
@example([['5" pizza', "2"], ["3"]], 8, False, 1000)
def test_batches_of_csv_chunks_equal_the_whole_file(
    tmp_path: Path, lines: list[list[str]], size: int, mark: bool, rows: int
) -> None:
    path = tmp_path / "orders.csv"
    content = (b"\xef\xbb\xbf" if mark else b"") + encode_csv(lines)
    path.write_bytes(content)
    assert b"".join(iter_csv_chunks(path, size)) == content
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("preptime.sources.files.iter_csv_chunks", partial(iter_csv_chunks, size=size))
        source = open_files(str(path))
        batches = pl.concat(source.batches(rows), how="diagonal")
    frame = source.frame()
    assert batches.select(frame.columns).equals(frame)
    assert batches.width == frame.width


def test_stray_quote_raises_in_frame_and_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "orders.csv"
    path.write_bytes(b'a,b,c\n1,5" pizza,3\n4,5,6\n7,8,9\n')
    monkeypatch.setattr("preptime.sources.files.iter_csv_chunks", partial(iter_csv_chunks, size=10))
    source = open_files(str(path))
    for read in (source.frame, lambda: list(source.batches(100))):
        with pytest.raises(DataError, match="can't be read as CSV"):
            read()


def test_iter_csv_chunks_bounds_the_chunk_size(tmp_path: Path) -> None:
    path = tmp_path / "orders.csv"
    path.write_bytes(b"a,b\n" + b'1,"x\ny"\n' * 1000)
    chunks = list(iter_csv_chunks(path, 100))
    assert all(len(chunk) < 200 for chunk in chunks)
    assert all(chunk.endswith(b"\n") and chunk.count(b'"') % 2 == 0 for chunk in chunks)
