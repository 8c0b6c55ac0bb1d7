"""The folder that workers share their counts through, and what servers that were killed left of theirs."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from preptime.api.living import is_locked, lock_file

FOLDER_PREFIX = "preptime-serve-"
LOCK_NAME = "main.lock"
"""Held by the main process for as long as it lives; what workers hold lies beside it."""


@contextmanager
def temporary_metrics_folder() -> Iterator[Path]:
    """A folder of this server's own, removed at the end; those of servers that are gone are removed first."""
    _remove_orphans()
    created = Path(tempfile.mkdtemp(prefix="preptime-"))
    with (created / LOCK_NAME).open("wb") as file:
        lock_file(file)
        # Only now does it get a name that others sweep: there is no moment at which it looks left behind.
        folder = created.rename(created.with_name(FOLDER_PREFIX + created.name.removeprefix("preptime-")))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _remove_orphans() -> None:
    """Remove the folders that no process holds a file in. Where a system has no such locks, they all stay."""
    for folder in Path(tempfile.gettempdir()).glob(f"{FOLDER_PREFIX}*"):
        try:
            is_orphan = (folder / LOCK_NAME).exists() and not any(is_locked(path) for path in folder.iterdir())
        except (PermissionError, FileNotFoundError):
            continue  # another user's, or another server has just removed it
        if is_orphan:
            shutil.rmtree(folder, ignore_errors=True)
