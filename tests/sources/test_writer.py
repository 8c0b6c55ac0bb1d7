from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from preptime.errors import DataError, UsageError
from preptime.sources.writer import write_table

CHUNKS = [pl.DataFrame({"id": [1, 2], "note": ["a", "b,c"]}), pl.DataFrame({"id": [3], "note": ['say "hi"']})]


def _read(path: Path) -> pl.DataFrame:
    return pl.read_csv(path) if path.suffix == ".csv" else pl.read_parquet(path)


@pytest.fixture(params=["out.csv", "new/folder/out.parquet"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / str(request.param)


def test_write_table_chunks_become_one_file_in_order(path: Path) -> None:
    assert write_table(path, CHUNKS) == 3
    assert _read(path).equals(pl.concat(CHUNKS))


def test_write_table_empty_chunk_writes_the_columns(path: Path) -> None:
    assert write_table(path, [CHUNKS[0][:0]]) == 0
    assert path.is_file()
    assert (path.read_text(encoding="utf-8") if path.suffix == ".csv" else pl.read_parquet(path).columns) in (
        "id,note\n",
        ["id", "note"],
    )


def test_write_table_many_chunks_keep_their_order(path: Path) -> None:
    chunks = (pl.DataFrame({"id": range(start, start + 100)}) for start in range(0, 20_000, 100))
    assert write_table(path, chunks) == 20_000
    assert _read(path)["id"].to_list() == list(range(20_000))


def test_write_table_error_keeps_the_previous_file(path: Path) -> None:
    write_table(path, CHUNKS)
    before = path.read_bytes()

    def failing() -> Iterator[pl.DataFrame]:
        yield CHUNKS[0]
        raise DataError("Row 3 is broken.")

    with pytest.raises(DataError, match="Row 3 is broken"):
        write_table(path, failing())
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_write_table_same_rows_write_the_same_bytes(path: Path) -> None:
    write_table(path, CHUNKS)
    before = path.read_bytes()
    write_table(path, CHUNKS)
    assert path.read_bytes() == before


def test_write_table_other_suffix_or_no_chunks_raises(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"ends in \.csv or \.parquet"):
        write_table(tmp_path / "out.xlsx", CHUNKS)
    for name in ("out.csv", "out.parquet"):
        with pytest.raises(UsageError, match="no chunks to write"):
            write_table(tmp_path / name, [])
    assert not list(tmp_path.iterdir())


def test_write_table_file_as_folder_raises(tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    with pytest.raises(DataError, match="can't be written"):
        write_table(tmp_path / "taken" / "out.csv", CHUNKS)
