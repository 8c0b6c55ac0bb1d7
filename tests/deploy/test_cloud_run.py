"""scripts/cloud_run.py: a release step by step on a gcloud that keeps a service's traffic, and the smoke test."""

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
from tests.api.factories import KEY, SomeSettings, application, make, some_serving

GCLOUD = '''#!{python}
"""A gcloud that keeps the traffic of one service in a file, and every call in another."""
import json, pathlib, re, sys
home = pathlib.Path({home!r})
words = sys.argv[1:]
with (home / "calls").open("a") as calls:
    calls.write(" ".join(words) + "\\n")
state = home / "traffic.json"
traffic = json.loads(state.read_text())
options = dict(re.findall(r"--([a-z-]+)=(\\S+)", " ".join(words)))
def tag(name, revision):
    for one in traffic:
        if one.get("tag") == name:
            del one["tag"]
    one = next((one for one in traffic if one["revisionName"] == revision and "tag" not in one), None)
    if one is None:
        one = {{"revisionName": revision}}
        traffic.append(one)
    one |= {{"tag": name, "url": f"https://{{name}}---api.example"}}
if words[:2] == ["run", "deploy"]:
    tag(options["tag"], words[2] + "-" + options["revision-suffix"])
elif words[2] == "update-traffic" and "update-tags" in options:
    tag(*options["update-tags"].split("="))
elif words[2] == "update-traffic":
    shares = dict(one.split("=") for one in options["to-revisions"].split(","))
    assert sum(map(int, shares.values())) == 100
    for one in traffic:
        one["percent"] = int(shares.pop(one["revisionName"], 0))
    assert not shares, "no such revision"
elif words[2] == "describe":
    print(json.dumps({{"status": {{"traffic": traffic}}}}))
elif words[1] != "jobs":
    sys.exit("ERROR: (gcloud) what is that?")
state.write_text(json.dumps(traffic))
'''
OF_THE_API = ("--service", "preptime-api", "--region", "europe-west1")
IMAGE = f"registry/serve@sha256:{'a' * 64}"


class Cloud(NamedTuple):
    """The folder of the played gcloud."""

    home: Path

    def shares(self) -> dict[str, int]:
        """Percent of the requests by revision."""
        traffic = json.loads((self.home / "traffic.json").read_text(encoding="utf-8"))
        found: dict[str, int] = {}
        for one in traffic:
            found[one["revisionName"]] = found.get(one["revisionName"], 0) + one.get("percent", 0)
        return {name: percent for name, percent in found.items() if percent}

    def calls(self) -> list[str]:
        """What was asked of it."""
        return (self.home / "calls").read_text(encoding="utf-8").splitlines()


@pytest.fixture
def cloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cloud:
    """A service with one revision, as Terraform leaves it."""
    program = tmp_path / "bin" / "gcloud"
    program.parent.mkdir()
    program.write_text(GCLOUD.format(python=sys.executable, home=str(tmp_path)), encoding="utf-8")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    first = [{"revisionName": "preptime-api-00001-abc", "percent": 100, "latestRevision": True}]
    (tmp_path / "traffic.json").write_text(json.dumps(first), encoding="utf-8")
    return Cloud(tmp_path)


