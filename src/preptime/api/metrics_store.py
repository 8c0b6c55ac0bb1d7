"""Metrics and state of the workers, in files that all workers can read.

Every process counts in its own memory-mapped file (`metrics_files`). Metrics are the sums over all files. An `observe`
takes 2 µs; `prometheus_client` in multiprocess mode takes 8 to 16 µs.
"""

from __future__ import annotations

import logging
import mmap
import os
import secrets
import shutil
import tempfile
import threading
import time
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from preptime.api.metrics_files import (
    BATCHES_LABELS,
    BUCKETS_SECONDS,
    BUCKETS_SIZE,
    CPU_SECONDS,
    DROPPED,
    FIRST_BUCKET,
    HEARTBEATS,
    LABEL_BYTES,
    LOG_BYTES,
    LOG_FILES,
    MAX_ROWS,
    METRICS_SUFFIX,
    NOTES_NAME,
    OPEN_FILES,
    ORDERS,
    ORDERS_NAME,
    ORDERS_OVERFLOW_LABELS,
    OVERFLOW_LABELS,
    PREDICTION_LOG_LABELS,
    PROCESS_LABELS,
    REJECTIONS_NAME,
    REPLACEMENTS_NAME,
    REQUESTS,
    RESIDENT_BYTES,
    ROW_BYTES,
    SECONDS,
    STARTED_AT,
    STATE_SUFFIX,
    WRITTEN,
    MetricLabels,
    SharedCounts,
    add_ended_to_totals,
    create_buffer,
    is_locked,
    lock_file,
    parse_rows,
)
from preptime.atomic_write import write_bytes

FOLDER_PREFIX = "preptime-serve-"
LOCK_NAME = "main.lock"
"""The main process locks this file while it's alive. Each worker locks its own file in the same folder."""

logger = logging.getLogger(__name__)


class WorkerState(msgspec.Struct, frozen=True, kw_only=True):
    """State that a worker publishes once per second."""

    updated_at: float
    """Seconds since 1970-01-01 00:00 UTC."""
    ready: bool
    bundle: str = ""
    champion_number: int = 0
    history_timestamp: float = 0.0
    """Midnight of the bundle's as-of date (`last_midnight`). The history has events before it."""
    rejected_bundle: str = ""
    """The latest champion's bundle, if this worker rejected it."""
    champion_error: str = ""
    """Why the active bundle may not be the latest champion."""
    reason: str = ""
    """Why this worker isn't ready."""
    store_available: bool = True
    """Whether the latest poll of the champion log succeeded."""
    last_poll_at: float = 0.0
    """Time of the latest successful poll, in seconds since 1970. 0 before the first one."""
    concurrent_requests: int = 0
    concurrent_bytes: int = 0
    concurrent_orders: int = 0
    """Prediction requests that the worker handles, the total size of their bodies, and their orders."""
    limits: dict[str, float] = {}
    """Values of the settings that limit requests, by the setting's name."""


