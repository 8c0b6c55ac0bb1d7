"""Parts that a test needs and a machine may lack.

A missing part skips the test with the reason; under `PREPTIME_REQUIRE=all` (set by `.ci/run`) `tests/conftest.py`
turns every skip into a failure. Under `PREPTIME_REQUIRE=parts` it lets one pass: a fork's machine can be given every
part, but not the real data.
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
NO_REAL_DATA = "the real data is not here"
"""How the reason of that one skip begins."""


def requires(present: object, reason: str) -> None:
    """Go on when the part is there (truthy), else skip with the reason."""
    if not present:
        pytest.skip(reason)


def real_data() -> Path:
    """The folder of the real `orders.csv` and `restaurants.csv`: `PREPTIME_REAL_DATA`, else beside the repository."""
    folder = Path(os.environ.get("PREPTIME_REAL_DATA") or ROOT.parent / "shared" / "data")
    requires(
        (folder / "orders.csv").is_file(),
        f"{NO_REAL_DATA}: no orders.csv in {folder} (PREPTIME_REAL_DATA names its folder)",
    )
    return folder


def airflow_python() -> Path:
    """The Python of Airflow's own environment, which this one never shares anything with."""
    python = ROOT / ".venv-airflow" / "bin" / "python"
    requires(
        (python.parent / "airflow").is_file(),
        "Airflow is not here: make its environment with `python dev.py setup airflow`",
    )
    return python


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system of its own below `folder`, of so much (`1m`), in memory: when it is full, the kernel says so.

    Mounting takes root. Where nothing may be skipped, as in CI, a user with a `sudo` that does not ask is as good.
    """
    disk = folder / "disk"
    disk.mkdir()
    as_root = ["sudo", "-n"] if os.geteuid() and os.environ.get("PREPTIME_REQUIRE") else []
    mount = [*as_root, "mount", "-t", "tmpfs", "-o", f"size={size},mode=1777", "preptime-test", str(disk)]
    mounted = shutil.which(mount[0]) is not None and subprocess.run(mount, capture_output=True, check=False)
    requires(
        mounted and mounted.returncode == 0,
        "no file system can be mounted here: that takes root, and in a container CAP_SYS_ADMIN",
    )
    try:
        yield disk
    finally:
        subprocess.run([*as_root, "umount", str(disk)], check=True)
