"""A real MLflow server on SQLite, and small stores to log."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from preptime.bundle.store import Store
from preptime.tracking.runs import TrackingSettings
from tests.api.processes import free_port
from tests.requirements import mlflow_program
from tests.tracking.tracking_servers import answers
from tests.training.factories import SyntheticData, TrainedStore, june, make_synthetic_data, run_training

START_SECONDS = 120.0


@pytest.fixture(scope="session")
def mlflow_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the URL of an MLflow server whose runs are in SQLite."""
    program, folder, port = mlflow_program(), tmp_path_factory.mktemp("mlflow"), free_port()
    command = [str(program), "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"]
    command += ["--artifacts-destination", str(folder / "files")]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    environment |= {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
        try:
            end = time.monotonic() + START_SECONDS
            while not answers(port, "/health"):
                assert process.poll() is None, (folder / "server.log").read_text(encoding="utf-8")
                assert time.monotonic() < end, "MLflow's server didn't start"
                time.sleep(0.2)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(60)


@pytest.fixture
def settings(mlflow_url: str, request: pytest.FixtureRequest) -> TrackingSettings:
    """Return an experiment and a model of this test on the server."""
    return TrackingSettings(mlflow_url, request.node.name, request.node.name)


@pytest.fixture
def tracking(settings: TrackingSettings, monkeypatch: pytest.MonkeyPatch) -> TrackingSettings:
    """Let commands in this process log to the experiment and the model of this test."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", settings.uri)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", settings.experiment)
    monkeypatch.setenv("PREPTIME_MLFLOW_MODEL", settings.model)
    return settings


@pytest.fixture
def client(mlflow_url: str) -> MlflowClient:
    """Return a client that reads what was logged."""
    return MlflowClient(mlflow_url)


@pytest.fixture(scope="session")
def data() -> SyntheticData:
    """Return 3,000 orders from 1 to 15 June."""
    return make_synthetic_data()


@pytest.fixture(scope="session")
def files(data: SyntheticData, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """Return options with the same orders and restaurants as files."""
    folder = tmp_path_factory.mktemp("data")
    data.orders.write_csv(folder / "orders.csv")
    data.restaurants.write_csv(folder / "restaurants.csv")
    return "--orders", str(folder / "orders.csv"), "--restaurants", str(folder / "restaurants.csv")


@pytest.fixture(scope="session")
def trained(data: SyntheticData, tmp_path_factory: pytest.TempPathFactory) -> TrainedStore:
    """Return a store whose bundle of 13 June is the champion, and which isn't registered in MLflow."""
    root = tmp_path_factory.mktemp("trained") / "models"
    return TrainedStore(root, run_training(data, june(13), Store.open(str(root))))


@pytest.fixture
def store(trained: TrainedStore, tmp_path: Path) -> Store:
    """Return a copy of the store of `trained`."""
    return trained.copy(tmp_path / "models")
