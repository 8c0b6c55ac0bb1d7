"""What a check found."""

from __future__ import annotations

from typing import Literal

import msgspec

State = Literal["fine", "warning", "fault", "not asked"]

Role = Literal["serve", "jobs"]
"""What the environment is for: answering orders, which reads the store, or the daily jobs, which write to it."""


class Finding(msgspec.Struct, frozen=True):
    """One thing looked at."""

    check: str
    state: State
    """`fault`: preptime will not work as it should. `not asked`: another fault stood in the way."""
    found: str
    hint: str = ""
    """How to mend it."""


def fine(check: str, found: str) -> Finding:
    """As it should be."""
    return Finding(check, "fine", found)


def warning(check: str, found: str, hint: str) -> Finding:
    """It works, and somebody should know."""
    return Finding(check, "warning", found, hint)


def fault(check: str, found: str, hint: str) -> Finding:
    """It will not work."""
    return Finding(check, "fault", found, hint)


def not_asked(check: str, why: str) -> Finding:
    """Another fault stood in the way."""
    return Finding(check, "not asked", why)
