"""scripts/cloud_run.py and canary.py: releases against a fake of Google's APIs, and the smoke test."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from scripts import canary, cloud_run
from tests.api.factories import KEY
from tests.deploy.fake_cloud_run import LATEST, FakeService, running_api
from tests.deploy.serving import running_api_server

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
        monkeypatch.setenv(cloud_run.MONITORING_URL_VARIABLE, url)
        yield fake


def image(digest: str) -> str:
    return f"registry/serve@sha256:{digest * 64}"


def run(command: str, *options: str) -> int:
    return cloud_run.main([command, *API_OPTIONS, *options])


def release(digest: str) -> None:
    assert run("release", "--image", image(digest)) == 0
    assert run("shift", "--percent", "100") == 0


def test_candidate_behind_load_balancer_has_the_given_url(
    service: FakeService, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Cloud Run returns no URL for a tag if its own URLs are disabled. The dashboard's release needs none."""
    statuses = [{"tag": cloud_run.CANDIDATE_TAG, "revision": "preptime-api-00002-abc"}]
    assert cloud_run.candidate({"trafficStatuses": statuses}, "preptime-ui")["uri"] == ""
    monkeypatch.setenv(cloud_run.CANDIDATE_URL_VARIABLE, "https://candidate.api.example.com")
    assert cloud_run.candidate({"trafficStatuses": statuses}, "preptime-api")["uri"].endswith("api.example.com")
    assert run("release", "--image", image("a")) == 0
    assert capsys.readouterr().out.strip() == "https://candidate.api.example.com"


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


def test_repeated_release_keeps_previous_release(service: FakeService) -> None:
    """A failed job of a workflow is run again as a whole, after its image got all traffic."""
    release("a")
    release("b")
    release("b")
    assert run("rollback") == 0
    ((name, revision),) = service.reachable().items()
    assert (service.shares(), revision["containers"][0]["image"]) == ({name: 100}, image("a"))


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


def test_release_changes_the_container_with_the_ports(service: FakeService) -> None:
    """The other container reads its metrics (deploy/terraform/modules/service)."""
    sidecar = {"name": "metrics", "image": "sidecar:1"}
    containers = [sidecar, {"image": "registry/serve:first", "ports": [{"containerPort": 8000}]}]
    service.change(["template"], {"template": {"containers": containers}, "etag": service.document["etag"]})
    release("a")
    assert [container["image"] for container in service.document["template"]["containers"]] == ["sidecar:1", image("a")]
    assert run("restart") == 0
    assert [container["image"] for container in service.document["template"]["containers"]] == ["sidecar:1", image("a")]


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
    has_champion = bool(request.param)
    with running_api_server(tmp_path, has_champion=has_champion) as url:
        yield ApiServer(url, has_champion)


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
        cloud_run._check_prediction(response, {"b"})


class Clock:
    """A clock whose time passes in `sleep` only. `events` happen as soon as their time has come."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0
        self.start = self.now
        self.events: list[tuple[float, Callable[[], None]]] = []

    def time(self) -> float:
        """Return the time in seconds."""
        return self.now

    monotonic = time

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds
        for event in [event for event in self.events if event[0] <= self.now - self.start]:
            self.events.remove(event)
            event[1]()


@pytest.fixture
def clock(service: FakeService, api: ApiServer, monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A candidate with 10% of the traffic, and the clock of the canary."""
    clock = Clock()
    monkeypatch.setattr(canary, "time", clock)
    monkeypatch.setenv("SMOKE_KEY", KEY)
    service.url_of_tags = api.url
    assert run("release", "--image", image("a")) == 0
    assert run("shift", "--percent", "10") == 0
    return clock


SECOND = "preptime-api-00002-abc"
GOOD = [(200, 12.0)] * 990 + [(422, 9.0)] * 10
"""Requests with wrong orders aren't errors of the API."""


def run_canary(*options: str) -> int:
    return canary.main([*API_OPTIONS, *options])


@pytest.mark.parametrize("api", [True], indirect=True)
def test_canary_waits_and_accepts_good_requests(
    service: FakeService, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    """Metrics are late, and requests of the other revision don't count."""
    service.observed = {FIRST: [(500, 9000.0)] * 500}
    clock.events = [(400.0, lambda: service.observed.update({SECOND: GOOD}))]
    assert run_canary() == 0
    assert f"{SECOND}: 1000 requests, 0.0% errors, p99 12 ms." in capsys.readouterr().out
    assert clock.now - clock.start >= 8 * 60


@pytest.mark.parametrize("api", [True], indirect=True)
@pytest.mark.parametrize(
    ("requests", "message"),
    [
        ([*GOOD, *[(503, 5.0)] * 11], "1.1% errors, p99 12 ms. The limit of --max-error-percent is 1."),
        ([*GOOD, *[(200, 700.0)] * 11], "0.0% errors, p99 700 ms. The limit of --max-p99-ms is 500."),
    ],
    ids=["errors", "latency"],
)
def test_canary_refuses_candidate_over_a_limit(
    service: FakeService,
    clock: Clock,
    capsys: pytest.CaptureFixture[str],
    requests: list[tuple[int, float]],
    message: str,
) -> None:
    """Also if its own requests, which are good, come first. It doesn't wait until the end."""
    service.observed = {SECOND: GOOD[:100]}
    clock.events = [(60.0, lambda: service.observed.update({SECOND: requests}))]
    assert run_canary() == 1
    assert message in capsys.readouterr().err
    assert clock.now - clock.start == 60.0


@pytest.mark.parametrize("api", [True], indirect=True)
def test_canary_needs_enough_requests(service: FakeService, clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    """A few errors among too few requests decide nothing, and neither do a few good ones."""
    service.observed = {SECOND: [(500, 5.0), (200, 5.0)]}
    assert run_canary("--min-requests", "3") == 1
    assert "--min-requests is 3" in capsys.readouterr().err
    assert clock.now - clock.start >= 8 * 60
    service.observed = {}
    assert run_canary("--min-requests", "1", "--minutes", "0") == 1
    assert "0 requests" in capsys.readouterr().err


@pytest.mark.parametrize("api", [True], indirect=True)
def test_canary_checks_its_own_responses(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SMOKE_KEY", "wrong")
    assert run_canary() == 1
    assert "401" in capsys.readouterr().err
    assert clock.now == clock.start
