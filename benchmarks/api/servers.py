"""Servers as processes on one core, and their use of memory and processor time. Reads /proc of Linux."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path

READY_SECONDS = 240.0
SETTING_PREFIXES = ("PREPTIME_", "AIP_", "AIKEY", "FLASK_PORT")


class ServerNotReadyError(SystemExit):
    """A server ended or didn't become ready. Uncaught, it ends the benchmark with its message."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running server."""

    process: subprocess.Popen[bytes]
    port: int
    ready_seconds: float
    """Seconds from the start of its first process to the first response with status 200."""

    @property
    def url(self) -> str:
        """The URL of the server."""
        return f"http://127.0.0.1:{self.port}"

    def worker(self) -> int:
        """Return the ID of the worker process, which is the largest process of the server."""
        return max((self.process.pid, *_children(self.process.pid)), key=resident_mb)


@contextmanager
def serving(
    command: Sequence[str],
    port: int,
    core: int,
    environ: Mapping[str, str],
    folder: Path,
    *,
    ready_path: str = "/readyz",
    working_folder: Path | None = None,
) -> Iterator[Server]:
    """Start a server on `core`, wait until `ready_path` has status 200, and stop it at the end.

    Its output goes to `folder`. Raises `ServerNotReadyError`.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith(SETTING_PREFIXES)}
    with (folder / f"server-{port}.txt").open("wb") as output:
        started_at = time.perf_counter()
        pinned_command = ["taskset", "-c", str(core), *command]
        process = subprocess.Popen(
            pinned_command, env=environment | dict(environ), stdout=output, stderr=output, cwd=working_folder
        )
        try:
            _wait(process, port, ready_path, Path(output.name))
            yield Server(process, port, time.perf_counter() - started_at)
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def free_port() -> int:
    """Return a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def resident_mb(process: int) -> float:
    """Return the resident memory of a process in 10^6 bytes. Shared pages count in full."""
    try:
        lines = Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmRSS:")), 0.0)


def graph_seconds(server: Server) -> float:
    """Return the processor time of the graph so far, from a server of `benchmarks.api.timed`."""
    connection = HTTPConnection("127.0.0.1", server.port, timeout=30)
    try:
        connection.request("GET", "/bench/graph")
        return float(connection.getresponse().read())
    finally:
        connection.close()


def processor_seconds(process: int) -> float:
    """Return the processor time of all threads of a process."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _children(process: int) -> list[int]:
    children = Path(f"/proc/{process}/task/{process}/children")
    return [int(child) for child in children.read_text(encoding="utf-8").split()]


def _wait(process: subprocess.Popen[bytes], port: int, ready_path: str, output: Path) -> None:
    end = time.monotonic() + READY_SECONDS
    while time.monotonic() < end and process.poll() is None:
        connection = HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", ready_path)
            if connection.getresponse().status == 200:
                return
        except (OSError, HTTPException):
            pass  # The server isn't ready yet.
        finally:
            connection.close()
        time.sleep(0.01)
    raise ServerNotReadyError(f"A server didn't become ready:\n{output.read_text(encoding='utf-8')[-2000:]}")
