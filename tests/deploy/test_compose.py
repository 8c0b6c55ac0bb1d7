"""The whole system by Docker Compose: valid, up and healthy, trained by Airflow, asked by the page, then gone."""

from __future__ import annotations

import datetime as dt
import json
import re
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import expect

from scripts import compose
from tests.api.processes import free_port
from tests.deploy import base_images
from tests.deploy.airflow_api import Airflow
from tests.deploy.conftest import TAG, shared
from tests.deploy.engine import Engine, ask
from tests.deploy.http_requests import ORDER
from tests.deploy.manifests import tool
from tests.requirements import ROOT, requires
from tests.ui.browser import CHROMIUM, chromium, looking, settle

Build = Callable[[str], str]
PROJECT = "preptime-test"
DAYS = 10
TRAINED_WITHIN_SECONDS = 240
"""It takes 20 s on a machine that does nothing else."""
LOOKED_WITHIN_SECONDS = 20
"""The API looks at the champion log every 5 s, and loads what it finds."""


@dataclass(frozen=True)
class Running:
    """The system, started by `make up`."""

    engine: Engine
    api: int
    ui: int
    airflow: Airflow
    key: str
    orders: Path
    said: str

    def names(self, *filtered: str) -> list[str]:
        """The containers of this project."""
        label = f"--filter=label=com.docker.compose.project={PROJECT}"
        return self.engine.run("ps", "--all", "--quiet", label, *filtered).stdout.split()


@pytest.fixture(scope="module")
def running(engine: Engine, image: Build, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """API, page, Airflow and PostgreSQL, all healthy, over ten days of orders up to yesterday; nothing trained yet."""
    tool("docker-compose")
    folder = tmp_path_factory.mktemp("compose")
    for target in ("serve", "ui", "airflow"):
        image(target)
    orders = folder / "orders"
    orders.mkdir()
    shared(orders)
    start = dt.datetime.now(dt.UTC).date() - dt.timedelta(days=DAYS)
    written = ("--out", "/data/orders", "--orders", "1500", "--days", str(DAYS), "--start", start.isoformat())
    lock = ("--rm", "--read-only", "--cap-drop=ALL", "--tmpfs=/tmp", f"--volume={orders}:/data/orders")
    engine.run("run", *lock, image("jobs"), "synthesize", *written)
    ports = {name: str(free_port()) for name in ("PREPTIME_PORT", "PREPTIME_UI_PORT", "AIRFLOW_PORT")}
    given = {
        "COMPOSE_PROJECT_NAME": PROJECT,
        "COMPOSE_DISABLE_ENV_FILE": "1",
        "ENV_FILE": str(folder / ".env"),
        "IMAGE_TAG": TAG,
        "POSTGRES_IMAGE": base_images.postgres(engine),
        "ORDERS_FOLDER": str(orders),
        **ports,
    }
    with pytest.MonkeyPatch.context() as here:
        for name, value in (given | ({"DOCKER_HOST": engine.host} if engine.host else {})).items():
            here.setenv(name, value)
        here.setattr(compose, "SECRETS_FILE", folder / ".env.secrets")
        try:
            said = _up()
            secrets = dict(line.split("=", 1) for line in compose.SECRETS_FILE.read_text(encoding="utf-8").splitlines())
            airflow = Airflow(int(ports["AIRFLOW_PORT"]), "airflow", secrets["_AIRFLOW_WWW_USER_PASSWORD"])
            api, ui = int(ports["PREPTIME_PORT"]), int(ports["PREPTIME_UI_PORT"])
            yield Running(engine, api, ui, airflow, secrets["PREPTIME_API_KEY"], orders / "orders.csv", said)
        finally:
            compose.main(["down", "--volumes"])


def _up() -> str:
    """`make up`; what it said."""
    lines: list[str] = []
    with pytest.MonkeyPatch.context() as here:
        here.setattr("builtins.print", lambda *words, **_: lines.append(" ".join(map(str, words))))
        assert compose.main(["up", "all"]) == 0, lines
    return "\n".join(lines)


@pytest.mark.parametrize("profile", compose.PROFILES)
def test_compose_reads_the_file(profile: str) -> None:
    """By the real program, which refuses what it does not know."""
    names = (*compose.SECRET_GENERATORS, "PREPTIME_API_KEY", "PREPTIME_API_KEYS", "POSTGRES_IMAGE")
    given = dict.fromkeys(names, "x") | {"PATH": "/usr/bin:/bin", "COMPOSE_DISABLE_ENV_FILE": "1", "ENV_FILE": "none"}
    command = [tool("docker-compose"), "--profile", profile, "config", "--format", "json"]
    read = subprocess.run(command, cwd=ROOT, env=given, capture_output=True, text=True, check=False)
    assert read.returncode == 0, read.stderr
    services = json.loads(read.stdout)["services"]
    of_airflow = {
        "postgres",
        *(f"airflow-{part}" for part in ("migration", "api-server", "scheduler", "dag-processor")),
    }
    expected = {"api": {"api"}, "ui": {"api", "ui"}, "airflow": of_airflow, "all": {"api", "ui", *of_airflow}}
    assert services.keys() == expected[profile]
    for service in services.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert all(port["host_ip"] == "127.0.0.1" for port in service.get("ports", []))


def test_without_its_secrets_the_file_says_what_makes_them() -> None:
    given = {"PATH": "/usr/bin:/bin", "COMPOSE_DISABLE_ENV_FILE": "1"}
    command = [tool("docker-compose"), "--profile", "all", "config", "-q"]
    read = subprocess.run(command, cwd=ROOT, env=given, capture_output=True, text=True, check=False)
    assert read.returncode
    assert "make up makes" in read.stderr or "images --pin" in read.stderr


def test_secrets_are_made_once_and_those_of_a_person_are_left_alone() -> None:
    first = compose.add_missing_secrets({"POSTGRES_PASSWORD": "mine"}, {})
    assert "POSTGRES_PASSWORD" not in first
    assert first["PREPTIME_API_KEYS"].startswith("page:")
    assert compose.add_missing_secrets({"POSTGRES_PASSWORD": "mine"}, first) == first
    assert (
        compose.add_missing_secrets({}, {})["POSTGRES_PASSWORD"]
        != compose.add_missing_secrets({}, {})["POSTGRES_PASSWORD"]
    )


def test_a_key_that_is_added_later_holds_and_one_that_is_taken_away_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compose, "SECRETS_FILE", tmp_path / "secrets")
    told = {"POSTGRES_IMAGE": "postgres:local"}
    page = compose.compose_environment(told)["PREPTIME_API_KEYS"]
    assert page.startswith("page:")
    added = compose.compose_environment(told | {"PREPTIME_API_KEYS": "demo:00"})
    assert added["PREPTIME_API_KEYS"] == f"demo:00,{page}"
    assert compose.compose_environment(told)["PREPTIME_API_KEYS"] == page


def test_up_says_where_everything_is(running: Running) -> None:
    for port in (running.api, running.ui, running.airflow.port):
        assert f"http://localhost:{port}" in running.said
    assert running.key in running.said
    assert stat.S_IMODE(compose.SECRETS_FILE.stat().st_mode) == 0o600
    assert len(running.names("--filter=health=healthy")) == 6


def test_airflow_trains_and_the_page_asks_the_api(running: Running) -> None:
    """From no champion to a prediction in the browser: one training run through Airflow, nothing restarted."""
    requires(CHROMIUM, "there is no chromium here (Debian: chromium, fonts-dejavu-core)")
    headers = {"aikey": running.key, "content-type": "application/json"}
    assert ask(running.api, "/v1/predictions", ORDER, headers)[0] == 503
    running.airflow.unpause("daily_training_run")
    state = running.airflow.first_run("daily_training_run", TRAINED_WITHIN_SECONDS)
    assert state == "success", running.airflow.log("daily_training_run", "train")
    assert ready_within(running.api, LOOKED_WITHIN_SECONDS)
    with chromium() as browser, looking(browser, f"http://127.0.0.1:{running.ui}") as page:
        page.get_by_label("Your key", exact=True).fill(running.key)
        page.get_by_role("button", name="Log in").click()
        settle(page)
        page.set_input_files("input[type=file]", running.orders)
        settle(page)
        page.get_by_text("Call Flask API").click()
        settle(page)
        page.get_by_role("button", name=re.compile(r"Predict [\d,]+ orders")).click()
        settle(page)
        expect(page.get_by_test_id("stDownloadButton").first).to_be_visible()
    _, metrics = ask(running.api, "/metrics")
    assert re.search(
        r'preptime_requests_total\{endpoint="/v1/predictions",status="200",key="dashboard"\} [1-9]', metrics
    )


def ready_within(port: int, seconds: float) -> bool:
    """Whether the API has a champion by then."""
    end = time.monotonic() + seconds
    while (status := ask(port, "/readyz")[0]) != 200 and time.monotonic() < end:
        time.sleep(0.5)
    return status == 200


def test_down_removes_what_is_ours_and_nothing_else(running: Running, engine: Engine, image: Build) -> None:
    engine.run("volume", "create", "somebody-elses")
    with engine.started(image("serve"), options=("--env=PREPTIME_API_KEYS=a:" + "0" * 64,)) as theirs:
        assert compose.main(["down", "--volumes"]) == 0
        assert running.names() == []
        label = f"--filter=label=com.docker.compose.project={PROJECT}"
        assert engine.run("volume", "ls", "--quiet", label).stdout == ""
        assert engine.run("network", "ls", "--quiet", label).stdout == ""
        assert theirs.state()["Status"] == "running"
        assert "somebody-elses" in engine.run("volume", "ls", "--quiet").stdout.split()
    engine.run("volume", "rm", "somebody-elses")
    assert engine.run("image", "inspect", image("serve"), check=False).returncode == 0
