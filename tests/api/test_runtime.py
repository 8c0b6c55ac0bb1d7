"""A service put together from settings."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from preptime.api.health_server import read_readiness
from preptime.api.metrics_store import read_live_states
from preptime.api.runtime import build_runtime, configured_api_keys
from preptime.errors import UsageError
from preptime.settings import Settings
from tests.api.test_server import promote
from tests.requirements import requires


def settings(folder: Path, **given: str) -> Settings:
    """Settings for a service in `folder`."""
    environ = {
        "AIKEY": "k",
        "PREPTIME_STORE": str(folder / "models"),
        "PREPTIME_PREDICTION_LOG_FOLDER": str(folder / "predictions"),
        "PREPTIME_METRICS_FOLDER": str(folder / "counts"),
    }
    return Settings.load(environ | given)


def test_runtime_start_loads_champion_and_publishes_state(tmp_path: Path) -> None:
    bundle_id = promote(tmp_path)
    running = build_runtime(settings(tmp_path))
    running.start()
    serving = running.service.active_model()
    assert serving is not None
    assert serving.bundle.manifest.id == bundle_id
    assert running.service.key_name("k") == "aikey"
    (state,) = read_live_states(tmp_path / "counts", stale_seconds=60)
    assert (state.ready, state.bundle, state.champion_number) == (True, bundle_id, 1)
    assert read_readiness(tmp_path / "counts").ready
    running.close(timeout_seconds=30)
    running.close(timeout_seconds=30)


def test_runtime_without_champion_isnt_ready(tmp_path: Path) -> None:
    running = build_runtime(settings(tmp_path))
    running.start()
    assert running.service.active_model() is None
    assert not read_readiness(tmp_path / "counts").ready
    running.close(timeout_seconds=30)


def test_readiness_without_workers_is_false(tmp_path: Path) -> None:
    assert not read_readiness(tmp_path).ready


def test_runtime_missing_metrics_folder_logs_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    requires(os.name == "posix", "a file in use cannot be removed on this system")
    promote(tmp_path)
    running = build_runtime(settings(tmp_path))
    running.start()
    for path in (tmp_path / "counts").iterdir():
        path.unlink()
    (tmp_path / "counts").rmdir()
    running.close(timeout_seconds=30)
    assert running.service.active_model() is not None
    assert "cannot be told" in caplog.text


def test_configured_api_keys_vertex_route_needs_no_key(tmp_path: Path) -> None:
    given = Settings.load({"AIP_PREDICT_ROUTE": "/p", "PREPTIME_HOST": "192.0.2.1"})
    assert len(configured_api_keys(given)) == 0
    with pytest.raises(UsageError, match="No key"):
        configured_api_keys(Settings.load({"PREPTIME_HOST": "192.0.2.1"}))
