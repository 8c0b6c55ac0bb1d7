"""Nothing is skipped quietly where everything must be there (see `tests/requirements.py`); what all tests may share."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.postgres import Postgres, running
from tests.requirements import NO_REAL_DATA


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server of this session's own."""
    # Not below pytest's own folder: every session that starts shuts that to all users but its own, and as root the
    # server runs as another.
    with tempfile.TemporaryDirectory(prefix="preptime-postgres-") as folder, running(Path(folder)) as server:
        yield server


@pytest.fixture
def database(postgres: Postgres) -> str:
    """The address of an empty database."""
    return postgres.create()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that was skipped and must not be has failed."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail"):
        _judge(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """The same for a whole file that skips itself while it is collected."""
    report = yield
    if report.skipped:
        _judge(report)
    return report


def _judge(report: pytest.TestReport | pytest.CollectReport) -> None:
    required = os.environ.get("PREPTIME_REQUIRE")
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    if required == "all" or (required == "parts" and NO_REAL_DATA not in reason):
        report.outcome = "failed"
        report.longrepr = f"PREPTIME_REQUIRE={required}, and this was skipped: {reason}"
