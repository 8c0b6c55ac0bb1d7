"""A standalone Spark cluster on this machine, and its processes."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WAIT_SECONDS = 120
EXECUTOR = "CoarseGrainedExecutorBackend"
"""In the command line of each executor."""


@dataclass(frozen=True)
class Cluster:
    """A standalone cluster on this machine."""

    master: str
    worker_folders: tuple[Path, ...]
    workers: tuple[int, ...]
    """The process IDs of the workers, which start the executors."""

    def executor_folders(self) -> list[Path]:
        """Return the folders of all executors that were started, one each."""
        return sorted(path for folder in self.worker_folders for path in folder.glob("app-*/*") if path.is_dir())

    def executors(self) -> list[int]:
        """Return the process IDs of the running executors."""
        return children_of(*self.workers, text=EXECUTOR)


@contextmanager
def run_cluster(packages: Path, folder: Path) -> Iterator[Cluster]:
    """Run a master and two workers of one core. `packages` has PySpark, and `folder` gets logs and executors."""
    home = packages / "pyspark"
    processes: list[subprocess.Popen[bytes]] = []

    def start(name: str, *arguments: str) -> Path:
        log = folder / f"{name}.log"
        command = [str(home / "bin" / "spark-class"), f"org.apache.spark.deploy.{arguments[0]}", *arguments[1:]]
        environment = os.environ | {"SPARK_HOME": str(home)}
        with log.open("wb") as output:
            processes.append(subprocess.Popen(command, stdout=output, stderr=output, env=environment, cwd=folder))
        return log

    try:
        log = start("master", "master.Master", "--host", "127.0.0.1", "--port", "0", "--webui-port", "0")
        master = wait_for_text(log, r"Starting Spark master at (spark://\S+)")
        folders = tuple(folder / f"worker{number}" for number in range(2))
        options = ("--cores", "1", "--memory", "1g", "--host", "127.0.0.1", "--webui-port", "0")
        logs = [start(path.name, "worker.Worker", *options, "--work-dir", str(path), master) for path in folders]
        for log in logs:
            wait_for_text(log, r"(Successfully registered with master)")
        yield Cluster(master, folders, tuple(process.pid for process in processes[1:]))
    finally:
        for process in reversed(processes):
            process.terminate()
        for process in processes:
            process.wait(WAIT_SECONDS)


def children_of(*parents: int, text: str = "") -> list[int]:
    """Return the children of processes whose command line has a text. Needs the `/proc` of Linux."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent in parents and text in (folder / "cmdline").read_text(errors="replace"):
                found.append(int(folder.name))
    return found


def wait_for_text(path: Path, pattern: str) -> str:
    """Wait until a file has a text, and return the first group of its match."""
    found = wait_for(lambda: re.search(pattern, path.read_text(errors="replace")))
    return str(found[1])


def wait_for(condition: Any) -> Any:
    """Wait until a condition has a value that is true, and return the value."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not (value := condition()):
        assert time.monotonic() < deadline, "the condition was not met in time"
        time.sleep(0.05)
    return value
