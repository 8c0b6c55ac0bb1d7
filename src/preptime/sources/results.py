"""The folder of results: one partition for each date, which a daily job writes whole or not at all (D8).

`results/date=2015-06-24/` holds `predictions.parquet` and `score.json` (`score --date`; the latter also says that there
was no champion), `training.json` and `report.html` (`train --results`), and `monitoring.json`, `.html`, `.prom` once
outcomes are known (`monitor`), and `response.json` (`respond`: what followed).
"""

from __future__ import annotations

import datetime as dt
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from preptime.atomic_write import TEMPORARY_SUFFIX, temporary_sibling, write_bytes
from preptime.errors import OperationError, UsageError

PREDICTIONS_FILE = "predictions.parquet"
SCORE_FILE = "score.json"
TRAINING_FILE = "training.json"
REPORT_FILE = "report.html"
MONITORING_FILE = "monitoring.json"
MONITORING_REPORT_FILE = "monitoring.html"
MONITORING_METRICS_FILE = "monitoring.prom"
RESPONSE_FILE = "response.json"

_PARTITION_PATTERN = re.compile(r"date=(\d{4}-\d{2}-\d{2})")


@dataclass(frozen=True)
class ResultsFolder:
    """The results below a folder, which need not exist yet."""

    root: Path

    def path(self, day: dt.date, name: str) -> Path:
        """Where the file `name` of a day is, whether it is there or not."""
        return self.root / f"date={day.isoformat()}" / name

    def days(self, name: str | None = None) -> list[dt.date]:
        """The days that have results, or the file `name`, oldest first."""
        days = []
        for folder in self.root.glob("date=*"):
            day = _partition_date(folder.name)
            if day is not None and folder.is_dir() and (name is None or (folder / name).is_file()):
                days.append(day)
        return sorted(days)

    def files(self, day: dt.date) -> list[str]:
        """The names of a day's files, sorted; none of them half-written."""
        return sorted(path.name for path in self.path(day, "").glob("*") if path.name[0] != ".")

    def write(self, day: dt.date, name: str, content: bytes) -> Path:
        """Write a file of a day: it appears complete or the one before stays. Raises `OperationError`."""
        path = self.path(day, name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(path, content)
        except OSError as error:
            raise OperationError(
                f"{path} could not be written: {error.strerror}.", "What was there before is still there; run again."
            ) from error
        return path

    def remove(self, day: dt.date, name: str) -> None:
        """Remove a file of a day, which need not be there: another run of the day no longer has it."""
        self.path(day, name).unlink(missing_ok=True)

    def prune(self, keep: int, abandoned_before: float) -> PruneResult:
        """Keep the `keep` newest days that have results, the newest in any case; what else is there is not touched.

        By their number, not by the calendar: one partition of a mistaken date far ahead must not cost all others. What
        killed writers left and nobody touched since `abandoned_before` (seconds since 1970) goes as well. Raises
        `UsageError` for a `keep` below 1, `OperationError` when the folder cannot be changed.
        """
        if keep < 1:
            raise UsageError(f"keep = {keep}: expected 1 or more.", "The newest day always stays.")
        removed_days, leftovers = self.days()[:-keep], list[str]()
        try:
            for path in sorted(
                (*self.root.glob(f".date=*{TEMPORARY_SUFFIX}"), *self.root.glob(f"date=*/.*{TEMPORARY_SUFFIX}"))
            ):
                if path.stat().st_mtime < abandoned_before:
                    _remove(path)
                    leftovers.append(path.relative_to(self.root).as_posix())
            for day in removed_days:
                self._remove_day(day)
        except OSError as error:
            raise OperationError(
                f"{error.filename or self.root} could not be removed: {error.strerror}.", "Run again once it can."
            ) from error
        return PruneResult(removed_days, leftovers)

    def _remove_day(self, day: dt.date) -> None:
        """A day vanishes at once; its files then go one by one."""
        folder = self.root / f"date={day.isoformat()}"
        removal_path = temporary_sibling(folder)
        folder.rename(removal_path)
        _remove(removal_path)


@dataclass(frozen=True, slots=True)
class PruneResult:
    """What was removed: days, and what killed writers had left."""

    days: list[dt.date]
    leftovers: list[str]


def _partition_date(name: str) -> dt.date | None:
    partition = _PARTITION_PATTERN.fullmatch(name)
    try:
        return dt.date.fromisoformat(partition[1]) if partition else None
    except ValueError:  # date=2015-02-30 is somebody else's folder
        return None


def _remove(path: Path) -> None:
    """A file, a folder with what is in it, or a link and nothing behind it."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
