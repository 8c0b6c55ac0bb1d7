"""A file that changes while it's read is refused. Every reader gets the check from the source."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from preptime.errors import OperationError
from preptime.schema.schema import TAKE_HOME_SCHEMA
from preptime.sources.files import FileSource, open_files

FORMATS = ("csv", "parquet")
HINT = "Write new files under another name, and rename them when they are complete."


def _write_rows(path: Path, rows: int = 200) -> Path:
    frame = pl.DataFrame({"id": [f"{row:04d}" for row in range(rows)], "city": ["London"] * rows})
    if path.suffix == ".csv":
        frame.write_csv(path)
    else:
        frame.write_parquet(path, row_group_size=20)
    return path


def _truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _empty(path: Path) -> None:
    os.truncate(path, 0)


def _append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"9999,Leeds\n")


def _touch(path: Path) -> None:
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))


def _replace(path: Path) -> None:
    copy = path.with_name("copy.tmp")
    copy.write_bytes(path.read_bytes())
    status = path.stat()
    os.utime(copy, ns=(status.st_atime_ns, status.st_mtime_ns - 1))
    copy.replace(path)


CHANGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "truncated": (_truncate, "changed while it was read: it had "),
    "emptied": (_empty, "bytes and now has 0 bytes."),
    "appended": (_append, "changed while it was read: it had "),
    "rewritten": (_touch, "changed while it was read: it still has "),
    "replaced": (_replace, "changed while it was read: it still has "),
    "deleted": (Path.unlink, "was deleted while it was read."),
}


def _read_batches(source: FileSource, change: Callable[[], None]) -> None:
    batches = source.batches(10)
    next(batches)
    change()
    list(batches)


def _read_frame(source: FileSource, change: Callable[[], None]) -> None:
    change()
    source.frame()


@pytest.mark.parametrize("read", [_read_batches, _read_frame])
@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("file_format", FORMATS)
def test_changed_file_is_refused(
    tmp_path: Path, file_format: str, name: str, read: Callable[[FileSource, Callable[[], None]], None]
) -> None:
    path = _write_rows(tmp_path / f"orders.{file_format}")
    change, expected = CHANGES[name]
    with pytest.raises(OperationError) as caught:
        read(open_files(str(path), TAKE_HOME_SCHEMA), lambda: change(path))
    assert caught.value.facts.startswith(f"The file {path} ")
    assert expected in caught.value.facts
    assert HINT in caught.value.hint


def test_changed_file_reports_both_sizes(tmp_path: Path) -> None:
    path = tmp_path / "orders.csv"
    path.write_bytes(b"id\n" + b"1\n" * 1_000)
    with pytest.raises(OperationError, match=r"it had 2,003 bytes and now has 1,001 bytes\."):
        _read_frame(open_files(str(path), TAKE_HOME_SCHEMA), lambda: _truncate(path))


@pytest.mark.parametrize("location", ["", "*.csv"])
@pytest.mark.parametrize("read", [_read_batches, _read_frame])
def test_changed_folder_is_refused(
    tmp_path: Path, location: str, read: Callable[[FileSource, Callable[[], None]], None]
) -> None:
    for name in ("1.csv", "2.csv", "3.csv"):
        _write_rows(tmp_path / name)
    changes: list[tuple[Callable[[], object], str]] = [
        (lambda: _truncate(tmp_path / "1.csv"), "1.csv changed while it was read"),
        (lambda: _write_rows(tmp_path / "4.csv"), "4.csv was added to"),
        ((tmp_path / "3.csv").unlink, "3.csv was deleted while it was read"),
    ]
    for change, expected in changes:
        with pytest.raises(OperationError, match=expected):
            read(open_files(str(tmp_path / location), TAKE_HOME_SCHEMA), lambda change=change: change())  # type: ignore[misc]


def test_unchanged_files_are_read_twice(tmp_path: Path) -> None:
    source = open_files(str(_write_rows(tmp_path / "orders.csv").parent), TAKE_HOME_SCHEMA)
    (tmp_path / ".orders.csv.1a2b.tmp").touch()
    (tmp_path / "_SUCCESS").touch()
    for _ in range(2):
        assert len(source.frame()) == sum(len(batch) for batch in source.batches(7)) == 200


def test_partition_of_a_changed_file_is_refused(tmp_path: Path) -> None:
    path = _write_rows(tmp_path / "orders.csv")
    partition = open_files(str(tmp_path), TAKE_HOME_SCHEMA).partitions()[0]
    with pytest.raises(OperationError, match="changed while it was read"):
        _read_frame(partition, lambda: _truncate(path))
