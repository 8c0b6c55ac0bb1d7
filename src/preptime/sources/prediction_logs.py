"""The API's prediction log, wherever it's stored: one interface for files, BigQuery, and Cloud Logging.

Addresses:

- a folder: the files that the API writes
- `bigquery://PROJECT.DATASET?table=TABLE`: the table that a log sink writes
- `logging://PROJECT?filter=FILTER`: the entries of Cloud Logging
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from preptime.errors import UsageError
from preptime.redaction import redact_address, remember_secrets

_FILE_NAME = re.compile(r"predictions-([0-9]{4}-[0-9]{2}-[0-9]{2})-[0-9A-Za-z_-]+\.jsonl")


class PredictionLogSource(Protocol):
    """A stored prediction log."""

    def lines(self, first: dt.date, last: dt.date) -> Iterator[bytes]:
        """Yield the JSON document of each request, or of each part of one, whose response was on those UTC days.

        They are in the order of the log, by time as far as it's known. A folder that doesn't exist yet has none. A line
        can be damaged, for example the last one of a killed process.

        Raises `DataError`, `UsageError`, or `OperationError` if the log can't be read.
        """
        ...


@dataclass(frozen=True)
class PredictionLogFolder:
    """The files of the API, or copies of them."""

    folder: Path

    def lines(self, first: dt.date, last: dt.date) -> Iterator[bytes]:
        """Yield the lines of the files of those days, by file name."""
        paths = sorted(self.folder.iterdir()) if self.folder.is_dir() else []
        for path in paths:
            if (match := _FILE_NAME.fullmatch(path.name)) and first.isoformat() <= match[1] <= last.isoformat():
                with path.open("rb") as lines:
                    yield from lines


def _open_bigquery_log(address: str) -> PredictionLogSource:
    from preptime.sources.bigquery.prediction_log import BigQueryPredictionLog

    return BigQueryPredictionLog.from_address(address)


def _open_cloud_logging(address: str) -> PredictionLogSource:
    from preptime.sources.cloud_logging import CloudLoggingPredictionLog

    return CloudLoggingPredictionLog.from_address(address)


_OPENERS: dict[str, Callable[[str], PredictionLogSource]] = {
    "": lambda address: PredictionLogFolder(Path(address)),
    "bigquery": _open_bigquery_log,
    "logging": _open_cloud_logging,
}


def open_prediction_log(address: str) -> PredictionLogSource:
    """Return the prediction log at an address, without connecting to it. Raises `UsageError` for an unknown scheme."""
    remember_secrets(address)
    scheme = address.partition("://")[0].lower() if "://" in address else ""
    opener = _OPENERS.get(scheme)
    if opener is None:
        raise UsageError(
            f"{redact_address(address)} isn't the address of a prediction log.",
            "Use a folder, bigquery://PROJECT.DATASET?table=TABLE, or logging://PROJECT.",
        )
    return opener(address)
