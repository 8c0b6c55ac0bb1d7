"""Where the prediction log goes: dated files, or standard output."""

from __future__ import annotations

import datetime as dt
import os
import re
import secrets
import sys
from pathlib import Path
from typing import BinaryIO, Protocol

GUARD_SECONDS = 1.0
"""A worker that was killed while it held the guard of standard output never gives it back."""

_FILE = re.compile(r"predictions-(\d{4}-\d{2}-\d{2})-[\w-]+\.jsonl")


class Target(Protocol):
    """Where lines go."""

    def write(self, lines: bytes, day: dt.date, /) -> None:
        """Give whole lines to the operating system. Raises `OSError` when it does not take them."""

    def close(self) -> None:
        """End it."""


class Guard(Protocol):
    """A lock: that of several processes which share standard output."""

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        """Take it, or give up after `timeout` seconds."""

    def release(self) -> None:
        """Give it back."""


class Folder:
    """Dated files in a folder, kept for some days."""

    def __init__(self, folder: Path, days: int) -> None:
        self._folder = folder
        self._days = days
        self._day: dt.date | None = None
        self._file: BinaryIO | None = None

    def write(self, lines: bytes, day: dt.date, /) -> None:
        """Append to the file of `day`, and clear what is too old when the day is new."""
        if self._file is None or day != self._day:
            self.close()
            self._file = self._open(day)
            self._day = day
        rest = memoryview(lines)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError:
            self.close()  # half a line may stand at its end; the next line begins another file
            raise

    def close(self) -> None:
        """Close the open file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open(self, day: dt.date) -> BinaryIO:
        self._folder.mkdir(parents=True, exist_ok=True)
        oldest = str(day - dt.timedelta(days=self._days - 1))
        for path in self._folder.iterdir():
            named = _FILE.fullmatch(path.name)
            if named is not None and named[1] < oldest:
                path.unlink(missing_ok=True)
        # A process id comes back when a container is restarted, and two writers must never share a file.
        name = f"predictions-{day}-{os.getpid()}-{secrets.token_hex(3)}.jsonl"
        return (self._folder / name).open("xb", buffering=0)


class StandardOutput:
    """Standard output, for containers. The `guard` keeps the lines of several workers apart."""

    def __init__(self, guard: Guard | None = None) -> None:
        self._guard = guard

    def write(self, lines: bytes, _day: dt.date, /) -> None:
        """Write and flush."""
        held = self._guard is not None and self._guard.acquire(timeout=GUARD_SECONDS)
        try:
            sys.stdout.buffer.write(lines)
            sys.stdout.buffer.flush()
        finally:
            if self._guard is not None and held:
                self._guard.release()

    def close(self) -> None:
        """Nothing to end: it belongs to the process."""
