"""Requirements of tests that a machine may lack: programs, environments, data, and root.

If a requirement is missing, the test is skipped with a reason. `PREPTIME_REQUIRE` turns skips into failures:

- `all` (default of `.ci/run`): every skip is a failure.
- `parts`: only the real data may be missing, because a fork can't have it.

Neither applies to a program that no package registry has; see `NOT_PACKAGED`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
NO_REAL_DATA = "real data is missing"
"""Start of the skip reason for missing real data."""
NOT_PACKAGED = "no package registry has"
"""Start of the skip reason for a program that no package registry has. Such a skip is never a failure."""


def requires(present: object, reason: str) -> None:
    """Skip the test with `reason` unless `present` is truthy."""
    if not present:
        pytest.skip(reason)


def is_allowed_skip(reason: str, required: str) -> bool:
    """Return whether `PREPTIME_REQUIRE=required` allows a skip with this reason."""
    if NOT_PACKAGED in reason or not required:
        return True
    return required == "parts" and NO_REAL_DATA in reason


def real_data() -> Path:
    """Return the folder with the real `orders.csv` and `restaurants.csv`.

    `PREPTIME_REAL_DATA` names the folder. By default, it's `shared/data` next to the repository.
    """
    folder = Path(os.environ.get("PREPTIME_REAL_DATA") or ROOT.parent / "shared" / "data")
    requires(
        (folder / "orders.csv").is_file(),
        f"{NO_REAL_DATA}: no orders.csv in {folder}; set PREPTIME_REAL_DATA to its folder",
    )
    return folder


def airflow_python() -> Path:
    """Return the Python of Airflow's environment."""
    python = ROOT / ".venv-airflow" / "bin" / "python"
    requires((python.parent / "airflow").is_file(), "Airflow is not installed; run: python dev.py setup airflow")
    return python


def airflow_google_python() -> Path:
    """Return the Python of Airflow's environment if it has Google's provider."""
    python = airflow_python()
    provider = python.parent.parent.glob("lib/python3*/site-packages/airflow/providers/google")
    requires(list(provider), "Google's provider is not installed; run: python dev.py setup airflow")
    return python


def mlflow_program() -> Path:
    """Return the program `mlflow` with the tracking server."""
    folder = ROOT / ".venv-mlflow-server" / ("Scripts" if os.name == "nt" else "bin")
    program = folder / ("mlflow.exe" if os.name == "nt" else "mlflow")
    requires(program.is_file(), "MLflow's server is not installed; run: python dev.py setup mlflow-server")
    return program


def spark_packages() -> Path:
    """Return the folder with PySpark. Spark also needs Java 17 or later."""
    root = ROOT / ".venv-spark"
    found = next((path.parent for path in root.rglob("pyspark") if path.parent.name == "site-packages"), root)
    requires((found / "pyspark").is_dir(), "PySpark is not installed; run: python dev.py setup spark")
    requires(shutil.which("java"), "Java isn't installed (Debian: apt-get install openjdk-17-jre-headless)")
    return found


def gcs_connector() -> Path:
    """Return Google's connector, with which Spark reads and writes `gs://`."""
    found = next(spark_packages().glob("pyspark_gcs/jars/gcs-connector-*.jar"), None)
    requires(found, "Google's connector for Spark is not installed; run: python dev.py setup spark")
    assert found is not None
    return found


def can_be_root() -> bool:
    """Return whether `as_root` works. `sudo` must not ask, and is used only if skips aren't allowed, as in CI."""
    if os.geteuid() == 0:
        return True
    if not os.environ.get("PREPTIME_REQUIRE") or shutil.which("sudo") is None:
        return False
    return subprocess.run(["sudo", "-n", "true"], capture_output=True, check=False).returncode == 0


def as_root(*command: str) -> list[str]:
    """Return a command that runs as root."""
    return list(command) if os.geteuid() == 0 else ["sudo", "-n", *command]


@dataclass(frozen=True)
class MemoryGroup:
    """A memory cgroup, version 1 or 2. The kernel kills a process if its processes need more than the limit."""

    folder: Path

    @property
    def processes_file(self) -> Path:
        """The file to which a process writes its ID to enter the group."""
        return self.folder / "cgroup.procs"

    def kill_count(self) -> int:
        """Return how many processes the kernel has killed because of the limit."""
        names = ("memory.events", "memory.oom_control")
        text = next(path.read_text(encoding="ascii") for name in names if (path := self.folder / name).is_file())
        return int(next(line.split()[1] for line in text.splitlines() if line.startswith("oom_kill ")))

    def peak_bytes(self) -> int:
        """Return the maximum memory so far, including cached files."""
        names = ("memory.peak", "memory.max_usage_in_bytes")
        return int(next(path for name in names if (path := self.folder / name).is_file()).read_text(encoding="ascii"))


@contextmanager
def memory_group(limit_bytes: int) -> Iterator[MemoryGroup]:
    """Create a memory cgroup. Its processes must have ended when the context ends."""
    root = Path("/sys/fs/cgroup")
    version_1 = (root / "memory" / "memory.limit_in_bytes").is_file()
    folder = (root / "memory" if version_1 else root) / f"preptime-test-{os.getpid()}"
    limit_file = folder / ("memory.limit_in_bytes" if version_1 else "memory.max")
    try:
        folder.mkdir()
        limit_file.write_text(str(limit_bytes), encoding="ascii")
        if not version_1:
            (folder / "memory.swap.max").write_text("0", encoding="ascii")
    except OSError as error:
        if folder.is_dir():
            folder.rmdir()
        pytest.skip(f"can't create a memory cgroup: this needs Linux, root, and write access: {error}")
    try:
        yield MemoryGroup(folder)
    finally:
        _remove_group(folder)


def _remove_group(folder: Path) -> None:
    """Remove a cgroup. The kernel refuses until it has removed the processes that have ended."""
    for _ in range(200):
        try:
            folder.rmdir()
        except OSError:
            time.sleep(0.05)
        else:
            return
    folder.rmdir()


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """Mount a file system of `size` (for example, `1m`) below `folder`, so that the kernel reports a full disk."""
    disk = folder / "disk"
    disk.mkdir()
    mount = as_root("mount", "-t", "tmpfs", "-o", f"size={size},mode=1777", "preptime-test", str(disk))
    mounted = can_be_root() and shutil.which(mount[0]) and subprocess.run(mount, capture_output=True, check=False)
    requires(
        mounted and mounted.returncode == 0,
        "can't mount a file system: this needs root, and CAP_SYS_ADMIN in a container",
    )
    try:
        yield disk
    finally:
        subprocess.run(as_root("umount", str(disk)), check=True)
