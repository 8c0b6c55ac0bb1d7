"""The load generator: wrk on its own core, which sends the bodies of a file in turn."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import msgspec

SCRIPT = Path(__file__).with_name("cycle.lua")


class Load(msgspec.Struct, frozen=True):
    """The result of one run of wrk."""

    requests: int
    seconds: float
    failed: int
    """Failed connections, reads, and writes, responses with status 400 or higher, and timeouts."""
    p50_us: float
    p99_us: float

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.requests / self.seconds


@dataclass(frozen=True, slots=True)
class Target:
    """The URL and bodies of a load."""

    url: str
    path: str
    bodies: Path
    """A file with one body per line."""
    key: str


def missing_program() -> str | None:
    """Return the name of a required program that this machine lacks, or None."""
    return next((name for name in ("wrk", "taskset") if shutil.which(name) is None), None)


def require_cores() -> tuple[int, int]:
    """Return the cores of the servers and of wrk. Exits with a message if the machine can't run the benchmark."""
    program = missing_program()
    if program is not None:
        sys.exit(f"`{program}` isn't installed. On Debian and Ubuntu, run: apt-get install wrk util-linux")
    cores = sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else []
    if len(cores) < 2:
        sys.exit("The benchmark requires Linux and two cores: one for the servers, one for the load generator.")
    return cores[0], cores[1]


def load(target: Target, connections: int, seconds: int, core: int) -> Load:
    """Run wrk on `core` and return its result."""
    command = [
        *("taskset", "-c", str(core), "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s"),
        *("-s", str(SCRIPT), target.url, "--", target.path, str(target.bodies), target.key),
    ]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, encoding="utf-8").stdout
    line = next(line for line in output.splitlines() if line.startswith("RESULT "))
    return msgspec.json.decode(line.removeprefix("RESULT "), type=Load)
