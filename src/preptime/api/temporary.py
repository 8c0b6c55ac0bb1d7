"""The folder that workers share their counts through, and what servers that were killed left of theirs."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from preptime.api.living import hold, is_held

PREFIX = "preptime-serve-"
LOCK = "main.lock"
"""Held by the main process for as long as it lives; what workers hold lies beside it."""


@contextmanager
def metrics_folder() -> Iterator[Path]:
    """A folder of this server's own, removed at the end; those of servers that are gone are removed first."""
    _sweep()
    made = Path(tempfile.mkdtemp(prefix="preptime-"))
    with (made / LOCK).open("wb") as file:
        hold(file)
        # Only now does it get a name that others sweep: there is no moment at which it looks left behind.
        folder = made.rename(made.with_name(PREFIX + made.name.removeprefix("preptime-")))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _sweep() -> None:
    """Remove the folders that no process holds a file in. Where a system has no such locks, they all stay."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        try:
            left = (folder / LOCK).exists() and not any(is_held(path) for path in folder.iterdir())
        except (PermissionError, FileNotFoundError):
            continue  # another user's, or another server has just removed it
        if left:
            shutil.rmtree(folder, ignore_errors=True)
