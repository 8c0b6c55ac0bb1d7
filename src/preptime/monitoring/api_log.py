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

from preptime.domain.timestamps import MICROSECONDS, epoch_microseconds

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

_FILE = re.compile(r"predictions-(\d{4}-\d{2}-\d{2})-[\w-]+\.jsonl")
_WHOLE_FLOAT = 2**53


class Answer(msgspec.Struct):
    """One answer of `/v1/predictions` or of Vertex AI's route; `error` where the order could not be predicted."""

    p10: float | None = None
    p50: float | None = None
    p80: float | None = None
    p90: float | None = None
    basis: str | None = None
    error: object = None


class AnswerBody(msgspec.Struct):
    """The body that was sent: a list of answers, or for the demo's route seconds by model."""

    predictions: list[Answer] | None = None
    quantile: list[float | None] | None = None


class Record(msgspec.Struct):
    """One line."""

    time: float
    bundle: str
    orders: list[dict[str, object] | None]
    answer: AnswerBody


@dataclass(frozen=True, slots=True)
class Logged:
    """One order that the API answered."""

    time: float
    """Seconds since 1970, UTC."""
    bundle: str
    order: Mapping[str, object]
    answer: Answer


@dataclass(slots=True)
class LogReader:
    """Reads a folder of logs; afterwards knows what could not be read."""

    folder: Path
    unreadable: int = field(default=0, init=False)

    def answers(self, first: dt.date, last: dt.date) -> Iterator[Logged]:
        """Every answer of the files of those days (UTC), by file name and line. A folder that isn't there has none."""
        if not self.folder.is_dir():
            return
        for path in sorted(self.folder.iterdir()):
            named = _FILE.fullmatch(path.name)
            if named is not None and first.isoformat() <= named[1] <= last.isoformat():
                yield from self._of_file(path)

    def _of_file(self, path: Path) -> Iterator[Logged]:
        with path.open("rb") as lines:
            for line in lines:
                record = self._record(line)
                if record is not None:
                    yield from _answered(record)

    def _record(self, line: bytes) -> Record | None:
        try:
            return msgspec.json.decode(line, type=Record)
        except (msgspec.DecodeError, UnicodeDecodeError):
            self.unreadable += 1
            return None


def _answered(record: Record) -> Iterator[Logged]:
    body = record.answer
    if body.predictions is not None:
        answers = body.predictions
    else:
        answers = [Answer(p50=seconds) for seconds in body.quantile or ()]
    for order, answer in zip(record.orders, answers, strict=False):
        if order is not None and answer.error is None and answer.p50 is not None:
            yield Logged(record.time, record.bundle, order, answer)


def as_text(name: str, cell: object) -> str | None:
    """A logged cell as a file would hold it, None for what names nothing: text and numbers, of any spelling."""
    if isinstance(cell, str):
        return cell
    if isinstance(cell, bool) or not isinstance(cell, int | float):
        return None
    if name == "order_acknowledged_at":
        moment = epoch_microseconds(cell)
        return None if moment is None else _instant(moment)
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < _WHOLE_FLOAT:
        return str(int(cell))
    return repr(cell)


def _instant(microseconds: int) -> str:
    seconds, rest = divmod(microseconds, MICROSECONDS)
    return f"{dt.datetime.fromtimestamp(seconds, dt.UTC):%Y-%m-%dT%H:%M:%S}.{rest:06d}Z"
