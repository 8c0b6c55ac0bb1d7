"""Nothing is skipped quietly where everything must be there (see `tests/requirements.py`); what all tests may share."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.postgres import Postgres, running


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
    """Under PREPTIME_REQUIRE=all a skipped test has failed."""
    report = yield
    if _everything_is_required() and report.skipped and not hasattr(report, "wasxfail"):
        _fail(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """The same for a whole file that skips itself while it is collected."""
    report = yield
    if _everything_is_required() and report.skipped:
        _fail(report)
    return report


def _everything_is_required() -> bool:
    return os.environ.get("PREPTIME_REQUIRE") == "all"


def _fail(report: pytest.TestReport | pytest.CollectReport) -> None:
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    report.outcome = "failed"
    report.longrepr = f"PREPTIME_REQUIRE=all, and this was skipped: {reason}"
