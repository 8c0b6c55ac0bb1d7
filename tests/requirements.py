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
from collections.abc import Iterator
from contextlib import contextmanager
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
