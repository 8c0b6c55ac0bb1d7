"""Where the prediction log goes: dated files, or standard output.

The prediction log: what was asked and answered, so that it can be joined with what happened later.

A request hands its record over and goes on; a thread writes what has gathered, ten times a second. Each worker writes
files of its own, one a day (UTC): lines of several processes never mix. Bytes are given to the operating system at
every write, so that a killed process loses at most what it took since the last one.
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
from itertools import groupby
from pathlib import Path
from typing import BinaryIO, Protocol

import msgspec

from preptime.api.service import PredictionRecord
from preptime.domain.timestamps import SECONDS_PER_DAY

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


FLUSH_INTERVAL_SECONDS = 0.1
"""Between two writes. The promise is a second; this leaves room for a slow disk."""
MAX_QUEUED_ORDERS = 50_000
"""Orders that may wait for the writer, some 50 MB: far more than gather between two writes unless the disk stands."""
MAX_LINES_PER_WRITE = 64
"""A write gives requests their turn, so that none waits while a whole batch is encoded."""
_EPOCH_DATE = dt.date(1970, 1, 1)
logger = logging.getLogger(__name__)


class PredictionLog:
    """Takes records from requests and writes them in a thread of its own."""

    def __init__(self, sink: LogSink | None) -> None:
        """Without a `sink` nothing is kept."""
        self._sink = sink
        self._queue: deque[PredictionRecord] = deque()
        self._queued_orders = 0
        self._closed = False
        self._lock = threading.Lock()
        self._stop_requested = threading.Event()
        self._write_failing = False
        self.written = 0
        """Records given to the operating system."""
        self.dropped = 0
        """Records that could not be."""
        self._thread = threading.Thread(target=self._write_loop, name="prediction-log", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        if self._sink is not None:
            self._thread.start()

    def record(self, record: PredictionRecord) -> None:
        """Take a record. Never blocks and never raises; what cannot be kept is counted."""
        if self._sink is None:
            return
        orders = len(record.orders)
        with self._lock:
            if self._closed or (self._queue and self._queued_orders + orders > MAX_QUEUED_ORDERS):
                self.dropped += 1
                return
            self._queued_orders += orders
            self._queue.append(record)

    def close(self, *, timeout_seconds: float) -> None:
        """Write all that was taken, within that time. A second call does nothing."""
        with self._lock:
            self._closed = True
        self._stop_requested.set()
        if self._thread.is_alive():
            self._thread.join(timeout_seconds)

    def _write_loop(self) -> None:
        while not self._stop_requested.wait(FLUSH_INTERVAL_SECONDS):
            self._flush()
        self._flush()
        if self._sink is not None:
            self._sink.close()

    def _flush(self) -> None:
        while batch := self._take_batch():
            for day, records in groupby(batch, key=lambda record: int(record.time // SECONDS_PER_DAY)):
                self._write(list(records), _EPOCH_DATE + dt.timedelta(days=day))

    def _take_batch(self) -> list[PredictionRecord]:
        with self._lock:
            batch = [self._queue.popleft() for _ in range(min(MAX_LINES_PER_WRITE, len(self._queue)))]
            self._queued_orders -= sum(len(record.orders) for record in batch)
            return batch

    def _write(self, records: list[PredictionRecord], day: dt.date) -> None:
        lines = [line for record in records if (line := _encode_record(record)) is not None]
        written = 0
        try:
            if lines and self._sink is not None:
                self._sink.write(b"".join(lines), day)
            written = len(lines)
            self._write_failing = False
        except OSError as error:
            if not self._write_failing:
                logger.error("The prediction log cannot be written: %s", error)
            self._write_failing = True
        self.written += written
        with self._lock:
            self.dropped += len(records) - written


def _encode_record(record: PredictionRecord) -> bytes | None:
    """The record as a line, or None for one that JSON cannot hold."""
    try:
        return record.to_json_line() + b"\n"
    except (msgspec.MsgspecError, ValueError, TypeError, OverflowError):
        logger.exception("A prediction could not be logged (request %s)", record.request_id)
        return None
