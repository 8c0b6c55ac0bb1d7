"""The files in which processes count: their format, their locks, and the totals of ended processes.

A file outlives its process, so a counter never decreases when a process is killed. A lock shows whether a process is
alive, because the system releases the lock when the process ends for any reason. When a process starts, it adds the
files of ended processes to one file with their totals.
"""

from __future__ import annotations

import logging
import mmap
import os
import secrets
import struct
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from operator import add
from pathlib import Path
from typing import BinaryIO

import msgspec

from preptime.atomic_write import TEMPORARY_SUFFIX, temporary_sibling, write_bytes

METRICS_SUFFIX, STATE_SUFFIX = ".counts", ".state"
TOTALS_NAME, TOTALS_LOCK_NAME = "ended.totals", "ended.lock"
"""The summed counts of ended processes, and the lock of the process that changes them."""
MAX_READ_ATTEMPTS = 20
"""How often reading starts again because another process has changed the totals in the meantime."""
ABANDONED_SECONDS = 3600.0
"""Age after which a temporary file of a killed process is removed."""
MAX_ROWS = 1024
"""Maximum number of combinations of endpoint, status, and key name. Further ones are counted as `OVERFLOW_LABELS`."""
LABEL_BYTES = 192
BUCKETS_SECONDS = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
BUCKETS_SIZE = (1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000)
"""Upper bounds for orders per request and for requests per batch."""
REQUESTS, SECONDS, ORDERS, FIRST_BUCKET = range(4)
_ROW_VALUES = struct.Struct(f"={FIRST_BUCKET + len(BUCKETS_SECONDS) + 1}d")
ROW_BYTES = LABEL_BYTES + _ROW_VALUES.size
"""A multiple of 8, so that numbers are aligned and reads and writes are atomic."""
_ROWS_PER_READ = 64

MetricLabels = tuple[str, str, str]
"""Endpoint, status, and name of the API key, which is empty if there's none."""
OVERFLOW_LABELS: MetricLabels = ("other", "", "")
PREDICTION_LOG_LABELS: MetricLabels = ("prediction log", "", "")
"""The first values of this row are the counts of the prediction log."""
WRITTEN, DROPPED = range(2)
PROCESS_LABELS: MetricLabels = ("process", "", "")
"""The first values of this row describe the process. Only the processor time is summed when the process has ended."""
CPU_SECONDS, HEARTBEATS, STARTED_AT, RESIDENT_BYTES, OPEN_FILES, LOG_BYTES, LOG_FILES = range(7)
BATCHES_LABELS: MetricLabels = ("batches", "", "")
"""Batches, an unused value, requests in batches, and batches by size."""
ORDERS_NAME, REJECTIONS_NAME, REPLACEMENTS_NAME = "orders per request", "rejections", "replacements"
"""First labels of rows for requests by endpoint and size, rejected requests by cause, and replaced workers by cause."""
NOTES_NAME = "notes"
"""First label of rows for predicted orders with a note, by note."""
NOTES = ("restaurant_differs", "missing_features", "invalid_kitchen")
"""The notes, named like the response fields."""
REPLACEMENT_CAUSES = ("ended", "unresponsive")
"""Why a worker was replaced."""
ORDERS_OVERFLOW_LABELS: MetricLabels = (ORDERS_NAME, "other", "")

logger = logging.getLogger(__name__)


class MetricsRow(msgspec.Struct, frozen=True):
    """Values for one combination of labels: requests, seconds, orders, and requests by bucket."""

    labels: MetricLabels
    values: tuple[float, ...]


class SharedCounts(msgspec.Struct, frozen=True):
    """The counts of all processes that share a folder."""

    rows: list[MetricsRow]
    """Counts, including those of ended processes."""
    processes: list[tuple[float, ...]]
    """The values of `PROCESS_LABELS` of each live process."""


class _EndedTotals(msgspec.Struct, frozen=True):
    """The counts of ended processes."""

    version: str = ""
    """Differs for every change."""
    names: frozenset[str] = frozenset()
    """Files that the rows include. They are deleted, or will be."""
    rows: tuple[tuple[MetricLabels, tuple[float, ...]], ...] = ()


def read_shared_counts(folder: Path) -> SharedCounts:
    """Return the counts of all processes that share `folder`, including ended ones.

    Another process can add files to the totals at the same time. Reading then starts again, so that every count is
    included exactly once. Raises `OSError` if the files change all the time.
    """
    for _ in range(MAX_READ_ATTEMPTS):
        totals = _read_totals(folder)
        counts = _read_counts(folder, totals)
        if counts is not None and _read_totals(folder).version == totals.version:
            return counts
    raise OSError(f"{folder}: the metrics files change all the time")


