"""Servers as processes on one core, and what they take of the machine. Linux: it reads /proc."""

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
OURS = ("PREPTIME_", "AIP_", "AIKEY", "FLASK_PORT")


@dataclass(frozen=True, slots=True)
class Server:
    """A server that answers."""

    process: subprocess.Popen[bytes]
    port: int
    ready_seconds: float
    """From the start of its first process to the first answer of 200."""

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def worker(self) -> int:
        """The process that answers: the largest of the server's own."""
        return max((self.process.pid, *_children(self.process.pid)), key=resident_mb)


@contextmanager
def serving(command: Sequence[str], port: int, core: int, environ: Mapping[str, str], folder: Path) -> Iterator[Server]:
    """Start a server on `core`, wait until it is ready, end it at last. What it says goes to `folder`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    with (folder / f"server-{port}.txt").open("wb") as said:
        began = time.perf_counter()
        pinned = ["taskset", "-c", str(core), *command]
        process = subprocess.Popen(pinned, env=kept | dict(environ), stdout=said, stderr=said)
        try:
            _wait(process, port, Path(said.name))
            yield Server(process, port, time.perf_counter() - began)
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def resident_mb(process: int) -> float:
    """Resident memory of a process, in 10^6 bytes; shared pages count in full."""
    try:
        lines = Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmRSS:")), 0.0)


def graph_seconds(server: Server) -> float:
    """Processor time of the graph so far, of a server that has a clock around it (`benchmarks.api.timed`)."""
    connection = HTTPConnection("127.0.0.1", server.port, timeout=30)
    try:
        connection.request("GET", "/bench/graph")
        return float(connection.getresponse().read())
    finally:
        connection.close()


def processor_seconds(process: int) -> float:
    """Processor time that a process has taken, all its threads."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _children(process: int) -> list[int]:
    listed = Path(f"/proc/{process}/task/{process}/children")
    return [int(child) for child in listed.read_text(encoding="utf-8").split()]


def _wait(process: subprocess.Popen[bytes], port: int, said: Path) -> None:
    end = time.monotonic() + READY_SECONDS
    while time.monotonic() < end and process.poll() is None:
        connection = HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/readyz")
            if connection.getresponse().status == 200:
                return
        except (OSError, HTTPException):
            pass  # not yet
        finally:
            connection.close()
        time.sleep(0.01)
    raise SystemExit(f"A server did not become ready:\n{said.read_text(encoding='utf-8')[-2000:]}")
