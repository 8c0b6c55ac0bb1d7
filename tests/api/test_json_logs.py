"""The server log: one JSON document per line."""

from __future__ import annotations

import json
import logging
import logging.config
from collections.abc import Iterator

import pytest

from preptime.api.server import EXTRA_FIELDS, JsonFormatter, log_config


@pytest.fixture
def configured() -> Iterator[None]:
    """Configure logging as the server does, and restore it afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    logging.config.dictConfig(log_config("info"))
    yield
    root.handlers, root.level = handlers, level
    logging.getLogger("_granian").filters.clear()


@pytest.mark.usefixtures("configured")
def test_log_message_is_one_json_line_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    logging.config.dictConfig(log_config("info"))  # Again, to log to the stream that this test captures.
    logger = logging.getLogger("preptime.test")
    logger.info("%s is\n“ready”", "bundle", extra=dict.fromkeys(EXTRA_FIELDS, "x"))
    logger.debug("hidden")
    output = capsys.readouterr()
    assert output.out == ""
    (line,) = output.err.splitlines()
    document = json.loads(line)
    assert document["message"] == "bundle is\n“ready”"
    assert document["level"] == "info"
    assert document["time"].endswith("+00:00")
    assert {document[name] for name in EXTRA_FIELDS} == {"x"}


@pytest.mark.usefixtures("configured")
def test_log_hides_the_granian_thread_warning(capsys: pytest.CaptureFixture[str]) -> None:
    logging.config.dictConfig(log_config("info"))
    granian = logging.getLogger("_granian")
    granian.warning("Configuration allows spawning up to 68 Python threads, which is many")
    granian.warning("Something else")
    assert [json.loads(line)["message"] for line in capsys.readouterr().err.splitlines()] == ["Something else"]


def test_log_exception_has_traceback_and_text_fields() -> None:
    with pytest.raises(ValueError, match="invalid literal") as raised:
        int("what")
    exc_info = (raised.type, raised.value, raised.tb)
    record = logging.LogRecord("a", logging.ERROR, __file__, 1, "%s", (1j,), exc_info)
    record.status = {1j}
    document = json.loads(JsonFormatter().format(record))
    assert "ValueError: invalid literal" in document["traceback"]
    assert document["message"] == "1j"
