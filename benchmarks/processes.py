"""Processor time and peak memory of the processes of a command, as Linux reports them."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.spark.cluster import children_of

_TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
_POLL_SECONDS = 0.2


def descendants(*parents: int) -> list[int]:
    """Return the process IDs of the children of processes, of their children, and so on."""
    children = children_of(*parents)
    return [*children, *(descendants(*children) if children else [])]


@dataclass
class ProcessTimes:
    """The processor seconds and the peak memory of processes, by part, as last read."""

    found: dict[str, dict[int, tuple[float, int]]] = field(default_factory=dict)

    def read(self, part: str, *pids: int) -> None:
        """Read the times and the memory of processes. A process that has ended keeps its last values."""
        for pid in pids:
            with suppress(FileNotFoundError, ProcessLookupError, StopIteration):
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                status = Path(f"/proc/{pid}/status").read_text()
                peak_kb = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
                seconds = (int(fields[11]) + int(fields[12])) / _TICKS
                self.found.setdefault(part, {})[pid] = seconds, round(peak_kb * 1024 / 1e6)

    def watch_while_running(self, process: subprocess.Popen[bytes], read: Callable[[], None]) -> None:
        """Call `read` until a process ends, in a thread."""

        def watch() -> None:
            while process.poll() is None:
                read()
                time.sleep(_POLL_SECONDS)

        threading.Thread(target=watch, daemon=True).start()

    def total(self, part: str) -> dict[str, float]:
        """Return the sum of the processor seconds, and the highest peak memory of a process."""
        values = self.found.get(part, {}).values()
        return {
            "seconds": round(sum(seconds for seconds, _ in values), 1),
            "peak_mb": max((mb for _, mb in values), default=0),
        }
