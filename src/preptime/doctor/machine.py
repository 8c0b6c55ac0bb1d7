"""The machine: Python, disks, time zones, the clock."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from preptime.doctor.finding import Finding, fault, fine, warning

OLDEST_PYTHON = (3, 11)
SOME_ROOM_BYTES = 1024**3
"""A day's predictions and a few bundles of 20 MB each, with plenty to spare."""
NO_ROOM_BYTES = 100 * 1024**2
CLOCK_SECONDS = 120.0
"""Clocks that are kept by NTP differ by far less; a bundle's hours would not notice this much."""
STEP_SECONDS = 1.0
"""How far wall clock and monotonic clock may part while the doctor looks around."""


def python() -> Finding:
    """The interpreter."""
    found = f"Python {platform.python_version()} on {platform.system()}"
    if sys.version_info[:2] < OLDEST_PYTHON:
        return fault("python", found, "preptime needs Python 3.11 or newer.")
    return fine("python", found)


def time_zones(names: Iterable[str]) -> Finding:
    """The data of these time zones is there: local hours and the moment of readiness need it."""
    missing = []
    for name in sorted(set(names)):
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            missing.append(name)
    if missing:
        return fault(
            "time zones",
            f"No data for {', '.join(missing[:5])}" + (f" and {len(missing) - 5} more." if len(missing) > 5 else "."),
            "Install the system's tzdata, or the Python package of that name.",
        )
    return fine("time zones", "The data of every zone needed is there.")


def disk(folders: dict[str, Path]) -> list[Finding]:
    """Room and permission for what is written, by what it is."""
    return [_place(what, path.absolute()) for what, path in folders.items()]


def _place(what: str, path: Path) -> Finding:
    check = f"disk: {what}"
    # Not Path.exists: it raises where a folder above may not be looked into.
    there = next(one for one in (path, *path.parents) if os.access(one, os.F_OK))
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        return fault(check, f"{there} cannot be written to.", f"Let this user write there, or name another for {what}.")
    free = shutil.disk_usage(there).free
    found = f"{free / 1024**3:.1f} GiB free at {there}."
    if free < NO_ROOM_BYTES:
        return fault(check, found, "Make room: what is written next may be lost.")
    if free < SOME_ROOM_BYTES:
        return warning(check, found, "Make room soon.")
    return fine(check, found)


class Clock:
    """The machine's clock, against itself and against other clocks' times."""

    def __init__(self) -> None:
        self._wall, self._monotonic = time.time(), time.monotonic()

    def steady(self) -> Finding | None:
        """Whether it jumped since this was made; None when not."""
        jumped = (time.time() - self._wall) - (time.monotonic() - self._monotonic)
        if abs(jumped) > STEP_SECONDS:
            return fault("clock", f"The clock jumped by {jumped:+.1f} s while it was looked at.", _KEEP_TIME)
        return None

    def against(self, told: float, whose: str) -> Finding:
        """Against a clock that tells its present time (seconds since 1970)."""
        ahead = time.time() - told
        if abs(ahead) > CLOCK_SECONDS:
            side = "ahead of" if ahead > 0 else "behind"
            return fault("clock", f"{abs(ahead) / 60:,.0f} minutes {side} {whose}.", _KEEP_TIME)
        return fine("clock", f"Within {CLOCK_SECONDS:.0f} s of {whose}.")

    def not_before(self, written: dict[str, float]) -> Finding:
        """Against moments that have been. It may be ahead: nothing here would tell."""
        if not written:
            return fine("clock", f"{_shown(time.time())}; there is nothing to compare it with.")
        what, latest = max(written.items(), key=lambda item: item[1])
        if latest - time.time() > CLOCK_SECONDS:
            minutes = (latest - time.time()) / 60
            return fault("clock", f"{minutes:,.0f} minutes behind: {what} is of {_shown(latest)}.", _KEEP_TIME)
        return fine("clock", f"{_shown(time.time())}, after {what}; whether it is ahead, nothing here tells.")


_KEEP_TIME = "Keep the time by NTP (timedatectl status says whether it is); if it is right, the other clock was wrong."


def _shown(moment: float) -> str:
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d %H:%M:%S} UTC"
