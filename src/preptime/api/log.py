"""The prediction log: what was asked and answered, so that it can be joined with what happened later.

A request hands its record over and goes on; a thread writes what has gathered, ten times a second. Each worker writes
files of its own, one a day (UTC): lines of several processes never mix. Bytes are given to the operating system at
every write, so that a killed process loses at most what it took since the last one.
"""

from __future__ import annotations

import datetime as dt
import logging
import threading
from collections import deque
from itertools import groupby

import msgspec

from preptime.api.log_targets import Target
from preptime.api.service import PredictionRecord

FLUSH_SECONDS = 0.1
"""Between two writes. The promise is a second; this leaves room for a slow disk."""
MOST_WAITING_ORDERS = 50_000
"""Orders that may wait for the writer, some 50 MB: far more than gather between two writes unless the disk stands."""
LINES_AT_ONCE = 64
"""A write gives requests their turn, so that none waits while a whole batch is encoded."""
SECONDS_A_DAY = 86_400
_EPOCH = dt.date(1970, 1, 1)
_LOG = logging.getLogger(__name__)


class PredictionLog:
    """Takes records from requests and writes them in a thread of its own."""

    def __init__(self, target: Target | None) -> None:
        """Without a `target` nothing is kept."""
        self._target = target
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
            if self._closed or (self._waiting and self._waiting_orders + orders > MOST_WAITING_ORDERS):
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
