"""Where the prediction log goes: dated files, or standard output."""

from __future__ import annotations

import datetime as dt
import os
import re
import secrets
import sys
from pathlib import Path
from typing import BinaryIO, Protocol

STDOUT_LOCK_TIMEOUT_SECONDS = 1.0
"""A worker that was killed while it held the guard of standard output never gives it back."""

_FILE_NAME = re.compile(r"predictions-(\d{4}-\d{2}-\d{2})-[\w-]+\.jsonl")


class LogSink(Protocol):
    """Where lines go."""

    def write(self, lines: bytes, day: dt.date, /) -> None:
        """Give whole lines to the operating system. Raises `OSError` when it does not take them."""

    def close(self) -> None:
        """End it."""


class StdoutLock(Protocol):
    """A lock: that of several processes which share standard output."""

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        """Take it, or give up after `timeout` seconds."""

    def release(self) -> None:
        """Give it back."""


class DailyFileSink:
    """Dated files in a folder, kept for some days."""

    def __init__(self, folder: Path, retention_days: int) -> None:
        self._folder = folder
        self._retention_days = retention_days
        self._day: dt.date | None = None
        self._file: BinaryIO | None = None

    def write(self, lines: bytes, day: dt.date, /) -> None:
        """Append to the file of `day`, and clear what is too old when the day is new."""
        if self._file is None or day != self._day:
            self.close()
            self._file = self._open_file(day)
            self._day = day
        remaining = memoryview(lines)
        try:
            while remaining:
                remaining = remaining[self._file.write(remaining) :]
        except OSError:
            self.close()  # half a line may stand at its end; the next line begins another file
            raise

    def close(self) -> None:
        """Close the open file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open_file(self, day: dt.date) -> BinaryIO:
        self._folder.mkdir(parents=True, exist_ok=True)
        oldest_kept = str(day - dt.timedelta(days=self._retention_days - 1))
        for path in self._folder.iterdir():
            name_match = _FILE_NAME.fullmatch(path.name)
            if name_match is not None and name_match[1] < oldest_kept:
                path.unlink(missing_ok=True)
        # A process id comes back when a container is restarted, and two writers must never share a file.
        name = f"predictions-{day}-{os.getpid()}-{secrets.token_hex(3)}.jsonl"
        return (self._folder / name).open("xb", buffering=0)


class StdoutSink:
    """Standard output, for containers. The `stdout_lock` keeps the lines of several workers apart."""

    def __init__(self, lock: StdoutLock | None = None) -> None:
        self._lock = lock

    def write(self, lines: bytes, _day: dt.date, /) -> None:
        """Write and flush."""
        acquired = self._lock is not None and self._lock.acquire(timeout=STDOUT_LOCK_TIMEOUT_SECONDS)
        try:
            sys.stdout.buffer.write(lines)
            sys.stdout.buffer.flush()
        finally:
            if self._lock is not None and acquired:
                self._lock.release()

    def close(self) -> None:
        """Nothing to end: it belongs to the process."""
