"""One Spark session for all tests of this folder, and one standalone cluster of a master and two workers.

PySpark has an environment of its own, `.venv-spark`. Here its packages are added to those of this environment.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from preptime.bundle.bundle import Bundle
from preptime.bundle.champion_log import ChampionLog, LogEntryDraft
from preptime.bundle.store import Store
from tests.requirements import requires, spark_packages
from tests.scoring.delivery import delivery_bundle
from tests.scoring.factories import small_bundle

WAIT_SECONDS = 120
_OPEN_SOCKETS = r"ignore:Exception ignored in. <socket\.socket:pytest.PytestUnraisableExceptionWarning"
"""PySpark doesn't close the sockets through which it receives rows."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Ignore the warning about open sockets in the tests of this folder."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.filterwarnings(_OPEN_SOCKETS))


@pytest.fixture(scope="session")
def spark_environment() -> Iterator[dict[str, str]]:
    """Make PySpark importable, and return the variables with which a new process finds it."""
    packages = str(spark_packages())
    variables = {"PYTHONPATH": packages, "PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1"}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "path", [*sys.path, packages])
        for name, value in variables.items():
            patched.setenv(name, value)
        yield variables


@pytest.fixture(scope="session")
def spark(spark_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Return the session of all tests: two threads of this machine."""
    from preptime.spark.session import open_session

    folder = tmp_path_factory.mktemp("spark")
    session = open_session("local[2]", settings={"spark.sql.warehouse.dir": str(folder / "warehouse")})
    yield session
    session.stop()


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Return a store for the bundles of these tests."""
    return Store.open(str(tmp_path_factory.mktemp("store")))


@pytest.fixture(scope="session")
def bundle(store: Store) -> Bundle:
    """Return a small bundle, which is the champion."""
    bundle = small_bundle(store)
    draft = LogEntryDraft(
        action="promote",
        bundle=bundle.manifest.id,
        date=bundle.manifest.date,
        by="test",
        at="2015-06-17T05:00:00Z",
        reason="test",
    )
    ChampionLog(store).append(draft, None)
    return bundle


@pytest.fixture(scope="session")
def custom_bundle(store: Store) -> Bundle:
    """Return a bundle of another company, with a schema and custom features."""
    return delivery_bundle(store)


@dataclass(frozen=True)
class Cluster:
    """A standalone cluster on this machine."""

    master: str
    worker_folders: tuple[Path, ...]

    def executors(self) -> list[Path]:
        """Return the folders of all executors that were started, one each."""
        return sorted(path for folder in self.worker_folders for path in folder.glob("app-*/*") if path.is_dir())


@pytest.fixture(scope="session")
def cluster(spark_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Return a cluster of a master and two workers of one core, which are stopped at the end."""
    requires(os.name != "nt", "Spark's standalone cluster needs a shell of Unix")
    home, folder = Path(spark_environment["PYTHONPATH"]) / "pyspark", tmp_path_factory.mktemp("cluster")
    environment = os.environ | {"SPARK_HOME": str(home)}
    processes: list[subprocess.Popen[bytes]] = []

    def start(name: str, *arguments: str) -> Path:
        log = folder / f"{name}.log"
        command = [str(home / "bin" / "spark-class"), f"org.apache.spark.deploy.{arguments[0]}", *arguments[1:]]
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
        yield Cluster(master, folders)
    finally:
        for process in reversed(processes):
            process.terminate()
        for process in processes:
            process.wait(WAIT_SECONDS)


def wait_for_text(path: Path, pattern: str) -> str:
    """Wait until a file has a text, and return the first group of its match."""
    return wait_for(lambda: (found := re.search(pattern, path.read_text(errors="replace"))) and found[1])


def wait_for(condition: Any) -> Any:
    """Wait until a condition has a value that is true, and return the value."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not (value := condition()):
        assert time.monotonic() < deadline, "the condition was not met in time"
        time.sleep(0.05)
    return value
