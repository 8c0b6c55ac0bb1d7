"""`make airflow`: scheduler, dag-processor and api-server for real, a DAG triggered through REST, and the end."""

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
from tests.dags.installation import Installation
from tests.requirements import ROOT

SCRIPT = ROOT / "scripts" / "airflow_local.py"
USER, PASSWORD = "cook", "salt and pepper"
DATE = "2015-06-13"
DAG = "daily_prediction_run"
SECONDS = 150
"""Far more than it takes, for a machine that has much else to do."""


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@dataclass(frozen=True)
class Running:
    """What was started, and what it said when it was ready."""

    process: subprocess.Popen[str]
    said: str
    port: int

    def ask(self, method: str, path: str, body: object = None, token: str = "", status: int = 200) -> dict[str, object]:
        """One request; its answer, which has this status (or says that something was made)."""
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)) as connection:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            content = answer.read()
            assert answer.status in {status, 201}, content
        found: dict[str, object] = json.loads(content)
        return found


def start(installation: Installation, folder: Path, **told: str) -> subprocess.Popen[str]:
    """The script, as dev.py calls it, but for the file in which people say what they want."""
    lines = [f'{name}="{value}"' for name, value in told.items()]
    (folder / ".env").write_text("\n".join(lines), encoding="utf-8")
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), str(folder / ".env")],
        env=installation.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    )


@pytest.fixture(scope="session")
def running(migrated: Installation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Started, healthy; ended as Ctrl-C or a supervisor ends it."""
    port = free_port()
    told = {"AIRFLOW_PORT": str(port), "_AIRFLOW_WWW_USER_USERNAME": USER, "_AIRFLOW_WWW_USER_PASSWORD": PASSWORD}
    process = start(migrated, tmp_path_factory.mktemp("told"), **told)
    said = ""
    try:
        assert process.stdout is not None
        for line in process.stdout:
            said += line
            if "Ctrl-C ends it" in line:
                break
        assert "Ctrl-C ends it" in said, said
        yield Running(process, said, port)
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


def test_it_says_where_it_is_and_for_whom_and_no_password_that_someone_chose(running: Running) -> None:
    assert f"Airflow is at http://localhost:{running.port}, user {USER}. Ctrl-C ends it." in running.said
    assert PASSWORD not in running.said


def test_a_dag_unpaused_and_triggered_through_rest_succeeds(running: Running, migrated: Installation) -> None:
    running.ask("POST", "/auth/token", {"username": USER, "password": "airflow"}, status=401)
    token = str(running.ask("POST", "/auth/token", {"username": USER, "password": PASSWORD})["access_token"])
    dags = running.ask("GET", "/api/v2/dags", token=token)["dags"]
    assert isinstance(dags, list)
    assert {one["dag_id"]: one["is_paused"] for one in dags} == {
        "daily_training_run": True,
        DAG: True,
        "daily_monitoring_run": True,
    }
    running.ask("PATCH", f"/api/v2/dags/{DAG}", {"is_paused": False}, token)
    run = running.ask("POST", f"/api/v2/dags/{DAG}/dagRuns", {"logical_date": f"{DATE}T07:00:00Z"}, token)
    path = f"/api/v2/dags/{DAG}/dagRuns/{run['dag_run_id']}"
    until = time.monotonic() + SECONDS
    while (state := running.ask("GET", path, token=token)["state"]) in {"queued", "running"}:
        assert time.monotonic() < until, f"still {state}; logs are in {migrated.home / 'logs'}"
        time.sleep(0.5)
    assert state == "success"
    content = (migrated.results / f"date={DATE}" / "score.json").read_bytes()
    assert msgspec.json.decode(content, type=DayScoreDocument).outcome == "no_champion"


def test_it_ends_with_all_it_started(running: Running) -> None:
    """Last in this file: others need it running."""
    started = descendants(running.process.pid)
    assert len(started) >= 3
    running.process.send_signal(signal.SIGTERM)
    rest, _ = running.process.communicate(timeout=60)
    assert (running.process.returncode, rest.strip()) == (0, "Airflow has ended.")
    assert [one for one in started if is_running(one)] == []


def descendants(process: int) -> list[int]:
    """Ids of all processes below one."""
    parents = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:  # it has ended meanwhile
                continue
    found, asked = list[int](), [process]
    while asked:
        below = [child for child, parent in parents.items() if parent == asked[-1]]
        asked.pop()
        found += below
        asked += below
    return found


def is_running(process: int) -> bool:
    """Whether it is there, and not only waiting to be counted."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"AIRFLOW_HOST": "192.0.2.1"}, "can be reached by others. Set _AIRFLOW_WWW_USER_PASSWORD"),
        ({"AIRFLOW_HOST": "192.0.2.1", "_AIRFLOW_WWW_USER_PASSWORD": "airflow"}, "to none of admin, airflow"),
        ({"AIRFLOW_PORT": "http"}, "AIRFLOW_PORT=http: expected a whole number"),
    ],
)
def test_what_is_not_safe_or_cannot_be_does_not_start(
    told: dict[str, str], said: str, installation: Installation, tmp_path: Path
) -> None:
    process = start(installation, tmp_path, **told)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert said in out
    assert len(out.splitlines()) == 1
