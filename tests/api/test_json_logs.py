"""The server log: one JSON document per line, whatever writes it."""

from __future__ import annotations

import json
import logging
import logging.config
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from preptime.api.json_logs import EXTRA_FIELDS, JsonFormatter, log_config
from tests.api.test_server import require_posix_signals

NOISY_PROGRAM = """
import ctypes, logging.config, multiprocessing, os, subprocess, sys, threading, warnings
from preptime.api.json_logs import convert_stderr_text, log_config, log_uncaught_exceptions

def work():
    print("text of a spawned process", file=sys.stderr)
    logging.getLogger("worker").info("log of a spawned process")
    raise ValueError("a spawned process fails")

class Faulty:
    def __del__(self):
        raise ValueError("a destructor fails")

def start(config):
    logging.config.dictConfig(config)
    work()

def main():
    multiprocessing.set_start_method("spawn")
    with convert_stderr_text() as stream:
        config = log_config("info", stream)
        logging.config.dictConfig(config)
        log_uncaught_exceptions()
        logging.getLogger("main").info("log of the main process")
        warnings.warn("a warning")
        thread = threading.Thread(target=lambda: 1 / 0, name="divider")
        thread.start()
        thread.join()
        Faulty()
        os.write(2, b"thread 'rust' panicked at src/lib.rs:1\\nnote: run with RUST_BACKTRACE=1\\n")
        process = multiprocessing.Process(target=start, args=(config,))
        process.start()
        process.join()
        subprocess.run([sys.executable, "-c", "import sys; sys.stderr.write('x' * 200_000)"])
    print("not JSON: the server has stopped", file=sys.stderr)

if __name__ == "__main__":
    main()
"""


@pytest.fixture
def configured() -> Iterator[None]:
    """Configure logging as the server does, and restore it afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    logging.config.dictConfig(log_config("info"))
    yield
    root.handlers, root.level = handlers, level


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
    assert (document["level"], document["severity"]) == ("info", "INFO")
    assert document["time"].endswith("+00:00")
    assert {document[name] for name in EXTRA_FIELDS} == {"x"}


@pytest.mark.usefixtures("configured")
def test_log_hides_messages_of_granian(capsys: pytest.CaptureFixture[str]) -> None:
    logging.config.dictConfig(log_config("info"))
    logging.getLogger("_granian").warning("Configuration allows spawning up to 68 Python threads, which is many")
    logging.getLogger("_granian.serve").info("Started worker-1")
    logging.getLogger("_granian.wsgi").error("Application callable raised an exception")
    (line,) = capsys.readouterr().err.splitlines()
    assert json.loads(line)["message"] == "Application callable raised an exception"


def test_log_exception_has_traceback_and_text_fields() -> None:
    with pytest.raises(ValueError, match="invalid literal") as raised:
        int("what")
    exc_info = (raised.type, raised.value, raised.tb)
    record = logging.LogRecord("a", logging.ERROR, __file__, 1, "%s", (1j,), exc_info)
    record.status = {1j}
    document = json.loads(JsonFormatter().format(record))
    assert "ValueError: invalid literal" in document["traceback"]
    assert document["message"] == "1j"


def test_everything_on_stderr_is_json(tmp_path: Path) -> None:
    require_posix_signals()
    path = tmp_path / "noisy.py"
    path.write_text(NOISY_PROGRAM, encoding="utf-8")
    completed = subprocess.run([sys.executable, path], capture_output=True, text=True, check=False)
    *lines, last = completed.stderr.splitlines()
    assert last == "not JSON: the server has stopped"
    documents = [json.loads(line) for line in lines]
    assert all({"time", "level", "logger", "process", "message"} <= document.keys() for document in documents)
    by_logger = {(document["logger"], document["level"]): document for document in documents}
    assert by_logger["main", "info"]["message"] == "log of the main process"
    assert by_logger["worker", "info"]["message"] == "log of a spawned process"
    assert "UserWarning: a warning" in by_logger["py.warnings", "warning"]["message"]
    assert by_logger["preptime.api.json_logs", "critical"]["message"] == "Uncaught exception in the thread divider."
    assert "ZeroDivisionError" in by_logger["preptime.api.json_logs", "critical"]["traceback"]
    assert "a destructor fails" in by_logger["preptime.api.json_logs", "error"]["traceback"]
    text = "\n".join(str(document["message"]) for document in documents if document["logger"] == "stderr")
    assert "panicked at src/lib.rs:1\nnote: run with" in text
    assert "text of a spawned process" in text
    assert "ValueError: a spawned process fails" in text
    assert text.count("x") > 200_000
    levels = {document["level"] for document in documents if "panicked" in str(document["message"])}
    assert levels == {"error"}


def test_stderr_without_a_reader_doesnt_stop_the_program(tmp_path: Path) -> None:
    require_posix_signals()
    path = tmp_path / "noisy.py"
    path.write_text(NOISY_PROGRAM.replace("print(", "(lambda *_, **__: None)("), encoding="utf-8")
    with subprocess.Popen([sys.executable, path], stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        process.stderr.close()
        assert process.wait(60) == 0