def _read_counts(folder: Path, totals: _EndedTotals) -> SharedCounts | None:
    """Return the totals and the counts in all other files, or None if a file has been deleted in the meantime."""
    rows, processes = [MetricsRow(labels, values) for labels, values in totals.rows], []
    for path in folder.glob(f"*{METRICS_SUFFIX}"):
        if path.name in totals.names:
            continue
        try:
            file_rows, is_live = _read_rows(path), is_locked(path)
        except FileNotFoundError:
            return None
        rows += file_rows
        processes += [row.values for row in file_rows if is_live and row.labels == PROCESS_LABELS]
    return SharedCounts(rows, processes)


def read_heartbeats(folder: Path) -> dict[int, float]:
    """Return the number of heartbeats of each live process by its ID. Raises `OSError` if a file can't be read."""
    heartbeats = {}
    for path in folder.glob(f"*{METRICS_SUFFIX}"):
        with suppress(FileNotFoundError):
            if is_locked(path):
                values = next((row.values for row in _read_rows(path) if row.labels == PROCESS_LABELS), None)
                heartbeats[int(path.name.partition("-")[0])] = values[HEARTBEATS] if values else 0.0
    return heartbeats


def add_ended_to_totals(folder: Path) -> None:
    """Add the counts of ended processes to the totals and delete their files. On Windows, this does nothing.

    A process can be killed between any two steps: the totals name the files that they include, so that no file counts
    twice. If another process is changing the totals, this does nothing.
    """
    if sys.platform == "win32":
        return
    with (folder / TOTALS_LOCK_NAME).open("ab") as file:
        try:
            lock_file(file)
        except BlockingIOError:
            return
        totals = _read_totals(folder)
        _delete_ended(folder, totals.names)
        ended = [path for path in folder.glob(f"*{METRICS_SUFFIX}") if not is_locked(path)]
        if ended:
            names = frozenset(path.name for path in ended)
            added = [row for path in ended for row in _read_rows(path)]
            rows = sum_rows([*(MetricsRow(labels, values) for labels, values in totals.rows), *added])
            new_totals = _EndedTotals(secrets.token_hex(8), names, tuple(rows.items()))
            write_bytes(folder / TOTALS_NAME, msgspec.json.encode(new_totals))
            _delete_ended(folder, names)
    _delete_abandoned(folder)


def sum_rows(rows: Iterable[MetricsRow]) -> dict[MetricLabels, tuple[float, ...]]:
    """Return the sums of the values by labels."""
    sums: dict[MetricLabels, tuple[float, ...]] = {}
    for row in rows:
        total = sums.get(row.labels)
        sums[row.labels] = row.values if total is None else tuple(map(add, total, row.values))
    return sums


def _read_totals(folder: Path) -> _EndedTotals:
    try:
        return msgspec.json.decode((folder / TOTALS_NAME).read_bytes(), type=_EndedTotals)
    except FileNotFoundError:
        return _EndedTotals()
    except msgspec.MsgspecError as error:
        logger.warning("The counts of ended workers are lost: %s is damaged: %s", folder / TOTALS_NAME, error)
        return _EndedTotals()


def _delete_ended(folder: Path, names: Iterable[str]) -> None:
    for name in names:
        (folder / name).unlink(missing_ok=True)
        (folder / name).with_suffix(STATE_SUFFIX).unlink(missing_ok=True)


def _delete_abandoned(folder: Path) -> None:
    """Delete the temporary files of processes that were killed while they wrote one."""
    for path in folder.glob(f".*{TEMPORARY_SUFFIX}"):
        with suppress(FileNotFoundError):
            if path.stat().st_mtime < time.time() - ABANDONED_SECONDS and not is_locked(path):
                path.unlink()


def create_buffer(path: Path | None) -> mmap.mmap:
    """Return memory for the counts, mapped to a file if there's a `path`. The file stays locked while it's mapped."""
    size = MAX_ROWS * ROW_BYTES
    if path is None:
        return mmap.mmap(-1, size)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path if sys.platform == "win32" else temporary_sibling(path)
    with temporary.open("x+b") as file:
        lock_file(file)
        # On a full disk, writing to a part of the file without disk space would end the process by a signal.
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        else:
            file.truncate(size)
        buffer = mmap.mmap(file.fileno(), size)
    if sys.platform != "win32":
        # Under its name, the file is locked from the beginning, so that no process adds it to the totals.
        temporary.rename(path)
    return buffer


def _read_rows(path: Path) -> list[MetricsRow]:
    """Return the rows in a metrics file. Reads only the used part of the file."""
    rows: list[MetricsRow] = []
    with path.open("rb") as file:
        while content := file.read(_ROWS_PER_READ * ROW_BYTES):
            new_rows = list(parse_rows(content))
            rows += new_rows
            if len(new_rows) < _ROWS_PER_READ:
                break
    return rows


def parse_rows(content: bytes) -> Iterator[MetricsRow]:
    """Yield the rows in the content of a metrics file."""
    for start in range(0, len(content) - ROW_BYTES + 1, ROW_BYTES):
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
