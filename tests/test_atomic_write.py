"""Atomic writes: complete files only, and no temporary files of killed writers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from preptime import atomic_write
from preptime.atomic_write import ABANDONED_SECONDS, atomic_path, temporary_sibling, write_bytes
from preptime.signals import TERMINATED
from tests.requirements import requires

WAIT_SECONDS = 120
"""A limit that only prevents tests from hanging."""

WRITE_AND_WAIT = """
import sys, time
from pathlib import Path
from preptime.atomic_write import atomic_path
from preptime.signals import clean_exit_on_sigterm
with clean_exit_on_sigterm(), atomic_path(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    print("written", flush=True)
    {wait}
"""
RETURNS_CONTROL = "time.sleep(600)"
KEEPS_CONTROL = "import hashlib; hashlib.pbkdf2_hmac('sha256', b'', b'', 2**31 - 1)"
"""A library that computes for minutes, as Polars does: Python's signal handler runs only afterwards."""


def start_writer(path: Path, wait: str = RETURNS_CONTROL) -> subprocess.Popen[str]:
    """Start a process that has written half of a file, and return it."""
    code = WRITE_AND_WAIT.format(wait=wait)
    process = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "written\n"
    return process


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def temporary_names(folder: Path) -> list[str]:
    return [name for name in names(folder) if name.endswith(".tmp")]


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate(timeout=WAIT_SECONDS)


def test_next_write_removes_the_file_of_a_killed_writer(tmp_path: Path) -> None:
    requires(os.name == "posix", "Windows doesn't tell whether a process is running without ending it")
    path = tmp_path / "out.parquet"
    kill(start_writer(path))
    assert len(temporary_names(tmp_path)) == 1
    write_bytes(path, b"complete")
    assert names(tmp_path) == ["out.parquet"]


def test_next_write_keeps_the_file_of_a_running_writer(tmp_path: Path) -> None:
    path = tmp_path / "out.parquet"
    running = start_writer(path)
    try:
        left = temporary_names(tmp_path)
        write_bytes(path, b"complete")
        assert temporary_names(tmp_path) == left
    finally:
        kill(running)


def test_next_write_keeps_files_of_other_outputs(tmp_path: Path) -> None:
    requires(os.name == "posix", "Windows doesn't tell whether a process is running without ending it")
    kill(start_writer(tmp_path / "out.parquet"))
    other_names = [".out.parquet.notes.tmp", ".out.parquet.0123456789ab", "out.parquet.0123456789ab.tmp", ".out.tmp"]
    for name in other_names:
        (tmp_path / name).write_bytes(b"")
        os.utime(tmp_path / name, (0, 0))
    write_bytes(tmp_path / "out.csv", b"")
    assert len(temporary_names(tmp_path)) == 4
    write_bytes(tmp_path / "out.parquet", b"")
    assert names(tmp_path) == sorted([*other_names, "out.csv", "out.parquet"])


@pytest.mark.parametrize("writer", ["00000000-1-", ""])
def test_files_of_other_machines_are_removed_after_a_day(tmp_path: Path, writer: str) -> None:
    """Without a writer: the name of an earlier release."""
    old, recent = (tmp_path / f".out.csv.{writer}{digit * 12}.tmp" for digit in "ab")
    for path, age_seconds in ((old, ABANDONED_SECONDS + 60), (recent, ABANDONED_SECONDS - 60)):
        path.write_bytes(b"")
        modified_at = time.time() - age_seconds
        os.utime(path, (modified_at, modified_at))
    write_bytes(tmp_path / "out.csv", b"")
    assert names(tmp_path) == [recent.name, "out.csv"]


def test_file_of_an_earlier_process_with_the_same_id_is_removed(tmp_path: Path) -> None:
    """In a container, each process has the same number."""
    temporary = temporary_sibling(tmp_path / "out.csv")
    temporary.write_bytes(b"")
    write_bytes(tmp_path / "out.csv", b"1")
    assert temporary.exists(), "this process is writing it"
    atomic_write._own_temporaries.discard(temporary)
    write_bytes(tmp_path / "out.csv", b"2")
    assert names(tmp_path) == ["out.csv"]


@pytest.mark.parametrize("differs", ["_BOOT_ID", "_PID_NAMESPACE"])
def test_next_write_keeps_the_file_of_another_namespace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, differs: str
) -> None:
    """Two containers can have the same host name, and their processes the same numbers."""
    requires(os.name == "posix", "symbolic links need a right on Windows")
    other = tmp_path / "other"
    if differs == "_BOOT_ID":
        other.write_text("another boot", encoding="ascii")
    else:
        other.symlink_to("pid:[1]")
    out = tmp_path / "out"
    out.mkdir()
    with monkeypatch.context() as patched:
        patched.setattr(atomic_write, differs, other)
        atomic_write._machine.cache_clear()
        temporary = temporary_sibling(out / "out.csv")
    atomic_write._machine.cache_clear()
    temporary.write_bytes(b"half")
    atomic_write._own_temporaries.discard(temporary)
    write_bytes(out / "out.csv", b"complete")
    assert names(out) == [temporary.name, "out.csv"]


