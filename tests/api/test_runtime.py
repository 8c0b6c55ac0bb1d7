"""The service of a worker, built from settings."""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path

import pytest

from preptime.api import runtime as runtime_module
from preptime.api.health_server import read_readiness
from preptime.api.metrics_store import read_live_states
from preptime.api.runtime import ServiceRuntime, build_runtime
from preptime.api.worker import check_settings, configured_api_keys
from preptime.errors import UsageError
from preptime.settings import Settings
from tests.api.test_server import promote
from tests.bundle.factories import DAY
from tests.requirements import requires


def make_runtime(folder: Path) -> ServiceRuntime:
    """Return a service with its store and its other files in `folder`."""
    settings = Settings.load(
        {
            "AIKEY": "k",
            "PREPTIME_STORE": str(folder / "models"),
            "PREPTIME_PREDICTION_LOG_FOLDER": str(folder / "predictions"),
            "PREPTIME_METRICS_FOLDER": str(folder / "counts"),
        }
    )
    return build_runtime(settings, configured_api_keys(settings))


def test_runtime_start_loads_champion_and_publishes_state(tmp_path: Path) -> None:
    bundle_id = promote(tmp_path)
    runtime = make_runtime(tmp_path)
    runtime.start()
    active_model = runtime.service.active_model()
    assert active_model is not None
    assert active_model.bundle.manifest.id == bundle_id
    assert runtime.service.key_name("k") == "aikey"
    (state,) = read_live_states(tmp_path / "counts", stale_seconds=60)
    assert (state.ready, state.bundle, state.champion_number) == (True, bundle_id, 1)
    assert read_readiness(tmp_path / "counts").ready
    runtime.close(timeout_seconds=30)
    runtime.close(timeout_seconds=30)


def test_runtime_counts_age_in_the_zones_of_the_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[dt.date, tuple[str, ...]]] = []

    def record(date: dt.date, zone_names: tuple[str, ...]) -> float:
        calls.append((date, zone_names))
        return 5.0

    monkeypatch.setattr(runtime_module, "last_midnight", record)
    promote(tmp_path)
    runtime = make_runtime(tmp_path)
    runtime.start()
    (state,) = read_live_states(tmp_path / "counts", stale_seconds=60)
    runtime.close(timeout_seconds=30)
    assert state.history_timestamp == 5.0
    assert set(calls) == {(DAY, ("Europe/London", "Europe/Paris"))}


def test_runtime_without_champion_isnt_ready(tmp_path: Path) -> None:
    runtime = make_runtime(tmp_path)
    runtime.start()
    assert runtime.service.active_model() is None
    assert not read_readiness(tmp_path / "counts").ready
    runtime.close(timeout_seconds=30)


def test_readiness_without_workers_is_false(tmp_path: Path) -> None:
    assert not read_readiness(tmp_path).ready


def test_runtime_missing_metrics_folder_logs_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    requires(os.name == "posix", "this system can't remove a file that is in use")
    promote(tmp_path)
    runtime = make_runtime(tmp_path)
    runtime.start()
    for path in (tmp_path / "counts").iterdir():
        path.unlink()
    (tmp_path / "counts").rmdir()
    runtime.close(timeout_seconds=30)
    assert runtime.service.active_model() is not None
    assert "Can't publish the state" in caplog.text


def test_configured_api_keys_vertex_route_needs_no_key(tmp_path: Path) -> None:
    settings = Settings.load({"AIP_PREDICT_ROUTE": "/p", "PREPTIME_HOST": "192.0.2.1"})
    assert len(configured_api_keys(settings)) == 0
    with pytest.raises(UsageError, match="No key"):
        configured_api_keys(Settings.load({"PREPTIME_HOST": "192.0.2.1"}))


@pytest.mark.parametrize("route", ["/v1/bundle", "/metrics/", "/docs", "/docs/index.html"])
def test_check_settings_refuses_health_route_of_an_endpoint(route: str) -> None:
    with pytest.raises(UsageError, match=f"AIP_HEALTH_ROUTE is {route}, which is another endpoint"):
        check_settings(Settings.load({"AIP_HEALTH_ROUTE": route}))


@pytest.mark.parametrize("route", ["/", "/readyz", "/healthz", "/predict", "/health"])
def test_check_settings_accepts_other_health_routes(route: str) -> None:
    check_settings(Settings.load({"AIP_HEALTH_ROUTE": route}))
