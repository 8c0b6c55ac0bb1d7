"""One family of errors: facts first, then one sentence about what to do.

Nothing here knows of exit codes or HTTP; the edges (`cli`, `api`) translate.
"""

from __future__ import annotations


class PreptimeError(Exception):
    """Anything preptime says no to.

    `facts` names what was found (row, column, value) and what was expected; `hint` is one sentence about what to do.
    """

    def __init__(self, facts: str, hint: str = "") -> None:
        super().__init__(facts, hint)
        self.facts = facts
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.facts} {self.hint}".strip()


class DataError(PreptimeError):
    """The data was refused: unreadable, incomplete, or short of a declared threshold."""


class UsageError(PreptimeError):
    """The caller asked for something that cannot be: an unknown bundle, a date out of range, a missing extra."""


class BundleVerificationError(PreptimeError):
    """A bundle failed verification: a damaged file, a wrong hash, an unknown format, a golden order that differs."""


class StoreError(PreptimeError):
    """The store could not be read or written, or someone else promoted first."""


class OperationError(PreptimeError):
    """Something that should hold did not: an export outside its parity bound, a step that died."""
