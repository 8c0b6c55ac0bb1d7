"""The prediction log: records requests with their predictions, to compare them with actual preparation times later.

A request adds its record to a queue. A thread writes the queue ten times per second, to dated files or to standard
output. Each worker writes its own files, at least one per day (UTC), so that lines of several processes don't mix.
Every write goes to the operating system immediately. A killed process loses at most the records since the last write.
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
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from typing import BinaryIO, Protocol

from preptime.api.log_entries import encode_entries
from preptime.api.service import PredictionRecord
from preptime.domain.timestamps import SECONDS_PER_DAY

FLUSH_INTERVAL_SECONDS = 0.1
"""Interval between writes. The documented limit is one second, which leaves time for a slow disk."""
MAX_QUEUED_ORDERS = 50_000
"""Maximum number of queued orders, about 50 MB. The queue reaches it only if the disk doesn't respond."""
MAX_LINES_PER_WRITE = 64
"""Records per write. Between writes, request threads can run."""

STDOUT_LOCK_TIMEOUT_SECONDS = 1.0
"""A worker that's killed while it holds the lock never releases it."""

MAX_FILES = 10_000
"""Maximum number of files in the folder, so that restarts can't use all inodes. The oldest files are deleted first."""
FILES_PER_LIMIT = 64
"""A worker starts a new file after this part of the size limit, so that deleting the oldest file loses little.

Each worker can exceed the limit by one file.
"""
_FOLDER_MODE, _FILE_MODE = 0o700, 0o600
"""Only the server's user can read the log. It has names of restaurants and keys. A folder that exists isn't changed."""

_EPOCH_DATE = dt.date(1970, 1, 1)
_FILE_NAME = re.compile(r"predictions-([0-9]{4}-[0-9]{2}-[0-9]{2})-[0-9A-Za-z_-]+\.jsonl")

logger = logging.getLogger(__name__)


class LogSink(Protocol):
    """Destination of the lines of the prediction log."""

    def encode(self, record: PredictionRecord, /) -> bytes:
        """Return a record as whole lines. Raises an error if JSON can't represent it."""

    def write(self, lines: bytes, day: dt.date, /) -> None:
        """Write whole lines to the operating system. Raises `OSError` if that fails."""

    def close(self) -> None:
        """Close the destination."""


class StdoutLock(Protocol):
    """A lock between processes that share standard output."""

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        """Acquire the lock. Return False if that takes longer than `timeout` seconds."""

    def release(self) -> None:
        """Release the lock."""


