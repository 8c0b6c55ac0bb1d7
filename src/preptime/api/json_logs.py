"""The server log: one JSON document per line on standard error, from all processes and libraries.

Python's log messages, warnings, and uncaught exceptions become JSON in the process that they come from. Other text,
such as the message of a Rust panic, reaches a pipe instead of standard error. The main process writes it as JSON.
"""

from __future__ import annotations

import datetime as dt
import logging
import os
import select
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import reduction
from types import TracebackType
from typing import Protocol

import msgspec

from preptime.redaction import redact_text

STDERR_LOGGER = "stderr"
"""Name of the logger in documents with text that isn't from Python's logging."""
STDERR_DESCRIPTOR = 2
QUIET_SECONDS = 0.1
"""Text that arrives without a longer pause becomes one document, for example a traceback."""
MAX_TEXT_BYTES = 65_536
DRAIN_SECONDS = 2.0
"""How long the end of the server waits for text of its workers."""
_END_OF_TEXT = b"\0end of text\0"
_FATAL_WORDS = ("panicked", "Traceback", "Fatal")

EXTRA_FIELDS = ("request_id", "trace_id", "endpoint", "status", "key_name", "bundle")
"""Fields that a log message can have in addition to its text: `logger.error("…", extra={"request_id": …})`."""

logger = logging.getLogger(__name__)


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON: time (UTC), severity, level, logger, process, message, extra, traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line without a newline."""
        document = _document(record.created, record.levelname.lower(), record.name, record.process, record.getMessage())
        document |= {name: value for name in EXTRA_FIELDS if (value := getattr(record, name, None)) is not None}
        if record.exc_info:
            document["traceback"] = self.formatException(record.exc_info)
        return _encode(document)


def _document(created: float, level: str, name: str, process: int | None, message: str) -> dict[str, object]:
    time_text = dt.datetime.fromtimestamp(created, dt.UTC).isoformat(timespec="milliseconds")
    return {
        "time": time_text,
        "severity": level.upper(),  # the name that Cloud Logging reads
        "level": level,
        "logger": name,
        "process": process,
        "message": message,
    }


def _encode(document: dict[str, object]) -> str:
    redacted = {name: redact_text(value) if isinstance(value, str) else value for name, value in document.items()}
    return msgspec.json.encode(redacted, enc_hook=str).decode()


class GranianFilter(logging.Filter):
    """Hides Granian's own messages. `preptime.api.supervision` logs the start, the stop, and the ends of workers.

    Warnings and errors of Granian's Rust code stay.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record is logged."""
        if record.name.partition(".")[0] != "_granian":
            return True
        return record.name != "_granian" and record.levelno >= logging.WARNING


class LogStream(Protocol):
    """A stream for log lines."""

    def write(self, text: str, /) -> object:
        """Write the text."""

    def flush(self) -> None:
        """Write buffered text."""


def log_config(level: str, stream: LogStream | None = None) -> dict[str, object]:
    """Return the `logging.config.dictConfig` for JSON lines of at least `level` on `stream`, or on standard error."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {"granian": {"()": "preptime.api.json_logs.GranianFilter"}},
        "formatters": {"json": {"()": "preptime.api.json_logs.JsonFormatter"}},
        "handlers": {
            "stderr": {
                "class": "logging.StreamHandler",
                "formatter": "json",
                "filters": ["granian"],
                "stream": stream or "ext://sys.stderr",
            },
        },
        "root": {"level": level.upper(), "handlers": ["stderr"]},
        "loggers": {"_granian": {"level": level.upper(), "propagate": True}},
    }


def log_uncaught_exceptions() -> None:
    """Log warnings and uncaught exceptions of this process, including those of its threads and destructors."""
    logging.captureWarnings(True)
    sys.excepthook = _log_uncaught
    threading.excepthook = _log_uncaught_in_thread
    sys.unraisablehook = _log_unraisable


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    logger.critical("Uncaught exception.", exc_info=(kind, error, trace))


def _log_uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
    name = args.thread.name if args.thread is not None else "unknown"
    error = args.exc_value or args.exc_type()
    logger.critical("Uncaught exception in the thread %s.", name, exc_info=(args.exc_type, error, args.exc_traceback))


def _log_unraisable(args: sys.UnraisableHookArgs) -> None:
    error = args.exc_value or args.exc_type()
    logger.error(
        "%s: %r", args.err_msg or "Ignored exception", args.object, exc_info=(args.exc_type, error, args.exc_traceback)
    )


class SharedStderr:
    """The standard error that the server was started with. A spawned worker gets a duplicate of it."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def write(self, text: str) -> None:
        """Write the text, without a buffer. Raises `OSError` if standard error is closed."""
        remaining = memoryview(text.encode(errors="replace"))
        while remaining:
            remaining = remaining[os.write(self.descriptor, remaining) :]

    def flush(self) -> None:
        """Do nothing: `write` doesn't buffer."""

    def __reduce__(self) -> tuple[object, ...]:
        return _receive_stderr, (reduction.DupFd(self.descriptor),)


def _receive_stderr(duplicate: _Duplicate) -> SharedStderr:
    return SharedStderr(duplicate.detach())


class _Duplicate(Protocol):
    def detach(self) -> int:
        """Return the descriptor."""


@contextmanager
def convert_stderr_text() -> Iterator[SharedStderr | None]:
    """Write all text for standard error as JSON while the context is active. Yields the stream for lines of JSON.

    Applies to this process and to processes that it starts. On Windows, or without a standard error, yields None.
    """
    try:
        original = SharedStderr(os.dup(STDERR_DESCRIPTOR)) if os.name == "posix" else None
    except OSError:
        original = None
    if original is None:
        yield None
        return
    reader, writer = os.pipe()
    os.dup2(writer, STDERR_DESCRIPTOR)
    os.close(writer)
    thread = threading.Thread(target=_convert_text, args=(reader, original), name="stderr", daemon=True)
    thread.start()
    try:
        yield original
    finally:
        os.write(STDERR_DESCRIPTOR, _END_OF_TEXT)
        os.dup2(original.descriptor, STDERR_DESCRIPTOR)
        thread.join(DRAIN_SECONDS)


def _convert_text(reader: int, original: SharedStderr) -> None:
    """Read text until its end, and write it as documents."""
    pending, ended = b"", False
    while not ended:
        if select.select([reader], [], [], QUIET_SECONDS if pending else None)[0]:
            chunk = os.read(reader, MAX_TEXT_BYTES)
            pending += chunk
            ended = not chunk or _END_OF_TEXT in pending
            if not ended and len(pending) < MAX_TEXT_BYTES:
                continue
        _write_document(pending.replace(_END_OF_TEXT, b""), original)
        pending = b""
    os.close(reader)


def _write_document(text_bytes: bytes, original: SharedStderr) -> None:
    text = text_bytes.decode(errors="replace").strip()
    if not text:
        return
    level = "error" if any(word in text for word in _FATAL_WORDS) else "warning"
    created = dt.datetime.now(dt.UTC).timestamp()
    with suppress(OSError):  # Standard error is closed. The pipe is still read, so that no process waits for it.
        original.write(_encode(_document(created, level, STDERR_LOGGER, None, text)) + "\n")
