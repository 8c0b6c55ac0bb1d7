"""Runs the code of a user's file: its exceptions become messages, and what it prints goes to standard error."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path

from preptime.errors import PreptimeError, UsageError

PROTOCOL = (
    "A class has fit(X, y, *, threads, seed), which returns an object with predict(X) and to_onnx() "
    "(docs/custom-models.md)."
)
_STDOUT, _STDERR = 1, 2
"""Numbers of the files that native libraries print to."""


@dataclass(frozen=True)
class UserCode:
    """A class of a user's file, or an offered graph: runs it, and names it in messages."""

    name: str
    """The name of the model."""
    path: Path
    class_name: str
    origin: str
    """The schema file and the line that name the class, or an empty text."""

    def __str__(self) -> str:
        place = f"{self.path}:{self.class_name}" if self.class_name else str(self.path)
        return f"{place} ({self.origin})" if self.origin else place

    @contextmanager
    def run(self, step: str) -> Iterator[None]:
        """Raise an exception of the user's code as `UsageError`, with the line of the file.

        What the code prints goes to standard error, because standard output belongs to the command's document.
        """
        try:
            with _redirection.redirected():
                yield
        except PreptimeError:
            raise
        except (Exception, SystemExit) as error:
            line = _line_in(error, self.path)
            place = f"{self.path}, line {line}" if line else str(self)
            raise UsageError(
                f"The model {self.name}: {step} failed with {type(error).__name__}: {_first_line(error)} ({place}).",
                "Fix it in this file.",
            ) from error

    def fail(self, problem: str, hint: str = PROTOCOL) -> UsageError:
        """Return the error for a class that doesn't have the protocol."""
        return UsageError(f"The model {self.name} of {self}: {problem}.", hint)


class _Redirection:
    """Standard output of the process, which is one for all threads: the last block that ends restores it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._blocks = 0
        self._restore = ExitStack()

    @contextmanager
    def redirected(self) -> Iterator[None]:
        """Send what Python, native libraries, and child processes of the block print to standard error."""
        with self._lock:
            if not self._blocks:
                self._restore = self._redirect()
            self._blocks += 1
        try:
            yield
        finally:
            with self._lock:
                self._blocks -= 1
                if not self._blocks:
                    self._restore.close()

    def _redirect(self) -> ExitStack:
        """Redirect, and return what restores the previous state."""
        with ExitStack() as stack:
            self._flush()
            with suppress(OSError):  # a service can have none of them
                saved = os.dup(_STDOUT)
                stack.callback(os.close, saved)
                os.dup2(_STDERR, _STDOUT)
                stack.callback(os.dup2, saved, _STDOUT)
            stack.callback(self._flush)
            stack.enter_context(redirect_stdout(sys.stderr))
            stack.callback(self._flush)
            return stack.pop_all()

    def _flush(self) -> None:
        """Write what Python and the C library have in their buffers."""
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                with suppress(OSError, ValueError):  # a closed pipe or stream, which the next write reports
                    stream.flush()
        if sys.platform != "win32":
            ctypes.CDLL(None).fflush(None)


_redirection = _Redirection()


def _line_in(error: BaseException, path: Path) -> int | None:
    """Return the line of the file in which an exception was raised, if it was."""
    if isinstance(error, SyntaxError) and error.filename is not None and Path(error.filename) == path.absolute():
        return error.lineno
    frames = traceback.extract_tb(error.__traceback__)
    return next((frame.lineno for frame in reversed(frames) if Path(frame.filename) == path.absolute()), None)


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or ["no message"])[0][:300]