class DailyFileSink:
    """Dated files in a folder, which are deleted after `retention_days`, or when they exceed `max_bytes` in total.

    Several workers can write to one folder. Each counts all files when it opens a file.
    """

    def __init__(self, folder: Path, retention_days: int, max_bytes: int) -> None:
        self._folder = folder
        self._retention_days = retention_days
        self._max_bytes = max_bytes
        self._max_file_bytes = max(1, max_bytes // FILES_PER_LIMIT)
        self._day: dt.date | None = None
        self._file: BinaryIO | None = None
        self._size = 0
        """Bytes of whole lines in the file."""

    def encode(self, record: PredictionRecord, /) -> bytes:
        """Return the record as one line."""
        return record.to_json_line() + b"\n"

    def write(self, lines: bytes, day: dt.date, /) -> None:
        """Append to the file of `day`, completely or not at all. Deletes old files when it opens a file."""
        file = self._current_file(day)
        remaining = memoryview(lines)
        try:
            while remaining:
                remaining = remaining[file.write(remaining) :]
        except OSError:
            self._remove_partial_lines(file)
            raise
        self._size += len(lines)

    def close(self) -> None:
        """Close the file."""
        file, self._file = self._file, None  # Also if closing it fails.
        if file is not None:
            file.close()

    def _current_file(self, day: dt.date) -> BinaryIO:
        file = self._file
        if file is None or day != self._day or self._size >= self._max_file_bytes or _is_deleted(file):
            self.close()
            file = self._open_file(day)
            self._file, self._day, self._size = file, day, 0
        return file

    def _remove_partial_lines(self, file: BinaryIO) -> None:
        """Keep only whole lines. The file stays in use, so that a full disk doesn't get a new file at every write."""
        try:
            file.truncate(self._size)
            file.seek(self._size)
        except OSError:
            self.close()  # Its last line may be incomplete. The next write opens another file.

    def _open_file(self, day: dt.date) -> BinaryIO:
        self._folder.parent.mkdir(parents=True, exist_ok=True)
        self._folder.mkdir(mode=_FOLDER_MODE, exist_ok=True)
        oldest_kept = max(day.toordinal() - self._retention_days + 1, dt.date.min.toordinal())
        self._delete_old_files(str(dt.date.fromordinal(oldest_kept)))
        # Process IDs repeat after a container restart, but two writers must never share a file.
        name = f"predictions-{day}-{os.getpid()}-{secrets.token_hex(3)}.jsonl"
        path = self._folder / name
        path.touch(mode=_FILE_MODE, exist_ok=False)
        return path.open("r+b", buffering=0)

    def _delete_old_files(self, oldest_kept: str) -> None:
        """Delete the files of days before `oldest_kept`, and then the oldest files beyond the limits."""
        files = sorted(self._list_files())
        expired = [file for file in files if file[0] < oldest_kept]
        _delete(path for _, _, path, _ in expired)
        kept = files[len(expired) :]
        total_bytes = sum(size for _, _, _, size in kept)
        excess = list[Path]()
        # The new file can become as large as `_max_file_bytes`.
        while kept and (total_bytes > self._max_bytes - self._max_file_bytes or len(kept) >= MAX_FILES):
            _, _, path, size = kept.pop(0)
            total_bytes -= size
            excess.append(path)
        if excess:
            logger.warning(
                "The prediction log in %s reached its limit of %d MB or %d files: deleted %d of the oldest files. To "
                "keep more, raise PREPTIME_PREDICTION_LOG_MAX_MB.",
                self._folder,
                self._max_bytes // 2**20,
                MAX_FILES,
                len(excess),
            )
        _delete(excess)

    def _list_files(self) -> Iterator[tuple[str, float, Path, int]]:
        """Yield day, time of the last write, path, and size of every file of the log."""
        for path in self._folder.iterdir():
            name_match = _FILE_NAME.fullmatch(path.name)
            if name_match is not None:
                with suppress(FileNotFoundError):  # another worker deleted it
                    status = path.stat()
                    yield name_match[1], status.st_mtime, path, status.st_size


def _is_deleted(file: BinaryIO) -> bool:
    """Return whether another worker deleted the file because of the limits."""
    return os.fstat(file.fileno()).st_nlink == 0


def _delete(paths: Iterable[Path]) -> None:
    for path in paths:
        try:
            path.unlink(missing_ok=True)
        except PermissionError:  # on Windows, a file that another worker has open
            logger.warning("The old prediction log file %s can't be deleted.", path)


class StdoutSink:
    """Standard output, for containers. The lock keeps the lines of several workers apart."""

    def __init__(self, lock: StdoutLock | None = None) -> None:
        self._lock = lock

    def encode(self, record: PredictionRecord, /) -> bytes:
        """Return the record as one line for each of its entries."""
        return b"".join(entry + b"\n" for entry in encode_entries(record))

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
        """Do nothing: standard output belongs to the process."""


class PredictionLog:
    """Queues the records of requests and writes them in its own thread."""

    def __init__(self, sink: LogSink | None) -> None:
        """Without a `sink`, records are discarded."""
        self._sink = sink
        self._queue: deque[PredictionRecord] = deque()
        self._queued_orders = 0
        self._unwritten = 0
        """Records that the thread has taken from the queue and neither written nor dropped."""
        self._closed = False
        self._lock = threading.Lock()
        self._stop_requested = threading.Event()
        self._write_failing = False
        self.written = 0
        """Number of records written to the operating system."""
        self.dropped = 0
        """Number of records that couldn't be written."""
        self._thread = threading.Thread(target=self._write_loop, name="prediction-log", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        if self._sink is not None:
            self._thread.start()

    def record(self, record: PredictionRecord) -> None:
        """Queue a record. Never blocks and never raises. A record that can't be queued is counted in `dropped`."""
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
        """Write all queued records, for at most `timeout_seconds`, and count the rest in `dropped`.

        A second call does nothing.
        """
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._stop_requested.set()
        if self._thread.is_alive():
            self._thread.join(timeout_seconds)
        with self._lock:
            self.dropped += len(self._queue) + self._unwritten
            self._queue.clear()
            self._queued_orders = 0

    def _write_loop(self) -> None:
        while not self._stop_requested.wait(FLUSH_INTERVAL_SECONDS):
            self._flush()
        self._flush()
        if self._sink is not None:
            self._sink.close()

    def _flush(self) -> None:
        while batch := self._take_batch():
            for day, records in groupby(batch, key=lambda record: int(record.time // SECONDS_PER_DAY)):
                self._write(list(records), day)

    def _take_batch(self) -> list[PredictionRecord]:
        with self._lock:
            batch = [self._queue.popleft() for _ in range(min(MAX_LINES_PER_WRITE, len(self._queue)))]
            self._queued_orders -= sum(len(record.orders) for record in batch)
            self._unwritten = len(batch)
            return batch

    def _write(self, records: list[PredictionRecord], day: int) -> None:
        """Write or drop the records of a day, which counts from 1970-01-01."""
        if self._sink is None:
            return
        lines = [encoded for record in records if (encoded := _encode_record(record, self._sink)) is not None]
        written = 0
        try:
            if lines:
                self._sink.write(b"".join(lines), _EPOCH_DATE + dt.timedelta(days=day))
            written = len(lines)
            self._write_failing = False
        except Exception as error:  # noqa: BLE001  # The thread has to go on: without it, all later records are lost.
            self._log_first_failure(error)
        with self._lock:
            self.written += written
            self._unwritten -= len(records)
            self.dropped += len(records) - written

    def _log_first_failure(self, error: Exception) -> None:
        if not self._write_failing:
            traceback = None if isinstance(error, OSError) else error
            logger.error("The prediction log can't be written: %s", error, exc_info=traceback)
        self._write_failing = True


def _encode_record(record: PredictionRecord, sink: LogSink) -> bytes | None:
    """Return the lines of the record, or None if that fails, for example because JSON can't represent it."""
    try:
        return sink.encode(record)
    except Exception:
        logger.exception("Request %s can't be written to the prediction log.", record.request_id)
        return None
