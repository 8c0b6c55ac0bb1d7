"""`make airflow`: a real scheduler, DAG processor, and API server, a DAG triggered through REST, and shutdown."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from preptime.scoring.score_day import DayScoreDocument
from scripts import airflow_local
from scripts.airflow_local import LocalAirflow
from tests.dags.installation import Installation
from tests.fake_server import JsonHandler, serve
from tests.requirements import ROOT

USER, PASSWORD = "cook", "salt and pepper"
DATE = "2015-06-13"
DAG = "daily_prediction_run"
READY_TEXT = "Press Ctrl-C to stop."
TIMEOUT_SECONDS = 150
"""Far more than it takes, for a busy machine."""


def free_port() -> int:
    """Return an unused port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@dataclass(frozen=True)
class RunningAirflow:
    """The started script, and its output until Airflow was ready."""

    process: subprocess.Popen[str]
    output: str
    port: int

    def request(
        self, method: str, path: str, body: object = None, token: str = "", status: int = 200
    ) -> dict[str, object]:
        """Send a request, and return the response, which has this status or 201."""
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)) as connection:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            content = response.read()
            assert response.status in {status, 201}, content
        document: dict[str, object] = json.loads(content)
        return document


def start_script(installation: Installation, folder: Path, **settings: str) -> subprocess.Popen[str]:
    """Start the script as dev.py does, with another `.env`."""
    lines = [f'{name}="{value}"' for name, value in settings.items()]
    (folder / ".env").write_text("\n".join(lines), encoding="utf-8")
    return subprocess.Popen(
        [sys.executable, "-m", "scripts.airflow_local", "--no-demo", "--env-file", str(folder / ".env")],
        cwd=ROOT,
        env=installation.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    )


@pytest.fixture(scope="session")
def running(migrated: Installation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningAirflow]:
    """A healthy Airflow. SIGTERM stops it."""
    port = free_port()
    settings = {"AIRFLOW_PORT": str(port), "_AIRFLOW_WWW_USER_USERNAME": USER, "_AIRFLOW_WWW_USER_PASSWORD": PASSWORD}
    process = start_script(migrated, tmp_path_factory.mktemp("settings"), **settings)
    output = ""
    try:
        assert process.stdout is not None
        for line in process.stdout:
            output += line
            if READY_TEXT in line:
                break
        assert READY_TEXT in output, output
        yield RunningAirflow(process, output, port)
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


def test_output_has_url_and_user_without_chosen_password(running: RunningAirflow) -> None:
    assert f"Airflow: http://127.0.0.1:{running.port}, user {USER}. {READY_TEXT}" in running.output
    assert PASSWORD not in running.output


def test_dag_triggered_through_rest_succeeds(running: RunningAirflow, migrated: Installation) -> None:
    running.request("POST", "/auth/token", {"username": USER, "password": "airflow"}, status=401)
    token = str(running.request("POST", "/auth/token", {"username": USER, "password": PASSWORD})["access_token"])
    dags = running.request("GET", "/api/v2/dags", token=token)["dags"]
    assert isinstance(dags, list)
    assert {dag["dag_id"]: dag["is_paused"] for dag in dags} == {
        "daily_training_run": True,
        DAG: True,
        "daily_monitoring_run": True,
    }
    running.request("PATCH", f"/api/v2/dags/{DAG}", {"is_paused": False}, token)
    run = running.request("POST", f"/api/v2/dags/{DAG}/dagRuns", {"logical_date": f"{DATE}T07:00:00Z"}, token)
    path = f"/api/v2/dags/{DAG}/dagRuns/{run['dag_run_id']}"
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while (state := running.request("GET", path, token=token)["state"]) in {"queued", "running"}:
        assert time.monotonic() < deadline, f"still {state}; logs are in {migrated.home / 'logs'}"
        time.sleep(0.5)
    assert state == "success"
    content = (migrated.results / f"date={DATE}" / "score.json").read_bytes()
    assert msgspec.json.decode(content, type=DayScoreDocument).outcome == "no_champion"


def test_sigterm_stops_every_process(running: RunningAirflow) -> None:
    """The last test of this file, because the others need Airflow."""
    started = descendants(running.process.pid)
    assert len(started) >= 3
    running.process.send_signal(signal.SIGTERM)
    remaining_output, _ = running.process.communicate(timeout=60)
    assert (running.process.returncode, remaining_output.strip()) == (0, "Airflow stopped.")
    assert [process_id for process_id in started if is_running(process_id)] == []


def descendants(process_id: int) -> list[int]:
    """Return the ids of all processes below a process."""
    parents = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:  # The process ended meanwhile.
                continue
    result, pending = list[int](), [process_id]
    while pending:
        parent = pending.pop()
        children = [child for child, its_parent in parents.items() if its_parent == parent]
        result += children
        pending += children
    return result


def is_running(process_id: int) -> bool:
    """Return whether a process exists and isn't a zombie."""
    try:
        return Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("", "http://127.0.0.1:8080"),
        ("localhost", "http://localhost:8080"),
        ("127.0.0.2", "http://127.0.0.2:8080"),
        ("192.0.2.1", "http://192.0.2.1:8080"),
        ("0.0.0.0", "http://127.0.0.1:8080"),  # noqa: S104
        ("::1", "http://[::1]:8080"),
        ("::", "http://[::1]:8080"),
    ],
)
def test_tasks_reach_the_address_that_airflow_listens_on(host: str, url: str, tmp_path: Path) -> None:
    settings = {"AIRFLOW_HOST": host, "AIRFLOW_HOME": str(tmp_path), "_AIRFLOW_WWW_USER_PASSWORD": PASSWORD}
    airflow = LocalAirflow.from_settings(settings)
    environment = airflow.environment(settings)
    assert airflow.url == url
    assert environment["AIRFLOW__API__HOST"] == (host or "127.0.0.1")
    assert environment["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"] == f"{url}/execution/"


def test_health_is_read_at_the_address_that_airflow_listens_on(tmp_path: Path) -> None:
    class Handler(JsonHandler):
        def do_GET(self) -> None:
            self.respond({name: {"status": "healthy"} for name in ("metadatabase", "scheduler", "dag_processor")})

    with serve(Handler) as url:
        host, _, port = url.rpartition("/")[2].partition(":")
        settings = {"AIRFLOW_HOST": host, "AIRFLOW_PORT": port, "AIRFLOW_HOME": str(tmp_path)}
        assert LocalAirflow.from_settings(settings).is_healthy()
        assert not LocalAirflow.from_settings(settings | {"AIRFLOW_HOST": "127.0.0.2"}).is_healthy()


def test_malformed_env_file_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    env_file = tmp_path / "bad.env"
    env_file.write_text("A=1\nthis is not a setting\n", encoding="utf-8")
    assert airflow_local.main(["--no-demo", "--env-file", str(env_file)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{env_file}, line 2: expected NAME=value.")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"AIRFLOW_HOST": "192.0.2.1"}, "not a loopback address. Set _AIRFLOW_WWW_USER_PASSWORD"),
        ({"AIRFLOW_HOST": "192.0.2.1", "_AIRFLOW_WWW_USER_PASSWORD": "airflow"}, "other than admin, airflow, password"),
        ({"AIRFLOW_PORT": "http"}, "AIRFLOW_PORT=http: expected a whole number"),
    ],
)
def test_unsafe_or_invalid_setting_is_refused(
    settings: dict[str, str], message: str, installation: Installation, tmp_path: Path
) -> None:
    process = start_script(installation, tmp_path, **settings)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert message in output
    assert len(output.splitlines()) == 1
