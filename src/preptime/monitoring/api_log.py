"""The API's prediction log, read back: docs/operations.md, "The prediction log", says what a line holds.

The API's own types are out of reach here (no layer imports a sibling or what is above it); the tests hold these to what
the API writes. A line that is no record (a killed process leaves half of one) is counted and passed over.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from preptime.domain.timestamps import MICROSECONDS, parse_epoch

ORDER_FIELDS = (
    "order_acknowledged_at",
    "order_value_gbp",
    "restaurant_id",
    "number_of_items",
    "country",
    "city",
    "type_of_food",
    "order_id",
)
"""What of a logged order names it."""

_FILE_NAME = re.compile(r"predictions-(\d{4}-\d{2}-\d{2})-[\w-]+\.jsonl")
_MAX_EXACT_INTEGER = 2**53


class LogPrediction(msgspec.Struct):
    """One answer of `/v1/predictions` or of Vertex AI's route; `error` where the order could not be predicted."""

    p10: float | None = None
    p50: float | None = None
    p80: float | None = None
    p90: float | None = None
    fallback_level: str | None = None
    error: object = None


class LogResponse(msgspec.Struct):
    """The body that was sent: a list of answers, or for the demo's route seconds by model."""

    predictions: list[LogPrediction] | None = None
    quantile: list[float | None] | None = None


class LogRecord(msgspec.Struct):
    """One line."""

    time: float
    bundle: str
    orders: list[dict[str, object] | None]
    response: LogResponse


@dataclass(frozen=True, slots=True)
class LoggedOrder:
    """One order that the API answered."""

    time: float
    """Seconds since 1970, UTC."""
    bundle: str
    order: Mapping[str, object]
    prediction: LogPrediction


@dataclass(slots=True)
class LogReader:
    """Reads a folder of logs; afterwards knows what could not be read."""

    log_dir: Path
    unreadable_lines: int = field(default=0, init=False)

    def iter_orders(self, first: dt.date, last: dt.date) -> Iterator[LoggedOrder]:
        """Every answer of the files of those days (UTC), by file name and line. A folder that isn't there has none."""
        if not self.log_dir.is_dir():
            return
        for path in sorted(self.log_dir.iterdir()):
            match = _FILE_NAME.fullmatch(path.name)
            if match is not None and first.isoformat() <= match[1] <= last.isoformat():
                yield from self._iter_file(path)

    def _iter_file(self, path: Path) -> Iterator[LoggedOrder]:
        with path.open("rb") as lines:
            for line in lines:
                record = self._decode(line)
                if record is not None:
                    yield from _predicted_orders(record)

    def _decode(self, line: bytes) -> LogRecord | None:
        try:
            return msgspec.json.decode(line, type=LogRecord)
        except (msgspec.DecodeError, UnicodeDecodeError):
            self.unreadable_lines += 1
            return None


def _predicted_orders(record: LogRecord) -> Iterator[LoggedOrder]:
    body = record.response
    if body.predictions is not None:
        predictions = body.predictions
    else:
        predictions = [LogPrediction(p50=seconds) for seconds in body.quantile or ()]
    for order, prediction in zip(record.orders, predictions, strict=False):
        if order is not None and prediction.error is None and prediction.p50 is not None:
            yield LoggedOrder(record.time, record.bundle, order, prediction)


def to_text(name: str, value: object) -> str | None:
    """A logged cell as a file would hold it, None for what names nothing: text and numbers, of any spelling."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if name == "order_acknowledged_at":
        epoch_us = parse_epoch(value)
        return None if epoch_us is None else _format_utc(epoch_us)
    if isinstance(value, float) and value.is_integer() and abs(value) < _MAX_EXACT_INTEGER:
        return str(int(value))
    return repr(value)


def _format_utc(microseconds: int) -> str:
    seconds, remainder = divmod(microseconds, MICROSECONDS)
    return f"{dt.datetime.fromtimestamp(seconds, dt.UTC):%Y-%m-%dT%H:%M:%S}.{remainder:06d}Z"
