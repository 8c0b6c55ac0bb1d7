"""The errors of preptime: facts first, then a hint what to do.

They are independent of exit codes and HTTP. The command line (`cli`) and the API (`api`) translate them. Their text
contains no secret that the process knows, because it reaches logs, documents, responses, and the dashboard.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from preptime.redaction import redact_text


class PreptimeError(Exception):
    """Base class of all errors that preptime raises on purpose.

    `facts` names the row, column, or value, and what was expected. `hint` says what to do.
    """

    def __init__(self, facts: str, hint: str = "") -> None:
        self.facts = redact_text(facts)
        self.hint = redact_text(hint)
        super().__init__(self.facts, self.hint)

    def __str__(self) -> str:
        return f"{self.facts} {self.hint}".strip()


class DataError(PreptimeError):
    """The data can't be used: it's unreadable, incomplete, or below a declared threshold."""


class PermanentDataError(DataError):
    """The data can't be used, and waiting doesn't change that: it needs a correction, an option, or more days."""


class UsageError(PreptimeError):
    """The request is invalid: for example, an unknown bundle, a date out of range, or a missing extra."""


class BundleVerificationError(PreptimeError):
    """A bundle failed verification: a damaged file, a wrong hash, an unknown format, or a different golden order."""


class StoreError(PreptimeError):
    """The store can't be read or written, or another process promoted first."""


class OperationError(PreptimeError):
    """An operation failed: for example, an export exceeded its parity limit, or a process died."""


def install_hint(extra: str) -> str:
    """Return the hint for a missing package: how to install the extra that has it.

    Example:
        >>> install_hint("ui")
        "To install it, run in a checkout of preptime: pip install '.[ui]'."
    """
    return f"To install it, run in a checkout of preptime: pip install '.[{extra}]'."


def is_panic(error: BaseException | None) -> bool:
    """Return whether an error is a panic of a library written in Rust, such as Polars.

    Each of these libraries has its own class. It derives from `BaseException`, so that `except Exception` misses it.
    """
    return type(error).__name__ == "PanicException"


@contextmanager
def panic_as_error() -> Iterator[None]:
    """Raise `OperationError` for a panic of a library. All other errors are unchanged."""
    try:
        yield
    except BaseException as error:
        if not is_panic(error):
            raise
        cause = (str(error).splitlines() or ["unknown cause"])[0]
        raise OperationError(
            f"A library stopped with an internal error: {cause}.", "Report it, with the input if possible."
        ) from error
