"""What a check found."""

from __future__ import annotations

from typing import Literal

import msgspec

CheckState = Literal["ok", "warning", "error", "skipped"]

Role = Literal["serve", "jobs"]
"""What the environment is for: answering orders, which reads the store, or the daily jobs, which write to it."""


class CheckResult(msgspec.Struct, frozen=True):
    """One thing looked at."""

    name: str
    state: CheckState
    """`error`: preptime will not work as it should. `skipped`: another fault stood in the way."""
    message: str
    hint: str = ""
    """How to mend it."""


def ok_result(name: str, message: str) -> CheckResult:
    """As it should be."""
    return CheckResult(name, "ok", message)


def warning_result(name: str, message: str, hint: str) -> CheckResult:
    """It works, and somebody should know."""
    return CheckResult(name, "warning", message, hint)


def error_result(name: str, message: str, hint: str) -> CheckResult:
    """It will not work."""
    return CheckResult(name, "error", message, hint)


def skipped_result(name: str, message: str) -> CheckResult:
    """Another fault stood in the way."""
    return CheckResult(name, "skipped", message)
