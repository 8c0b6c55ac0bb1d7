"""The prediction log: what was asked and answered, so that it can be joined with what happened later.

A request hands its record over and goes on; a thread writes what has gathered, a few times a second. Each worker writes
files of its own, one a day (UTC): lines of several processes never mix. Bytes are given to the operating system at every
write, so that a killed process loses at most what it took since the last one.
"""

from __future__ import annotations

import datetime as dt
import logging
import os
import re
import secrets
import sys
import threading
from collections import deque
from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import BinaryIO, Protocol

import msgspec

from preptime.api.service import PredictionRecord

FLUSH_SECONDS = 0.1
"""Between two writes. The promise is a second; this leaves room for a slow disk."""
MOST_WAITING_ORDERS = 50_000
"""Orders that may wait for the writer, some 50 MB: far more than gather between two writes unless the disk stands."""
LINES_AT_ONCE = 64
"""A write gives requests their turn, so that none waits while a whole batch is encoded."""
GUARD_SECONDS = 1.0
"""A worker that was killed while it held the guard of standard output never gives it back."""

SECONDS_A_DAY = 86_400
_EPOCH = dt.date(1970, 1, 1)
_FILE = re.compile(r"predictions-(\d{4}-\d{2}-\d{2})-[\w-]+\.jsonl")
_LOG = logging.getLogger(__name__)


class Target(Protocol):
    """Where lines go."""

    def write(self, lines: bytes, day: dt.date) -> None:
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

    def write(self, lines: bytes, day: dt.date) -> None:
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

    def write(self, lines: bytes, day: dt.date) -> None:
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


class PredictionLog:
    """Takes records from requests and writes them in a thread of its own."""

    def __init__(self, target: Target | None, told: Callable[[int, int], None] | None = None) -> None:
        """Without a `target` nothing is kept. `told` hears, from the thread, how many were written and dropped."""
        self._target = target
        self._told = told
        self._waiting: deque[PredictionRecord] = deque()
        self._waiting_orders = 0
        self._closed = False
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._failing = False
        self.written = 0
        """Records given to the operating system."""
        self.dropped = 0
        """Records that could not be."""
        self._thread = threading.Thread(target=self._run, name="prediction-log", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        if self._target is not None:
            self._thread.start()

    def record(self, record: PredictionRecord) -> None:
        """Take a record. Never blocks and never raises; what cannot be kept is counted."""
        if self._target is None:
            return
        orders = len(record.orders)
        with self._lock:
            if self._closed or self._waiting_orders + orders > MOST_WAITING_ORDERS:
                self.dropped += 1
                return
            self._waiting_orders += orders
            self._waiting.append(record)

    def close(self, *, seconds: float) -> None:
        """Write all that was taken, within that time. A second call does nothing."""
        with self._lock:
            self._closed = True
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join(seconds)

    def _run(self) -> None:
        while not self._ending.wait(FLUSH_SECONDS):
            self._flush()
        self._flush()
        if self._target is not None:
            self._target.close()

    def _flush(self) -> None:
        while batch := self._take():
            for day, records in groupby(batch, key=lambda record: int(record.time // SECONDS_A_DAY)):
                self._write(list(records), _EPOCH + dt.timedelta(days=day))
        if self._told is not None:
            self._told(self.written, self.dropped)

    def _take(self) -> list[PredictionRecord]:
        with self._lock:
            batch = [self._waiting.popleft() for _ in range(min(LINES_AT_ONCE, len(self._waiting)))]
            self._waiting_orders -= sum(len(record.orders) for record in batch)
            return batch

    def _write(self, records: list[PredictionRecord], day: dt.date) -> None:
        lines = [line for record in records if (line := _line(record)) is not None]
        written = 0
        try:
            if lines and self._target is not None:
                self._target.write(b"".join(lines), day)
            written = len(lines)
            self._failing = False
        except OSError as error:
            if not self._failing:
                _LOG.error("The prediction log cannot be written: %s", error)
            self._failing = True
        self.written += written
        with self._lock:
            self.dropped += len(records) - written


def _line(record: PredictionRecord) -> bytes | None:
    """The record as a line, or None for one that JSON cannot hold."""
    try:
        return record.line() + b"\n"
    except (msgspec.MsgspecError, ValueError, TypeError, OverflowError):
        _LOG.exception("A prediction could not be logged (request %s)", record.request_id)
        return None
