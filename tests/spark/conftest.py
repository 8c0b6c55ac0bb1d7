"""One Spark session for all tests of this folder, and one standalone cluster of a master and two workers.

PySpark has an environment of its own, `.venv-spark`. Here its packages are added to those of this environment.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from preptime.bundle.bundle import Bundle
from preptime.bundle.champion_log import ChampionLog, LogEntryDraft
from preptime.bundle.store import Store
from tests.requirements import gcs_connector, requires, spark_packages
from tests.scoring.delivery import delivery_bundle
from tests.scoring.factories import small_bundle
from tests.spark.cluster import Cluster, run_cluster
from tests.spark.fake_gcs import FakeGcs, run_fake_gcs

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
def gcs() -> Iterator[FakeGcs]:
    """Return a fake of Cloud Storage, which Spark reads and writes through Google's connector."""
    with run_fake_gcs() as fake:
        yield fake


@pytest.fixture(scope="session")
def spark(spark_environment: dict[str, str], gcs: FakeGcs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Return the session of all tests: two threads of this machine."""
    from preptime.spark.session import open_session

    folder = tmp_path_factory.mktemp("spark")
    settings = {"spark.sql.warehouse.dir": str(folder / "warehouse"), "spark.jars": str(gcs_connector())}
    connector = {
        "impl": "com.google.cloud.hadoop.fs.gcs.GoogleHadoopFileSystem",
        "storage.root.url": f"{gcs.address}/",
        "auth.service.account.enable": "false",
        "auth.null.enable": "true",
    }
    settings |= {f"spark.hadoop.fs.gs.{name}": value for name, value in connector.items()}
    session = open_session("local[2]", settings=settings)
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


@pytest.fixture(scope="session")
def cluster(spark_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Return a cluster of a master and two workers of one core, which are stopped at the end."""
    requires(os.name != "nt", "Spark's standalone cluster needs a shell of Unix")
    with run_cluster(Path(spark_environment["PYTHONPATH"]), tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster
