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

from preptime.doctor.finding import CheckResult, error_result, ok_result, warning_result

MIN_PYTHON_VERSION = (3, 11)
LOW_DISK_SPACE_BYTES = 1024**3
"""A day's predictions and a few bundles of 20 MB each, with plenty to spare."""
CRITICAL_DISK_SPACE_BYTES = 100 * 1024**2
MAX_CLOCK_SKEW_SECONDS = 120.0
"""Clocks that are kept by NTP differ by far less; a bundle's hours would not notice this much."""
MAX_CLOCK_STEP_SECONDS = 1.0
"""How far wall clock and monotonic clock may part while the doctor looks around."""


def check_python() -> CheckResult:
    """The interpreter."""
    message = f"Python {platform.python_version()} on {platform.system()}"
    if sys.version_info[:2] < MIN_PYTHON_VERSION:
        return error_result("python", message, "preptime needs Python 3.11 or newer.")
    return ok_result("python", message)


def check_time_zones(names: Iterable[str]) -> CheckResult:
    """The data of these time zones is there: local hours and the moment of readiness need it."""
    missing = []
    for name in sorted(set(names)):
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            missing.append(name)
    if missing:
        return error_result(
            "time zones",
            f"No data for {', '.join(missing[:5])}" + (f" and {len(missing) - 5} more." if len(missing) > 5 else "."),
            "Install the system's tzdata, or the Python package of that name.",
        )
    return ok_result("time zones", "The data of every zone needed is there.")


def check_disks(folders: dict[str, Path]) -> list[CheckResult]:
    """Room and permission for what is written, by what it is."""
    return [_check_disk(purpose, path.absolute()) for purpose, path in folders.items()]


def _check_disk(purpose: str, path: Path) -> CheckResult:
    name = f"disk: {purpose}"
    # Not Path.exists: it raises where a folder above may not be looked into.
    existing_path = next(candidate for candidate in (path, *path.parents) if os.access(candidate, os.F_OK))
    if not existing_path.is_dir() or not os.access(existing_path, os.W_OK | os.X_OK):
        return error_result(
            name, f"{existing_path} cannot be written to.", f"Let this user write there, or name another for {purpose}."
        )
    free_bytes = shutil.disk_usage(existing_path).free
    message = f"{free_bytes / 1024**3:.1f} GiB free at {existing_path}."
    if free_bytes < CRITICAL_DISK_SPACE_BYTES:
        return error_result(name, message, "Make room: what is written next may be lost.")
    if free_bytes < LOW_DISK_SPACE_BYTES:
        return warning_result(name, message, "Make room soon.")
    return ok_result(name, message)


class ClockCheck:
    """The machine's clock, against itself and against other clocks' times."""

    def __init__(self) -> None:
        self._wall, self._monotonic = time.time(), time.monotonic()

    def check_steady(self) -> CheckResult | None:
        """Whether it jumped since this was made; None when not."""
        step_seconds = (time.time() - self._wall) - (time.monotonic() - self._monotonic)
        if abs(step_seconds) > MAX_CLOCK_STEP_SECONDS:
            return error_result(
                "clock", f"The clock jumped by {step_seconds:+.1f} s while it was looked at.", _CLOCK_HINT
            )
        return None

    def check_against(self, reference_time: float, reference_name: str) -> CheckResult:
        """Against a clock that tells its present time (seconds since 1970)."""
        ahead = time.time() - reference_time
        if abs(ahead) > MAX_CLOCK_SKEW_SECONDS:
            direction = "ahead of" if ahead > 0 else "behind"
            return error_result("clock", f"{abs(ahead) / 60:,.0f} minutes {direction} {reference_name}.", _CLOCK_HINT)
        return ok_result("clock", f"Within {MAX_CLOCK_SKEW_SECONDS:.0f} s of {reference_name}.")

    def check_not_before(self, past_events: dict[str, float]) -> CheckResult:
        """Against moments that have been. It may be ahead: nothing here would tell."""
        if not past_events:
            return ok_result("clock", f"{_format_utc(time.time())}; there is nothing to compare it with.")
        event, event_time = max(past_events.items(), key=lambda item: item[1])
        if event_time - time.time() > MAX_CLOCK_SKEW_SECONDS:
            minutes = (event_time - time.time()) / 60
            return error_result(
                "clock", f"{minutes:,.0f} minutes behind: {event} is of {_format_utc(event_time)}.", _CLOCK_HINT
            )
        return ok_result(
            "clock", f"{_format_utc(time.time())}, after {event}; whether it is ahead, nothing here tells."
        )


_CLOCK_HINT = "Keep the time by NTP (timedatectl status says whether it is); if it is right, the other clock was wrong."


def _format_utc(timestamp: float) -> str:
    return f"{datetime.fromtimestamp(timestamp, UTC):%Y-%m-%d %H:%M:%S} UTC"
