"""Fixtures for all tests, and the check of skipped tests (see `tests/requirements.py`)."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from preptime import redaction
from tests.postgres import Postgres, run_postgres
from tests.requirements import is_allowed_skip

os.environ.pop("MLFLOW_TRACKING_URI", None)  # no test may log to a server of the developer

FOLDERS_WITH_COSTLY_FIXTURES = ("cli", "dags", "daily", "spark", "tracking", "training")
"""Folders whose tests share trainings, servers, or images. If several processes run tests, one runs each folder."""
TESTS_WITH_BROWSER_OR_DOCKER = ("deploy", "ui", "test_docs_site.py")
"""One process runs all of them: a starting Docker engine changes the network, and Chromium then ends its requests."""
LONG_TESTS = ("test_readme.py",)
"""Files with few long tests. They run with the tests of training, because files with few tests would run last."""


class _GroupScheduling(LoadScopeScheduling):
    """Runs the tests of a file, or of a folder with costly fixtures, in one process."""

    def _split_scope(self, nodeid: str) -> str:
        folder, *others = nodeid.partition("::")[0].removeprefix("tests/").split("/")
        if folder in TESTS_WITH_BROWSER_OR_DOCKER:
            return "browser and Docker"
        if folder in LONG_TESTS:
            return "training"
        return folder if folder in FOLDERS_WITH_COSTLY_FIXTURES else "/".join((folder, *others))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    """Return how pytest-xdist distributes tests to processes."""
    return _GroupScheduling(config, log)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server for this session."""
    # Not below pytest's folder: only its owner can open that folder, and as root, the server runs as another user.
    with tempfile.TemporaryDirectory(prefix="preptime-postgres-") as folder, run_postgres(Path(folder)) as server:
        yield server


@pytest.fixture
def database(postgres: Postgres) -> str:
    """The URL of an empty database."""
    return postgres.create()


@pytest.fixture(autouse=True)
def forget_secrets(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Start each test without the secrets that earlier tests let this process remember."""
    monkeypatch.setattr(redaction, "_KNOWN", redaction._KnownSecrets())
    factory = logging.getLogRecordFactory()
    yield
    logging.setLogRecordFactory(factory)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail a skipped test that must not be skipped."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail"):
        _fail_unless_allowed(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Fail a file that is skipped during collection and must not be skipped."""
    report = yield
    if report.skipped:
        _fail_unless_allowed(report)
    return report


def _fail_unless_allowed(report: pytest.TestReport | pytest.CollectReport) -> None:
    required = os.environ.get("PREPTIME_REQUIRE", "")
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    if not is_allowed_skip(reason, required):
        report.outcome = "failed"
        report.longrepr = f"PREPTIME_REQUIRE={required} doesn't allow this skip: {reason}"