def test_abandoned_folder_is_removed(tmp_path: Path) -> None:
    temporary = temporary_sibling(tmp_path / "date=2015-06-17")
    (temporary / "inner").mkdir(parents=True)
    atomic_write._own_temporaries.discard(temporary)
    assert temporary_sibling(tmp_path / "date=2015-06-17") != temporary
    assert names(tmp_path) == []


def test_threads_that_write_one_file_keep_each_others_files(tmp_path: Path) -> None:
    path, errors = tmp_path / "out.csv", list[BaseException]()

    def write(content: bytes) -> None:
        try:
            for _ in range(50):
                write_bytes(path, content)
        except OSError as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=[str(number).encode() * 1000]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert names(tmp_path) == ["out.csv"]
    assert len(set(path.read_bytes())) == 1


@pytest.mark.parametrize("wait", [RETURNS_CONTROL, KEEPS_CONTROL], ids=["returns control", "keeps control"])
def test_sigterm_removes_temporary_files_and_exits_with_143(tmp_path: Path, wait: str) -> None:
    requires(os.name == "posix", "Windows has no SIGTERM")
    path = tmp_path / "out.parquet"
    path.write_text("the previous file", encoding="utf-8")
    writer = start_writer(path, wait)
    writer.send_signal(signal.SIGTERM)
    writer.communicate(timeout=WAIT_SECONDS)
    assert writer.returncode == TERMINATED
    assert names(tmp_path) == ["out.parquet"]
    assert path.read_text(encoding="utf-8") == "the previous file"


def test_error_removes_the_temporary_file(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), atomic_path(tmp_path / "out.csv") as temporary:
        temporary.write_bytes(bytes(1 // len(names(tmp_path))))
    assert names(tmp_path) == []


def test_error_after_the_write_removes_the_temporary_file(tmp_path: Path) -> None:
    (tmp_path / "out.csv").mkdir()
    with pytest.raises(OSError, match=r"out\.csv"):
        write_bytes(tmp_path / "out.csv", b"complete")
    assert names(tmp_path) == ["out.csv"]


def test_command_after_sigterm_exits_with_143_and_no_files(tmp_path: Path) -> None:
    requires(os.name == "posix", "Windows has no SIGTERM")
    out = tmp_path / "out"
    out.mkdir()
    program = "import sys; from preptime.cli import main; sys.exit(main(sys.argv[1:]))"
    arguments = ["synthesize", "--orders", "500000", "--out", str(out)]
    with subprocess.Popen([sys.executable, "-c", program, *arguments], stderr=subprocess.DEVNULL) as command:
        try:
            deadline = time.monotonic() + WAIT_SECONDS
            while not temporary_names(out):
                assert command.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.01)
            command.send_signal(signal.SIGTERM)
            command.wait(WAIT_SECONDS)
        finally:
            command.kill()
    assert command.returncode == TERMINATED
    assert temporary_names(out) == []
