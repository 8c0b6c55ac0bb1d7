"""scripts/cloud_run.py: a release with a fake gcloud that stores the traffic of a service, and the smoke test."""

from __future__ import annotations

import json
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

GCLOUD = '''#!{python}
"""A fake gcloud that stores the traffic of one service in a file, and every call in another."""
import json, pathlib, re, sys
home = pathlib.Path({home!r})
arguments = sys.argv[1:]
with (home / "calls").open("a") as calls:
    calls.write(" ".join(arguments) + "\\n")
state = home / "traffic.json"
traffic = json.loads(state.read_text())
options = dict(re.findall(r"--([a-z-]+)=(\\S+)", " ".join(arguments)))
def set_tag(tag, revision):
    for target in traffic:
        if target.get("tag") == tag:
            del target["tag"]
    free = (target for target in traffic if target["revisionName"] == revision and "tag" not in target)
    tagged = next(free, None)
    if not tagged:
        tagged = {{"revisionName": revision}}
        traffic.append(tagged)
    tagged |= {{"tag": tag, "url": f"https://{{tag}}---api.example"}}
if arguments[:2] == ["run", "deploy"]:
    set_tag(options["tag"], arguments[2] + "-" + options["revision-suffix"])
elif arguments[2] == "update-traffic" and "update-tags" in options:
    set_tag(*options["update-tags"].split("="))
elif arguments[2] == "update-traffic":
    shares = dict(share.split("=") for share in options["to-revisions"].split(","))
    assert sum(map(int, shares.values())) == 100
    for target in traffic:
        target["percent"] = int(shares.pop(target["revisionName"], 0))
    assert not shares, "no such revision"
elif arguments[2] == "describe":
    print(json.dumps({{"status": {{"traffic": traffic}}}}))
elif arguments[1] != "jobs":
    sys.exit("ERROR: (gcloud) unknown command")
state.write_text(json.dumps(traffic))
'''
API_OPTIONS = ("--service", "preptime-api", "--region", "europe-west1")
IMAGE = f"registry/serve@sha256:{'a' * 64}"


class FakeCloud(NamedTuple):
    """The folder of the fake gcloud."""

    home: Path

    def shares(self) -> dict[str, int]:
        """Return the percentage of the traffic by revision."""
        traffic = json.loads((self.home / "traffic.json").read_text(encoding="utf-8"))
        shares: dict[str, int] = {}
        for target in traffic:
            shares[target["revisionName"]] = shares.get(target["revisionName"], 0) + target.get("percent", 0)
        return {name: percent for name, percent in shares.items() if percent}

    def calls(self) -> list[str]:
        """Return the recorded calls."""
        return (self.home / "calls").read_text(encoding="utf-8").splitlines()


@pytest.fixture
def cloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeCloud:
    """A service with one revision, as Terraform creates it."""
    program = tmp_path / "bin" / "gcloud"
    program.parent.mkdir()
    program.write_text(GCLOUD.format(python=sys.executable, home=str(tmp_path)), encoding="utf-8")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    first = [{"revisionName": "preptime-api-00001-abc", "percent": 100, "latestRevision": True}]
    (tmp_path / "traffic.json").write_text(json.dumps(first), encoding="utf-8")
    return FakeCloud(tmp_path)


def release(suffix: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert cloud_run.main(["release", *API_OPTIONS, "--image", IMAGE, "--suffix", suffix]) == 0
    return capsys.readouterr().out.strip()


def shift(suffix: str, percent: int) -> None:
    assert cloud_run.main(["shift", *API_OPTIONS, "--suffix", suffix, "--percent", str(percent)]) == 0


def test_release_gets_traffic_in_steps(cloud: FakeCloud, capsys: pytest.CaptureFixture[str]) -> None:
    assert release("r2", capsys) == "https://candidate---api.example"
    assert cloud.shares() == {"preptime-api-00001-abc": 100}
    assert any("--no-traffic" in call and IMAGE in call for call in cloud.calls())
    shift("r2", 10)
    assert cloud.shares() == {"preptime-api-r2": 10, "preptime-api-00001-abc": 90}
    shift("r2", 100)
    assert cloud.shares() == {"preptime-api-r2": 100}


def test_rollback_works_after_any_step(cloud: FakeCloud, capsys: pytest.CaptureFixture[str]) -> None:
    release("r2", capsys)
    for percent in (10, 100):
        shift("r2", percent)
        assert cloud_run.main(["rollback", *API_OPTIONS]) == 0
        assert cloud.shares() == {"preptime-api-00001-abc": 100}
    assert "All traffic goes to preptime-api-00001-abc." in capsys.readouterr().out


def test_rollback_restores_previous_release(cloud: FakeCloud, capsys: pytest.CaptureFixture[str]) -> None:
    for suffix in ("r2", "r3"):
        release(suffix, capsys)
        shift(suffix, 100)
    assert cloud_run.main(["rollback", *API_OPTIONS]) == 0
    assert cloud.shares() == {"preptime-api-r2": 100}


def test_rollback_before_first_release_is_refused(cloud: FakeCloud, capsys: pytest.CaptureFixture[str]) -> None:
    assert cloud_run.main(["rollback", *API_OPTIONS]) == 1
    assert "no revision tagged 'previous'" in capsys.readouterr().err
    assert cloud.shares() == {"preptime-api-00001-abc": 100}


def test_release_without_digest_is_refused(cloud: FakeCloud, capsys: pytest.CaptureFixture[str]) -> None:
    assert cloud_run.main(["release", *API_OPTIONS, "--image", "registry/serve:latest", "--suffix", "r2"]) == 1
    assert "digest" in capsys.readouterr().err


def test_jobs_updates_each_image(cloud: FakeCloud) -> None:
    assert cloud_run.main(["jobs", "--region", "r", "--image", IMAGE, "preptime-train", "preptime-score"]) == 0
    assert [call.split()[3] for call in cloud.calls()] == ["preptime-train", "preptime-score"]


def test_gcloud_error_is_repeated(cloud: FakeCloud, capsys: pytest.CaptureFixture[str]) -> None:
    (cloud.home / "traffic.json").write_text("[", encoding="utf-8")
    assert cloud_run.main(["rollback", *API_OPTIONS]) == 1
    assert "gcloud run services describe" in capsys.readouterr().err


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
