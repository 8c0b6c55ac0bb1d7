"""A tracking server that doesn't work, no MLflow, and no setting: commands end with the same result."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from preptime.bundle.champion_log import LogEntry
from preptime.bundle.store import Store
from preptime.errors import install_hint
from preptime.tracking.runs import TrackingSettings, follow_champion, tracked_run
from preptime.tracking.server import CLIENT_DEFAULTS, quiet_client
from tests.cli.run_command import preptime, run_process
from tests.requirements import ROOT
from tests.tracking.tracking_servers import answering_server, silent_server, stopped_server
from tests.training.factories import TrainedStore

SERVERS: dict[str, Callable[[], AbstractContextManager[str]]] = {
    "stopped": stopped_server,
    "silent": silent_server,
    "error 500": lambda: answering_server(500, b"a database error"),
    "error 403": lambda: answering_server(403, b"forbidden"),
    "another page": lambda: answering_server(200, b"<html>a login page</html>"),
    "another document": lambda: answering_server(200, b"[1]"),
}
TRAIN_PROGRAM = """
import sys
from preptime.cli import main
from preptime.training.fitting import FitPlan
from tests.training.factories import quick_plan

FitPlan.from_schema = lambda *_, **__: quick_plan()
status = main()
assert "preptime.tracking" in sys.modules
print([name for name in sys.modules if name.partition(".")[0] == "mlflow"], file=sys.stderr)
sys.exit(status)
"""


@pytest.fixture
def short_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait one second for an answer, instead of twice ten seconds."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")


@pytest.mark.usefixtures("short_timeouts")
@pytest.mark.parametrize("kind", SERVERS)
def test_server_that_fails_gives_one_warning(
    kind: str,
    trained: TrainedStore,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with SERVERS[kind]() as url:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", url.replace("://", "://me:s3cret-password@"))
        bundle = trained.document.bundle
        result = preptime("bundles", "promote", bundle, "--store", store.url, "--reason", "a test", "--json")
    assert result.succeeded().document(LogEntry).bundle == bundle
    (warning,) = caplog.messages
    assert warning.startswith(f"Not everything was logged to MLflow at {url.replace('://', '://***@')}: ")
    assert warning.endswith("Check the server, or unset MLFLOW_TRACKING_URI.")
    assert "s3cret" not in warning
    assert len(result.err.splitlines()) == 1  # the entry of the log


@pytest.mark.usefixtures("short_timeouts")
def test_program_prints_one_line_about_a_silent_server(trained: TrainedStore, store: Store) -> None:
    with silent_server() as url:
        options = ("--store", store.url, "--reason", "a test", "--json")
        result = run_process("bundles", "promote", trained.document.bundle, *options, MLFLOW_TRACKING_URI=url)
    assert result.succeeded().document(LogEntry).bundle == trained.document.bundle
    warning, entry = result.err.splitlines()
    assert warning.startswith(f"Warning: Not everything was logged to MLflow at {url}: ")
    assert trained.document.bundle in entry


@pytest.mark.usefixtures("short_timeouts")
def test_run_on_a_silent_server_keeps_the_result(
    trained: TrainedStore, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    with silent_server() as url, tracked_run("train", TrackingSettings(url)) as run:
        run.log_training(trained.document, store, seed=12, orders="orders.csv")
    assert [record.levelno for record in caplog.records if record.name.startswith("preptime")] == [logging.WARNING]


def test_silent_server_is_given_up_after_two_attempts(
    store: Store, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CLIENT_DEFAULTS, "MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    assert CLIENT_DEFAULTS["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "1"
    started = time.monotonic()
    with silent_server() as url:
        follow_champion(store, TrackingSettings(url))
    assert 2 <= time.monotonic() - started < 30
    assert len(caplog.records) == 1


def test_missing_mlflow_gives_one_warning(
    store: Store, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "mlflow"]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with stopped_server() as url:
        follow_champion(store, TrackingSettings(url))
    (message,) = caplog.messages
    assert "mlflow isn't installed" in message
    assert install_hint("mlflow") in message


def test_train_without_the_setting_never_imports_mlflow(files: tuple[str, ...], tmp_path: Path) -> None:
    folders = ("--store", str(tmp_path / "models"), "--results", str(tmp_path / "results"))
    environment = {"PYTHONPATH": str(ROOT), "MLFLOW_TRACKING_URI": ""}
    arguments = ("train", *files, "--date", "2015-06-13", *folders, "--json")
    result = run_process(*arguments, program=TRAIN_PROGRAM, **environment).succeeded()
    assert result.err.splitlines()[-1] == "[]"


def test_client_defaults_are_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in CLIENT_DEFAULTS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "7")
    before = dict(os.environ)
    with quiet_client():
        assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "7"
        assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert dict(os.environ) == before
