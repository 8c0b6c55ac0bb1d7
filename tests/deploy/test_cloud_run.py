"""scripts/cloud_run.py: releases against a fake of the Cloud Run Admin API, and the smoke test."""

from __future__ import annotations

import os
import stat
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from werkzeug.serving import make_server

from scripts import cloud_run
from tests.api.factories import KEY, FakeSettings, make_active_model, make_service, make_wsgi_app
from tests.deploy.fake_cloud_run import LATEST, FakeService, running_api

GCLOUD = """#!{python}
import pathlib, sys
pathlib.Path({calls!r}).open("a").write(" ".join(sys.argv[1:]) + "\\n")
print({{"auth": "a-token", "config": "test-project"}}.get(sys.argv[1], ""))
"""
"""A fake gcloud that knows a token and a project, and stores every call."""
API_OPTIONS = ("--service", "preptime-api", "--region", "europe-west1")
FIRST = "preptime-api-00001-abc"


@pytest.fixture
def gcloud_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file with the calls of the fake gcloud."""
    program = tmp_path / "bin" / "gcloud"
    program.parent.mkdir()
    program.write_text(GCLOUD.format(python=sys.executable, calls=str(tmp_path / "calls")), encoding="utf-8")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    return tmp_path / "calls"


@pytest.fixture
def service(gcloud_calls: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeService]:
    """A service with one revision, as Terraform creates it."""
    monkeypatch.setattr(cloud_run, "POLL_SECONDS", 0.0)
    fake = FakeService()
    with running_api(fake) as url:
        monkeypatch.setenv(cloud_run.API_URL_VARIABLE, url)
        yield fake


def image(digest: str) -> str:
    return f"registry/serve@sha256:{digest * 64}"


def run(command: str, *options: str) -> int:
    return cloud_run.main([command, *API_OPTIONS, *options])


def release(digest: str) -> None:
    assert run("release", "--image", image(digest)) == 0
    assert run("shift", "--percent", "100") == 0


def test_release_gets_traffic_in_steps(service: FakeService, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("release", "--image", image("a")) == 0
    assert capsys.readouterr().out.strip() == "https://candidate---api.example"
    assert service.shares() == {FIRST: 100}
    assert service.revisions["preptime-api-00002-abc"]["containers"] == [{"image": image("a")}]
    assert run("shift", "--percent", "10") == 0
    assert service.shares() == {"preptime-api-00002-abc": 10, FIRST: 90}
    assert run("shift", "--percent", "100") == 0
    assert service.shares() == {"preptime-api-00002-abc": 100}


def test_after_release_only_latest_revision_is_reachable(service: FakeService) -> None:
    """A tag would keep the URL, the old keys, and the instances of its revision."""
    release("a")
    assert service.document["traffic"] == [{"type": LATEST, "percent": 100}]
    assert list(service.reachable()) == ["preptime-api-00002-abc"]


def test_release_changes_image_and_traffic_only(service: FakeService) -> None:
    """Terraform would undo other changes (test_terraform_plan.py, AFTER_RELEASE)."""
    before = dict(service.document["template"])
    release("a")
    assert {name for fields in service.changes for name in fields} == {"annotations", "template", "traffic"}
    assert "revision" not in service.document["template"]
    assert service.document["template"] == before | {"containers": [{"image": image("a")}]}


def test_setting_changed_by_terraform_gets_the_traffic(service: FakeService) -> None:
    release("a")
    template = service.document["template"] | {"timeout": "30s"}
    service.change(["template"], {"template": template, "etag": service.document["etag"]})
    assert [revision["timeout"] for revision in service.reachable().values()] == ["30s"]


@pytest.mark.parametrize("rolled_back", [False, True])
def test_restart_replaces_old_keys_everywhere(service: FakeService, rolled_back: bool) -> None:
    release("a")
    release("b")
    if rolled_back:
        assert run("rollback") == 0
    service.secret = "second-key"  # noqa: S105
    assert {revision["keys"] for revision in service.reachable().values()} == {"first-key"}
    assert run("restart") == 0
    (revision,) = service.reachable().values()
    assert (revision["keys"], revision["containers"][0]["image"]) == ("second-key", image("a" if rolled_back else "b"))


def test_rollback_works_after_any_step(service: FakeService, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("release", "--image", image("a")) == 0
    for percent in ("10", "100"):
        assert run("shift", "--percent", percent) == 0
        assert run("rollback") == 0
        assert service.shares() == {FIRST: 100}
        assert list(service.reachable()) == [FIRST]
        assert run("release", "--image", image("a")) == 0
    assert f"All traffic goes to {FIRST}." in capsys.readouterr().out


def test_rollback_restores_previous_release(service: FakeService) -> None:
    release("a")
    release("b")
    assert run("rollback") == 0
    assert service.shares() == {"preptime-api-00002-abc": 100}


def test_rollback_before_first_release_is_refused(service: FakeService, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("rollback") == 1
    assert "has no previous release" in capsys.readouterr().err
    assert run("shift", "--percent", "10") == 1
    assert "no revision tagged 'candidate'" in capsys.readouterr().err
    assert service.changes == []


def test_failing_revision_gets_no_traffic(service: FakeService, capsys: pytest.CaptureFixture[str]) -> None:
    service.failing_image = image("a")
    assert run("release", "--image", image("a")) == 1
    assert "is not ready" in capsys.readouterr().err
    assert service.shares() == {FIRST: 100}
    # Cloud Run reports the failed revision for changes of the traffic too.
    assert run("rollback") == 0
    assert run("restart") == 0
    assert list(service.reachable()) == ["preptime-api-00003-abc"]


def test_release_without_digest_is_refused(service: FakeService, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("release", "--image", "registry/serve:latest") == 1
    assert "digest" in capsys.readouterr().err
    assert service.changes == []


def test_conflict_and_timeout_are_reported(
    service: FakeService, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud = cloud_run.CloudRunService("preptime-api", "europe-west1")
    stale = cloud.describe() | {"etag": "0"}
    with pytest.raises(cloud_run.ReleaseError, match="etag"):
        cloud.update(stale | {"traffic": [{"type": LATEST, "percent": 100}]}, "traffic")
    monkeypatch.setattr(cloud_run, "OPERATION_TIMEOUT_SECONDS", -1.0)
    assert run("restart") == 1
    assert "isn't ready after" in capsys.readouterr().err


def test_jobs_updates_each_image(gcloud_calls: Path) -> None:
    assert cloud_run.main(["jobs", "--region", "r", "--image", image("a"), "preptime-train", "preptime-score"]) == 0
    calls = gcloud_calls.read_text(encoding="utf-8").splitlines()
    assert [call.split()[3] for call in calls] == ["preptime-train", "preptime-score"]


def test_api_error_is_repeated(service: FakeService, capsys: pytest.CaptureFixture[str]) -> None:
    assert cloud_run.main(["rollback", "--service", "another", "--region", "europe-west1"]) == 1
    assert "services/another: 404" in capsys.readouterr().err


class ApiServer(NamedTuple):
    """An API server in this process."""

    url: str
    has_champion: bool


@pytest.fixture(params=[True, False], ids=["champion", "none"])
def api(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ApiServer]:
    """An API server with a champion, and one without."""
    serving = make_active_model(tmp_path) if request.param else None
    made = make_service(serving, FakeSettings(vertex_health_route="/ready", vertex_predict_route=None))
    server = make_server("127.0.0.1", 0, make_wsgi_app(made.service, "fast_path"), threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield ApiServer(f"http://127.0.0.1:{server.server_port}", bool(request.param))
    server.shutdown()
    server.server_close()
    thread.join()


def test_smoke_test_uses_real_api(
    api: ApiServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SMOKE_KEY", KEY)
    assert cloud_run.main(["smoke", f"{api.url}/"]) == (0 if api.has_champion else 1)
    captured = capsys.readouterr()
    assert ("predicts" in captured.out) if api.has_champion else ("503" in captured.err)
    monkeypatch.setenv("SMOKE_KEY", "wrong")
    assert cloud_run.main(["smoke", api.url]) == 1
    assert ("401" if api.has_champion else "503") in capsys.readouterr().err


def test_smoke_test_reports_unreachable_api(capsys: pytest.CaptureFixture[str]) -> None:
    assert cloud_run.main(["smoke", "http://127.0.0.1:9"]) == 1
    assert cloud_run.main(["smoke", "ftp://127.0.0.1"]) == 1
    assert "isn't an HTTP or HTTPS URL" in capsys.readouterr().err


@pytest.mark.parametrize(
    "response",
    [
        {"bundle": "b", "predictions": []},
        {"bundle": "another", "predictions": [{"p10": 1.0, "p50": 2.0, "p80": 3.0, "p90": 4.0}]},
        {"bundle": "b", "predictions": [{"p10": 3.0, "p50": 2.0, "p80": 3.0, "p90": 4.0}]},
        {"bundle": "b", "predictions": [{"error": {"code": "unparsable_time"}}]},
    ],
)
def test_invalid_prediction_fails_smoke_test(response: dict[str, object]) -> None:
    with pytest.raises(cloud_run.ReleaseError):
        cloud_run._check_prediction(response, "b")
