"""The results folder: one partition for each date, in which daily jobs write files atomically (decision 8).

Files in `results/date=2015-06-24/`:

- `score --date` writes `predictions.parquet` and `score.json`. `score.json` also reports that there was no champion.
- `train --results` writes `training.json` and `report.html`.
- `monitor` writes `monitoring.json`, `monitoring.html`, and `monitoring.prom` when the outcomes are known.
- `respond` writes `response.json`, which describes the response to alerts.
"""

from __future__ import annotations

import datetime as dt
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from preptime.atomic_write import TEMPORARY_SUFFIX, forget_temporary, temporary_sibling, write_bytes
from preptime.errors import OperationError, UsageError

PREDICTIONS_FILE = "predictions.parquet"
SCORE_FILE = "score.json"
TRAINING_FILE = "training.json"
REPORT_FILE = "report.html"
MONITORING_FILE = "monitoring.json"
MONITORING_REPORT_FILE = "monitoring.html"
MONITORING_METRICS_FILE = "monitoring.prom"
RESPONSE_FILE = "response.json"

_PARTITION_PATTERN = re.compile(r"date=([0-9]{4}-[0-9]{2}-[0-9]{2})")


@dataclass(frozen=True)
class ResultsFolder:
    """The results in a folder. The folder doesn't need to exist."""

    root: Path

    def path(self, day: dt.date, name: str) -> Path:
        """Return the path of the file `name` of a day. The file doesn't need to exist."""
        return self.root / f"date={day.isoformat()}" / name

    def days(self, name: str | None = None) -> list[dt.date]:
        """Return the days that have results, or that have the file `name`, oldest first."""
        folders = (folder for folder in self.root.glob("date=*") if folder.is_dir())
        days = (_partition_date(folder.name) for folder in folders if name is None or (folder / name).is_file())
        return sorted(day for day in days if day is not None)

    def files(self, day: dt.date) -> list[str]:
        """Return the sorted names of a day's complete files."""
        return sorted(path.name for path in self.path(day, "").glob("*") if path.name[0] != ".")

    def write(self, day: dt.date, name: str, content: bytes) -> Path:
        """Write a file of a day atomically and return its path. Raises `OperationError`."""
        path = self.path(day, name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(path, content)
        except OSError as error:
            raise OperationError(
                f"{path} couldn't be written: {error.strerror}.",
                "A previous file is unchanged. Fix the cause, and then run the command again.",
            ) from error
        return path

    def remove(self, day: dt.date, name: str) -> None:
        """Remove a file of a day, if it exists. A rerun of the day can lack a file of the previous run."""
        self.path(day, name).unlink(missing_ok=True)

    def prune(self, keep: int, abandoned_before: float) -> PruneResult:
        """Remove all but the `keep` newest days that have results. Other files in the folder aren't changed.

        Days are counted, not compared with a date: a single partition with a wrong date in the future must not remove
        all others. Temporary files of killed writers are removed too, if they weren't modified after `abandoned_before`
        (seconds since 1970). Raises `UsageError` for a `keep` below 1, and `OperationError` if a file can't be removed.
        """
        if keep < 1:
            raise UsageError(f"keep is {keep}; expected 1 or more.", "The newest day is always kept.")
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
                f"{error.filename or self.root} couldn't be removed: {error.strerror}.",
                "Fix the cause, and then run the command again.",
            ) from error
        return PruneResult(removed_days, leftovers)

    def _remove_day(self, day: dt.date) -> None:
        """Remove a day in one step by renaming its folder, and then delete the files."""
        folder = self.root / f"date={day.isoformat()}"
        removal_path = temporary_sibling(folder)
        folder.rename(removal_path)
        _remove(removal_path)
        forget_temporary(removal_path)


@dataclass(frozen=True, slots=True)
class PruneResult:
    """The removed days, and the removed temporary files of killed writers."""

    days: list[dt.date]
    leftovers: list[str]


def _partition_date(name: str) -> dt.date | None:
    partition = _PARTITION_PATTERN.fullmatch(name)
    try:
        return dt.date.fromisoformat(partition[1]) if partition else None
    except ValueError:  # for example, date=2015-02-30: not a partition
        return None


def _remove(path: Path) -> None:
    """Remove a file, a folder with its contents, or a link without its target."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
