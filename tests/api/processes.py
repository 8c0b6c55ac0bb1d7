"""Servers in their own process, on a free port of the loopback interface."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path

CONSTANT_APP = Path(__file__).with_name("constant_app.py")
SERVE_COMMAND = ("-c", "import sys; from preptime.cli import main; sys.exit(main(sys.argv[1:]))", "serve")
START_SECONDS = 60.0
PLAIN_KEY = "a plain key"


@dataclass
class Server:
    """A running server."""

    process: subprocess.Popen[bytes]
    port: int
    folder: Path

    def get_response(self, path: str, *, port: int | None = None) -> tuple[int, str]:
        """Return the status and body of a response to GET."""
        connection = HTTPConnection("127.0.0.1", port or self.port, timeout=30)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def get(self, path: str) -> str:
        """Return the body of a response with status 200."""
        status, body = self.get_response(path)
        assert status == 200, body
        return body

    @property
    def url(self) -> str:
        """The URL of the server."""
        return f"http://127.0.0.1:{self.port}"

    def stdout_text(self) -> str:
        """Return its standard output so far."""
        return (self.folder / "output.txt").read_text(encoding="utf-8")

    def stderr_text(self) -> str:
        """Return its standard error so far."""
        return (self.folder / "errors.txt").read_text(encoding="utf-8")

    def wait_until(self, path: str, text: str = "", *, status: int = 200, port: int | None = None) -> str:
        """Send requests until a response has this status and contains `text`. Return its body."""
        end = time.monotonic() + START_SECONDS
        body = ""
        while time.monotonic() < end and self.process.poll() is None:
            try:
                code, body = self.get_response(path, port=port)
                if code == status and text in body:
                    return body
            except (OSError, HTTPException) as error:
                body = str(error)
            time.sleep(0.02)
        raise AssertionError(f"{path} never returned {status} with {text!r}, but {body!r}. {self.stderr_text()}")

    def stop(self) -> int:
        """Send SIGTERM and return the exit status."""
        self.process.terminate()
        return self.process.wait(START_SECONDS)


def free_port() -> int:
    """Return a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def clean_environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of the tests with these settings instead of its own."""
    prefixes = ("PREPTIME_", "OTEL_", "AIP_", "AIKEY", "FLASK_PORT")
    return {name: value for name, value in os.environ.items() if not name.startswith(prefixes)} | dict(settings)


@contextmanager
def running_server(folder: Path, program: tuple[str, ...] = (str(CONSTANT_APP),), **settings: str) -> Iterator[Server]:
    """Start a server in `folder`, with its store in `models`. Doesn't wait until it's ready. Stops it at the end."""
    (folder / "models").mkdir(exist_ok=True)
    port = free_port()
    environment = clean_environment(
        {
            "AIKEY": PLAIN_KEY,
            "TMPDIR": str(folder),
            "PREPTIME_PORT": str(port),
            "PREPTIME_CHAMPION_POLL_SECONDS": "0.1",
        }
        | settings
    )
    with (folder / "errors.txt").open("wb") as errors, (folder / "output.txt").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *program],
            cwd=folder,
            env=environment,
            stderr=errors,
            stdout=output,
        )
        try:
            yield Server(process, port, folder)
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(30)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
