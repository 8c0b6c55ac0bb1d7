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

from preptime.api.log_targets import LogSink
from preptime.api.service import PredictionRecord

FLUSH_INTERVAL_SECONDS = 0.1
"""Between two writes. The promise is a second; this leaves room for a slow disk."""
MAX_QUEUED_ORDERS = 50_000
"""Orders that may wait for the writer, some 50 MB: far more than gather between two writes unless the disk stands."""
MAX_LINES_PER_WRITE = 64
"""A write gives requests their turn, so that none waits while a whole batch is encoded."""
SECONDS_PER_DAY = 86_400
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
