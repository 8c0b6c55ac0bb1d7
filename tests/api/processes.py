"""A server as a process of its own, on a free port of loopback."""

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
    """A server that was started."""

    process: subprocess.Popen[bytes]
    port: int
    folder: Path

    def get_response(self, path: str, *, port: int | None = None) -> tuple[int, str]:
        """Status and body of an answer."""
        connection = HTTPConnection("127.0.0.1", port or self.port, timeout=30)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def get(self, path: str) -> str:
        """The body of an answer that is 200."""
        status, body = self.get_response(path)
        assert status == 200, body
        return body

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def stderr_text(self) -> str:
        """What it has said on standard error."""
        return (self.folder / "errors.txt").read_text(encoding="utf-8")

    def wait_until(self, path: str, text: str = "", *, status: int = 200, port: int | None = None) -> str:
        """The first answer of that status that holds `text`."""
        end = time.monotonic() + START_SECONDS
        found = ""
        while time.monotonic() < end and self.process.poll() is None:
            try:
                code, found = self.get_response(path, port=port)
                if code == status and text in found:
                    return found
            except (OSError, HTTPException) as error:
                found = str(error)
            time.sleep(0.02)
        raise AssertionError(f"{path} never said {status} {text!r}, but {found!r}. {self.stderr_text()}")

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        self.process.terminate()
        return self.process.wait(START_SECONDS)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def clean_environment(given: Mapping[str, str]) -> dict[str, str]:
    """The environment here without settings of ours, and those given."""
    ours = ("PREPTIME_", "AIP_", "AIKEY", "FLASK_PORT")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)} | dict(given)


@contextmanager
def running_server(folder: Path, program: tuple[str, ...] = (str(CONSTANT_APP),), **given: str) -> Iterator[Server]:
    """A server in `folder`, with its store under `models`. Not yet waited for; killed at the end if it still runs."""
    port = free_port()
    settings = {
        "AIKEY": PLAIN_KEY,
        "TMPDIR": str(folder),
        "PREPTIME_PORT": str(port),
        "PREPTIME_CHAMPION_POLL_SECONDS": "0.1",
    } | given
    with (folder / "errors.txt").open("wb") as errors, (folder / "output.txt").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *program],
            cwd=folder,
            env=clean_environment(settings),
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
