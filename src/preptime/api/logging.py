"""The server's own log: one JSON document a line, on standard error."""

from __future__ import annotations

import datetime as dt
import logging

import msgspec

EXTRA_FIELDS = ("request_id", "endpoint", "status", "key_name", "bundle")
"""What a message may carry beside its words: `logger.error("…", extra={"request_id": …})`."""


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON: time (UTC), level, logger, process, message, facts, and the trace of a fault."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        timestamp = dt.datetime.fromtimestamp(record.created, dt.UTC)
        document: dict[str, object] = {
            "time": timestamp.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": record.process,
            "message": record.getMessage(),
        }
        document |= {name: value for name in EXTRA_FIELDS if (value := getattr(record, name, None)) is not None}
        if record.exc_info:
            document["traceback"] = self.formatException(record.exc_info)
        return msgspec.json.encode(document, enc_hook=str).decode()


class GranianThreadWarningFilter(logging.Filter):
    """Keeps back one warning of Granian's: a thread for every request that may wait is how the queue is bounded."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is shown."""
        return not record.getMessage().startswith("Configuration allows spawning up to")


def log_config(level: str) -> dict[str, object]:
    """For `logging.config.dictConfig`: everything of at least `level` as JSON on standard error."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {"granian_thread_warning": {"()": "preptime.api.logging.GranianThreadWarningFilter"}},
        "formatters": {"json": {"()": "preptime.api.logging.JsonFormatter"}},
        "handlers": {
            "stderr": {"class": "logging.StreamHandler", "formatter": "json", "stream": "ext://sys.stderr"},
        },
        "root": {"level": level.upper(), "handlers": ["stderr"]},
        "loggers": {"_granian": {"level": level.upper(), "propagate": True, "filters": ["granian_thread_warning"]}},
    }