class MetricsStore:
    """One worker's counts and state. Safe to use from several threads."""

    def __init__(self, folder: Path | None) -> None:
        """Without a `folder`, the counts stay in this process."""
        self._folder = folder
        self._name = f"{os.getpid()}-{secrets.token_hex(3)}"
        self._buffer = create_buffer(None if folder is None else folder / f"{self._name}{METRICS_SUFFIX}")
        self._values = memoryview(self._buffer).cast("d")
        self._offset_cache: dict[tuple[str, int, str | None], tuple[int, int]] = {}
        self._offsets: dict[MetricLabels, int] = {}
        self._lock = threading.Lock()
        self._state: WorkerState | None = None
        self._log_offset = self._offset_of(PREDICTION_LOG_LABELS)
        self._process_offset = self._offset_of(PROCESS_LABELS)
        self._batches_offset = self._offset_of(BATCHES_LABELS)
        self._offset_of(OVERFLOW_LABELS)
        self._offset_of(ORDERS_OVERFLOW_LABELS)
        self._values[self._process_offset + STARTED_AT] = time.time()
        if folder is not None:
            self._add_ended_to_totals(folder)

    def _add_ended_to_totals(self, folder: Path) -> None:
        try:
            add_ended_to_totals(folder)
        except OSError as error:  # The files stay, and every count is still included once.
            logger.warning("The counts of ended workers can't be merged: %s", error)

    def observe(self, endpoint: str, status: int, seconds: float, orders: int, key_name: str | None) -> None:
        """Count one request with its response."""
        cache_key = (endpoint, status, key_name)
        bucket = FIRST_BUCKET + bisect_left(BUCKETS_SECONDS, seconds)
        values = self._values
        with self._lock:
            offsets = self._offset_cache.get(cache_key)
            if offsets is None:
                offsets = self._offset_cache[cache_key] = (
                    self._offset_of((endpoint, str(status), key_name or "")),
                    self._offset_of((ORDERS_NAME, endpoint, "")) + FIRST_BUCKET,
                )
            offset, orders_offset = offsets
            values[offset] += 1
            values[offset + SECONDS] += seconds
            values[offset + ORDERS] += orders
            values[offset + bucket] += 1
            if orders:
                values[orders_offset + bisect_left(BUCKETS_SIZE, orders)] += 1

    def observe_batch(self, requests: int) -> None:
        """Count one batch with its number of requests."""
        offset, bucket = self._batches_offset, FIRST_BUCKET + bisect_left(BUCKETS_SIZE, requests)
        with self._lock:
            self._values[offset + REQUESTS] += 1
            self._values[offset + ORDERS] += requests
            self._values[offset + bucket] += 1

    def count_rejection(self, cause: str) -> None:
        """Count one request that was rejected because of a limit."""
        self._count((REJECTIONS_NAME, cause, ""))

    def count_notes(self, note: str, orders: int) -> None:
        """Count predicted orders with a note. `note` is one of `metrics_files.NOTES`."""
        self._count((NOTES_NAME, note, ""), orders)

    def count_replacement(self, cause: str) -> None:
        """Count one worker that the main process replaced."""
        self._count((REPLACEMENTS_NAME, cause, ""))

    def _count(self, labels: MetricLabels, count: int = 1) -> None:
        with self._lock:
            self._values[self._offset_of(labels)] += count

    def count_process(self) -> None:
        """Count a heartbeat of this process, and update its processor time, memory, and open files."""
        values, offset = self._values, self._process_offset
        values[offset + HEARTBEATS] += 1
        values[offset + CPU_SECONDS] = time.process_time()
        values[offset + RESIDENT_BYTES], values[offset + OPEN_FILES] = _resident_bytes(), _open_files()

    def set_log_size(self, size_bytes: int, files: int) -> None:
        """Set the size and the number of all files of the prediction log, as this process found them."""
        self._values[self._process_offset + LOG_BYTES] = size_bytes
        self._values[self._process_offset + LOG_FILES] = files

    def set_log_counts(self, written: int, dropped: int) -> None:
        """Set how many requests this worker's prediction log has written and dropped."""
        self._values[self._log_offset + WRITTEN] = written
        self._values[self._log_offset + DROPPED] = dropped

    def publish_state(self, state: WorkerState) -> None:
        """Publish this worker's state. Raises `OSError` if the file can't be written."""
        self._state = state
        if self._folder is not None:
            write_bytes(self._folder / f"{self._name}{STATE_SUFFIX}", msgspec.json.encode(state))

    def own_counts(self) -> SharedCounts:
        """Return this process's counts."""
        rows = list(parse_rows(self._buffer[:]))
        return SharedCounts(rows, [row.values for row in rows if row.labels == PROCESS_LABELS])

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
            return self._offsets[ORDERS_OVERFLOW_LABELS if labels[0] == ORDERS_NAME else OVERFLOW_LABELS]
        name = "\0".join(labels).encode()[:LABEL_BYTES]
        self._buffer[row * ROW_BYTES : row * ROW_BYTES + len(name)] = name
        self._offsets[labels] = (row * ROW_BYTES + LABEL_BYTES) // 8
        return self._offsets[labels]


def read_live_states(folder: Path, *, stale_seconds: float) -> list[WorkerState]:
    """Return the states of live workers, without those older than `stale_seconds`."""
    min_updated_at = time.time() - stale_seconds
    return [state for state in read_states(folder) if state.updated_at >= min_updated_at]


def read_states(folder: Path) -> list[WorkerState]:
    """Return the latest state of each live worker."""
    states = []
    for path in folder.glob(f"*{STATE_SUFFIX}"):
        with suppress(FileNotFoundError):
            if is_locked(path.with_suffix(METRICS_SUFFIX)):
                states.append(msgspec.json.decode(path.read_bytes(), type=WorkerState))
    return states


def _resident_bytes() -> float:
    """Return the resident memory of this process. 0 on systems without /proc."""
    try:
        pages = Path("/proc/self/statm").read_bytes().split()[1]
    except OSError:
        return 0.0
    return float(int(pages) * mmap.PAGESIZE)


def _open_files() -> float:
    """Return the number of open files and sockets of this process. 0 on systems without /proc."""
    try:
        return float(sum(1 for _ in Path("/proc/self/fd").iterdir()))
    except OSError:
        return 0.0


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
