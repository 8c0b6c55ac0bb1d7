"""The load generator: wrk on a core of its own, its bodies in turn."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import msgspec

SCRIPT = Path(__file__).with_name("cycle.lua")


class Load(msgspec.Struct, frozen=True):
    """What one run of wrk saw."""

    requests: int
    seconds: float
    failed: int
    """Connections, reads and writes that failed, answers of 400 and above, timeouts."""
    p50_us: float
    p99_us: float

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.requests / self.seconds


@dataclass(frozen=True, slots=True)
class Target:
    """Where to send what."""

    url: str
    path: str
    bodies: Path
    """A file with one body a line."""
    key: str


def missing() -> str | None:
    """Which program the load needs and this machine does not have."""
    return next((name for name in ("wrk", "taskset") if shutil.which(name) is None), None)


def load(target: Target, connections: int, seconds: int, core: int) -> Load:
    """Run wrk on `core`."""
    command = [
        *("taskset", "-c", str(core), "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s"),
        *("-s", str(SCRIPT), target.url, "--", target.path, str(target.bodies), target.key),
    ]
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE, encoding="utf-8").stdout
    line = next(line for line in said.splitlines() if line.startswith("RESULT "))
    return msgspec.json.decode(line.removeprefix("RESULT "), type=Load)