def released(suffix: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert cloud_run.main(["release", *OF_THE_API, "--image", IMAGE, "--suffix", suffix]) == 0
    return capsys.readouterr().out.strip()


def shifted(suffix: str, percent: int) -> None:
    assert cloud_run.main(["shift", *OF_THE_API, "--suffix", suffix, "--percent", str(percent)]) == 0


def test_a_release_gets_no_traffic_then_some_then_all(cloud: Cloud, capsys: pytest.CaptureFixture[str]) -> None:
    assert released("r2", capsys) == "https://candidate---api.example"
    assert cloud.shares() == {"preptime-api-00001-abc": 100}
    assert any("--no-traffic" in call and IMAGE in call for call in cloud.calls())
    shifted("r2", 10)
    assert cloud.shares() == {"preptime-api-r2": 10, "preptime-api-00001-abc": 90}
    shifted("r2", 100)
    assert cloud.shares() == {"preptime-api-r2": 100}


def test_one_command_goes_back_from_any_step(cloud: Cloud, capsys: pytest.CaptureFixture[str]) -> None:
    released("r2", capsys)
    for percent in (10, 100):
        shifted("r2", percent)
        assert cloud_run.main(["rollback", *OF_THE_API]) == 0
        assert cloud.shares() == {"preptime-api-00001-abc": 100}
    assert "All requests go to preptime-api-00001-abc." in capsys.readouterr().out


def test_the_next_release_goes_back_to_the_one_before_it(cloud: Cloud, capsys: pytest.CaptureFixture[str]) -> None:
    for suffix in ("r2", "r3"):
        released(suffix, capsys)
        shifted(suffix, 100)
    assert cloud_run.main(["rollback", *OF_THE_API]) == 0
    assert cloud.shares() == {"preptime-api-r2": 100}


def test_there_is_nothing_to_go_back_to_before_the_first_release(
    cloud: Cloud, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cloud_run.main(["rollback", *OF_THE_API]) == 1
    assert "no revision tagged 'previous'" in capsys.readouterr().err
    assert cloud.shares() == {"preptime-api-00001-abc": 100}


def test_an_image_has_to_be_named_by_its_digest(cloud: Cloud, capsys: pytest.CaptureFixture[str]) -> None:
    assert cloud_run.main(["release", *OF_THE_API, "--image", "registry/serve:latest", "--suffix", "r2"]) == 1
    assert "digest" in capsys.readouterr().err


def test_jobs_get_the_image_one_by_one(cloud: Cloud) -> None:
    assert cloud_run.main(["jobs", "--region", "r", "--image", IMAGE, "preptime-train", "preptime-score"]) == 0
    assert [call.split()[3] for call in cloud.calls()] == ["preptime-train", "preptime-score"]


def test_what_gcloud_says_no_to_is_repeated(cloud: Cloud, capsys: pytest.CaptureFixture[str]) -> None:
    (cloud.home / "traffic.json").write_text("[", encoding="utf-8")
    assert cloud_run.main(["rollback", *OF_THE_API]) == 1
    assert "gcloud run services describe" in capsys.readouterr().err


class Api(NamedTuple):
    """A server of the API in this process."""

    url: str
    champions: list[bool]


@pytest.fixture(params=[True, False], ids=["champion", "none"])
def api(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Api]:
    """One with a champion, and one without."""
    serving = some_serving(tmp_path) if request.param else None
    made = make(serving, SomeSettings(vertex_health_route="/ready", vertex_predict_route=None))
    server = make_server("127.0.0.1", 0, application(made.service, "front"), threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield Api(f"http://127.0.0.1:{server.server_port}", [bool(request.param)])
    server.shutdown()
    server.server_close()
    thread.join()


def test_smoke_asks_the_real_api(api: Api, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("SMOKE_KEY", KEY)
    assert cloud_run.main(["smoke", f"{api.url}/"]) == (0 if api.champions[0] else 1)
    said = capsys.readouterr()
    assert ("it predicts" in said.out) if api.champions[0] else ("503" in said.err)
    monkeypatch.setenv("SMOKE_KEY", "wrong")
    assert cloud_run.main(["smoke", api.url]) == 1
    assert ("401" if api.champions[0] else "503") in capsys.readouterr().err


def test_smoke_says_when_nobody_answers(capsys: pytest.CaptureFixture[str]) -> None:
    assert cloud_run.main(["smoke", "http://127.0.0.1:9"]) == 1
    assert cloud_run.main(["smoke", "ftp://127.0.0.1"]) == 1
    assert "is no address" in capsys.readouterr().err


@pytest.mark.parametrize(
    "answer",
    [
        {"bundle": "b", "predictions": []},
        {"bundle": "another", "predictions": [{"p10": 1.0, "p50": 2.0, "p80": 3.0, "p90": 4.0}]},
        {"bundle": "b", "predictions": [{"p10": 3.0, "p50": 2.0, "p80": 3.0, "p90": 4.0}]},
        {"bundle": "b", "predictions": [{"error": {"code": "unparsable_time"}}]},
    ],
)
def test_an_answer_that_is_no_prediction_is_seen(answer: dict[str, object]) -> None:
    with pytest.raises(cloud_run.ReleaseError):
        cloud_run._check_prediction(answer, "b")
