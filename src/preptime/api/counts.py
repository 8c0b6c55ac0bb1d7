"""What the workers count, and say of themselves, where all of them can read it.

Every worker counts in a file of its own, mapped into memory; whoever is asked adds up the files of all. A file outlives
its worker, so a counter never goes back when one is killed. An `observe` costs about 1.5 µs; the usual client library
costs 8 to 16 µs in its mode for several processes.
"""

from __future__ import annotations

import mmap
import os
import secrets
import struct
import threading
import time
from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path

import msgspec

from preptime.api.living import hold, is_held

COUNTS, STATE = ".counts", ".state"
ROWS = 1024
"""Most combinations of endpoint, status and key name; what comes after is counted as `OVERFLOW`."""
LABEL_BYTES = 192
BUCKETS_SECONDS = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
REQUESTS, SECONDS, ORDERS, FIRST_BUCKET = range(4)
_NUMBERS = struct.Struct(f"={FIRST_BUCKET + len(BUCKETS_SECONDS) + 1}d")
ROW_BYTES = LABEL_BYTES + _NUMBERS.size
"""A multiple of 8, so that a number is read and written whole."""

Labels = tuple[str, str, str]
"""Endpoint, status, name of the key ("" for none)."""
OVERFLOW: Labels = ("other", "", "")
LOG_ROW: Labels = ("prediction log", "", "")
"""This row's first numbers are the prediction log's."""
WRITTEN, DROPPED = range(2)


class WorkerState(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker tells the others of itself, once a second."""

    at: float
    """Seconds since 1970-01-01 00:00 UTC."""
    ready: bool
    bundle: str = ""
    number: int = 0
    history_at: float = 0.0
    """The midnight (UTC) that begins the bundle's date: what happened before it is known. Seconds since 1970."""
    refused: str = ""
    """The bundle that it did not follow."""
    trouble: str = ""
    """Why what it serves may not be the latest champion."""


class Row(msgspec.Struct, frozen=True):
    """One combination's numbers: requests, seconds, orders, and requests by bucket."""

    labels: Labels
    numbers: tuple[float, ...]


class Counts:
    """One worker's numbers. Threads may share them."""

    def __init__(self, folder: Path | None) -> None:
        """Without a `folder` nothing is shared."""
        self._folder = folder
        self._name = f"{os.getpid()}-{secrets.token_hex(3)}"
        self._map = _mapped(None if folder is None else folder / f"{self._name}{COUNTS}")
        self._numbers = memoryview(self._map).cast("d")
        self._known: dict[tuple[str, int, str | None], int] = {}
        self._places: dict[Labels, int] = {}
        self._lock = threading.Lock()
        self._state: WorkerState | None = None
        self._log_place = self._place(LOG_ROW)
        self._place(OVERFLOW)

    def observe(self, endpoint: str, status: int, seconds: float, orders: int, key_name: str | None) -> None:
        """Count one answered request."""
        asked = (endpoint, status, key_name)
        bucket = FIRST_BUCKET + bisect_left(BUCKETS_SECONDS, seconds)
        numbers = self._numbers
        with self._lock:
            place = self._known.get(asked)
            if place is None:
                place = self._known[asked] = self._place((endpoint, str(status), key_name or ""))
            numbers[place] += 1
            numbers[place + SECONDS] += seconds
            numbers[place + ORDERS] += orders
            numbers[place + bucket] += 1

    def count_log(self, written: int, dropped: int) -> None:
        """How many predictions this worker's log has written and dropped so far."""
        self._numbers[self._log_place + WRITTEN] = written
        self._numbers[self._log_place + DROPPED] = dropped

    def tell(self, state: WorkerState) -> None:
        """What this worker says of itself from now on. Raises `OSError` when the folder does not take it."""
        self._state = state
        if self._folder is not None:
            waiting = self._folder / f"{self._name}.waiting"
            waiting.write_bytes(msgspec.json.encode(state))
            waiting.replace(self._folder / f"{self._name}{STATE}")

    def own_rows(self) -> Iterator[Row]:
        """What this worker counted."""
        return rows_of(self._map[:])

    @property
    def state(self) -> WorkerState | None:
        """What this worker said last."""
        return self._state

    def _place(self, labels: Labels) -> int:
        """Where the numbers of these labels stand; a place of their own while there are some."""
        if labels in self._places:
            return self._places[labels]
        row = len(self._places)
        if row == ROWS:
            return self._places[OVERFLOW]
        name = "\0".join(labels).encode()[:LABEL_BYTES]
        self._map[row * ROW_BYTES : row * ROW_BYTES + len(name)] = name
        self._places[labels] = (row * ROW_BYTES + LABEL_BYTES) // 8
        return self._places[labels]


def shared_rows(folder: Path) -> Iterator[Row]:
    """What all workers of `folder` counted, those included that are gone."""
    for path in folder.glob(f"*{COUNTS}"):
        yield from rows_of(path.read_bytes())


def shared_states(folder: Path, *, stale_seconds: float) -> list[WorkerState]:
    """What the workers that live say of themselves; one that was silent for `stale_seconds` is taken for gone too."""
    living = (path for path in folder.glob(f"*{STATE}") if is_held(path.with_suffix(COUNTS)))
    found = (msgspec.json.decode(path.read_bytes(), type=WorkerState) for path in living)
    oldest = time.time() - stale_seconds
    return [state for state in found if state.at >= oldest]


def _mapped(path: Path | None) -> mmap.mmap:
    """Memory, with a file behind it that is held for as long as it is mapped: that tells that this worker lives."""
    if path is None:
        return mmap.mmap(-1, ROWS * ROW_BYTES)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("x+b") as file:
        hold(file)
        file.truncate(ROWS * ROW_BYTES)
        return mmap.mmap(file.fileno(), ROWS * ROW_BYTES)


def rows_of(content: bytes) -> Iterator[Row]:
    """The rows of a file of counts."""
    for start in range(0, len(content), ROW_BYTES):
        name = content[start : start + LABEL_BYTES].rstrip(b"\0")
        if not name:
            return
        endpoint, status, key = (*name.decode(errors="replace").split("\0"), "", "")[:3]
        yield Row((endpoint, status, key), _NUMBERS.unpack_from(content, start + LABEL_BYTES))
