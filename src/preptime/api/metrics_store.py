"""Metrics and state of the workers, in files that all workers can read.

Every worker counts in its own memory-mapped file. Metrics are the sums over the files of all workers. A file outlives
its worker, so a counter never decreases when a worker is killed. An `observe` takes 1.5 µs; `prometheus_client` in
multiprocess mode takes 8 to 16 µs. A file lock shows whether a worker is alive, because the system releases the lock
when the process ends for any reason.
"""

from __future__ import annotations

import mmap
import os
import secrets
import shutil
import struct
import sys
import tempfile
import threading
import time
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import msgspec

from preptime.atomic_write import write_bytes

FOLDER_PREFIX = "preptime-serve-"
LOCK_NAME = "main.lock"
"""The main process locks this file while it's alive. Each worker locks its own file in the same folder."""

METRICS_SUFFIX, STATE_SUFFIX = ".counts", ".state"
MAX_ROWS = 1024
"""Maximum number of combinations of endpoint, status, and key name. Further ones are counted as `OVERFLOW_LABELS`."""
LABEL_BYTES = 192
BUCKETS_SECONDS = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
REQUESTS, SECONDS, ORDERS, FIRST_BUCKET = range(4)
_ROW_VALUES = struct.Struct(f"={FIRST_BUCKET + len(BUCKETS_SECONDS) + 1}d")
ROW_BYTES = LABEL_BYTES + _ROW_VALUES.size
"""A multiple of 8, so that numbers are aligned and reads and writes are atomic."""

MetricLabels = tuple[str, str, str]
"""Endpoint, status, and name of the API key, which is empty if there's none."""
OVERFLOW_LABELS: MetricLabels = ("other", "", "")
PREDICTION_LOG_LABELS: MetricLabels = ("prediction log", "", "")
"""The first values of this row are the counts of the prediction log."""
WRITTEN, DROPPED = range(2)


class WorkerState(msgspec.Struct, frozen=True, kw_only=True):
    """State that a worker publishes once per second."""

    updated_at: float
    """Seconds since 1970-01-01 00:00 UTC."""
    ready: bool
    bundle: str = ""
    champion_number: int = 0
    history_timestamp: float = 0.0
    """Midnight (UTC) of the bundle's as-of date, in seconds since 1970. The history has events before it."""
    rejected_bundle: str = ""
    """The latest champion's bundle, if this worker rejected it."""
    champion_error: str = ""
    """Why the active bundle may not be the latest champion."""


class MetricsRow(msgspec.Struct, frozen=True):
    """Values for one combination of labels: requests, seconds, orders, and requests by bucket."""

    labels: MetricLabels
    values: tuple[float, ...]


class MetricsStore:
    """One worker's counts and state. Safe to use from several threads."""

    def __init__(self, folder: Path | None) -> None:
        """Without a `folder`, the counts stay in this process."""
        self._folder = folder
        self._name = f"{os.getpid()}-{secrets.token_hex(3)}"
        self._buffer = _create_buffer(None if folder is None else folder / f"{self._name}{METRICS_SUFFIX}")
        self._values = memoryview(self._buffer).cast("d")
        self._offset_cache: dict[tuple[str, int, str | None], int] = {}
        self._offsets: dict[MetricLabels, int] = {}
        self._lock = threading.Lock()
        self._state: WorkerState | None = None
        self._log_offset = self._offset_of(PREDICTION_LOG_LABELS)
        self._offset_of(OVERFLOW_LABELS)

    def observe(self, endpoint: str, status: int, seconds: float, orders: int, key_name: str | None) -> None:
        """Count one request with its response."""
        cache_key = (endpoint, status, key_name)
        bucket = FIRST_BUCKET + bisect_left(BUCKETS_SECONDS, seconds)
        values = self._values
        with self._lock:
            offset = self._offset_cache.get(cache_key)
            if offset is None:
                offset = self._offset_cache[cache_key] = self._offset_of((endpoint, str(status), key_name or ""))
            values[offset] += 1
            values[offset + SECONDS] += seconds
            values[offset + ORDERS] += orders
            values[offset + bucket] += 1

    def set_log_counts(self, written: int, dropped: int) -> None:
        """Set how many requests this worker's prediction log has written and dropped."""
        self._values[self._log_offset + WRITTEN] = written
        self._values[self._log_offset + DROPPED] = dropped

    def publish_state(self, state: WorkerState) -> None:
        """Publish this worker's state. Raises `OSError` if the file can't be written."""
        self._state = state
        if self._folder is not None:
            write_bytes(self._folder / f"{self._name}{STATE_SUFFIX}", msgspec.json.encode(state))

    def own_rows(self) -> Iterator[MetricsRow]:
        """Return this worker's counts."""
        return parse_rows(self._buffer[:])

    @property
    def state(self) -> WorkerState | None:
        """The state that this worker last published."""
        return self._state

    def _offset_of(self, labels: MetricLabels) -> int:
        """Return the offset of the values for these labels. New labels get a row until all rows are in use."""
        if labels in self._offsets:
            return self._offsets[labels]
        row = len(self._offsets)
        if row == MAX_ROWS:
            return self._offsets[OVERFLOW_LABELS]
        name = "\0".join(labels).encode()[:LABEL_BYTES]
        self._buffer[row * ROW_BYTES : row * ROW_BYTES + len(name)] = name
        self._offsets[labels] = (row * ROW_BYTES + LABEL_BYTES) // 8
        return self._offsets[labels]


