"""The folder of results: one partition for each date, which a daily job writes whole or not at all (D8).

`results/date=2015-06-24/` holds `predictions.parquet` and `score.json` (`score --date`; the latter also says that there
was no champion), `training.json` and `report.html` (`train --results`), and `monitoring.json`, `.html`, `.prom` once
outcomes are known (`monitor`).
"""

from __future__ import annotations

import datetime as dt
import re
import secrets
from dataclasses import dataclass
from pathlib import Path

from preptime.errors import FaultError

PREDICTIONS = "predictions.parquet"
SCORE = "score.json"
TRAINING = "training.json"
REPORT = "report.html"
MONITORING = "monitoring.json"
MONITORING_PAGE = "monitoring.html"
MONITORING_METRICS = "monitoring.prom"

_PARTITION = re.compile(r"date=(\d{4}-\d{2}-\d{2})")


@dataclass(frozen=True)
class Results:
    """The results below a folder, which need not exist yet."""

    root: Path

    def path(self, day: dt.date, name: str) -> Path:
        """Where the file `name` of a day is, whether it is there or not."""
        return self.root / f"date={day.isoformat()}" / name

    def days(self, name: str | None = None) -> list[dt.date]:
        """The days that have results, or the file `name`, oldest first."""
        found = []
        for folder in self.root.glob("date=*"):
            partition = _PARTITION.fullmatch(folder.name)
            if partition and folder.is_dir() and (name is None or (folder / name).is_file()):
                found.append(dt.date.fromisoformat(partition[1]))
        return sorted(found)

    def write(self, day: dt.date, name: str, content: bytes) -> Path:
        """Write a file of a day: it appears complete or the one before stays. Raises `FaultError`."""
        path = self.path(day, name)
        unfinished = path.with_name(f".{name}.{secrets.token_hex(6)}.tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                unfinished.write_bytes(content)
                unfinished.replace(path)
            finally:
                unfinished.unlink(missing_ok=True)
        except OSError as error:
            raise FaultError(
                f"{path} could not be written: {error.strerror}.", "What was there before is still there; run again."
            ) from error
        return path
