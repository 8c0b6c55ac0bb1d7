"""The errors of preptime: facts first, then a hint what to do.

They are independent of exit codes and HTTP. The command line (`cli`) and the API (`api`) translate them.
"""

from __future__ import annotations


class PreptimeError(Exception):
    """Base class of all errors that preptime raises on purpose.

    `facts` names the row, column, or value, and what was expected. `hint` says what to do.
    """

    def __init__(self, facts: str, hint: str = "") -> None:
        super().__init__(facts, hint)
        self.facts = facts
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.facts} {self.hint}".strip()


class DataError(PreptimeError):
    """The data can't be used: it's unreadable, incomplete, or below a declared threshold."""


class UsageError(PreptimeError):
    """The request is invalid: for example, an unknown bundle, a date out of range, or a missing extra."""


class BundleVerificationError(PreptimeError):
    """A bundle failed verification: a damaged file, a wrong hash, an unknown format, or a different golden order."""


class StoreError(PreptimeError):
    """The store can't be read or written, or another process promoted first."""


class OperationError(PreptimeError):
    """An operation failed: for example, an export exceeded its parity limit, or a process died."""