def read_shared_rows(folder: Path) -> Iterator[MetricsRow]:
    """Yield the counts of all workers that share `folder`, including workers that have ended."""
    for path in folder.glob(f"*{METRICS_SUFFIX}"):
        yield from parse_rows(path.read_bytes())


def read_live_states(folder: Path, *, stale_seconds: float) -> list[WorkerState]:
    """Return the states of live workers, without those older than `stale_seconds`."""
    live_paths = (path for path in folder.glob(f"*{STATE_SUFFIX}") if is_locked(path.with_suffix(METRICS_SUFFIX)))
    states = (msgspec.json.decode(path.read_bytes(), type=WorkerState) for path in live_paths)
    min_updated_at = time.time() - stale_seconds
    return [state for state in states if state.updated_at >= min_updated_at]


def _create_buffer(path: Path | None) -> mmap.mmap:
    """Return memory for the counts, mapped to a file if there's a `path`. The file stays locked while it's mapped."""
    if path is None:
        return mmap.mmap(-1, MAX_ROWS * ROW_BYTES)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("x+b") as file:
        lock_file(file)
        file.truncate(MAX_ROWS * ROW_BYTES)
        return mmap.mmap(file.fileno(), MAX_ROWS * ROW_BYTES)


def parse_rows(content: bytes) -> Iterator[MetricsRow]:
    """Yield the rows in the content of a metrics file."""
    for start in range(0, len(content), ROW_BYTES):
        name = content[start : start + LABEL_BYTES].rstrip(b"\0")
        if not name:
            return
        endpoint, status, key = (*name.decode(errors="replace").split("\0"), "", "")[:3]
        yield MetricsRow((endpoint, status, key), _ROW_VALUES.unpack_from(content, start + LABEL_BYTES))


def lock_file(file: BinaryIO) -> None:
    """Lock the file until all its handles, including duplicates, are closed or this process ends.

    On Windows, this does nothing.
    """
    if sys.platform != "win32":
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def is_locked(path: Path) -> bool:
    """Return whether a process has locked the file. On Windows, it's always True."""
    if sys.platform == "win32":
        return True
    import fcntl

    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False


@contextmanager
def temporary_metrics_folder() -> Iterator[Path]:
    """Create a temporary folder for this server's metrics. Removes the folders of servers that have ended."""
    _remove_orphans()
    created = Path(tempfile.mkdtemp(prefix="preptime-"))
    with (created / LOCK_NAME).open("wb") as file:
        lock_file(file)
        # Other servers remove unlocked folders with `FOLDER_PREFIX`, so it gets this prefix after the lock.
        folder = created.rename(created.with_name(FOLDER_PREFIX + created.name.removeprefix("preptime-")))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _remove_orphans() -> None:
    """Remove the metrics folders without a locked file. On Windows, this removes nothing."""
    for folder in Path(tempfile.gettempdir()).glob(f"{FOLDER_PREFIX}*"):
        try:
            is_orphan = (folder / LOCK_NAME).exists() and not any(is_locked(path) for path in folder.iterdir())
        except (PermissionError, FileNotFoundError):
            continue  # It belongs to another user, or another server has just removed it.
        if is_orphan:
            shutil.rmtree(folder, ignore_errors=True)
