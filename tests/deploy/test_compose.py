"""The whole system with Docker Compose: start, health, training in Airflow, prediction in the dashboard, removal."""

from __future__ import annotations

import datetime as dt
import json
import re
import shutil
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from playwright.sync_api import expect

from preptime.errors import UsageError
from preptime.keys import Keys
from preptime.settings import Settings
from preptime.ui.predictors import API_MODE
from scripts import compose, image_digests
from tests.api.processes import free_port
from tests.deploy import base_images
from tests.deploy.airflow_api import AirflowClient
from tests.deploy.conftest import TAG, share
from tests.deploy.engine import Engine, send_request
from tests.deploy.http_requests import ORDER
from tests.deploy.manifests import tool
from tests.requirements import ROOT, requires
from tests.ui.browser import CHROMIUM_PATH, launch_chromium, open_page, open_upload_tab, wait_until_idle

Build = Callable[[str], str]
PROJECT = "preptime-test"
DAYS = 16
"""From 14 days of data, the gate has seven days. Whatever the day of the test, it then promotes the first model."""
TRAINING_TIMEOUT_SECONDS = 600
"""Training takes 25 s on an idle machine."""
PROMOTION_TIMEOUT_SECONDS = 120
"""The API polls the champion log every 5 s, and loads a new champion."""


@dataclass(frozen=True)
class RunningSystem:
    """The system after `make up`."""

    engine: Engine
    api: int
    ui: int
    airflow: AirflowClient
    key: str
    orders: Path
    output: str

    def container_ids(self, *filters: str) -> list[str]:
        """Return the containers of this project."""
        label = f"--filter=label=com.docker.compose.project={PROJECT}"
        return self.engine.run("ps", "--all", "--quiet", label, *filters).stdout.split()


@pytest.fixture(scope="module")
def running(engine: Engine, image: Build, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSystem]:
    """API, dashboard, Airflow, and PostgreSQL, all healthy, with 16 days of orders until yesterday and no training."""
    tool("docker-compose")
    folder = tmp_path_factory.mktemp("compose")
    for target in ("serve", "ui", "airflow"):
        image(target)
    orders = folder / "orders"
    orders.mkdir()
    share(orders)
    start = dt.datetime.now(dt.UTC).date() - dt.timedelta(days=DAYS)
    synthesize = (
        "synthesize",
        "--out",
        "/data/orders",
        "--orders",
        "6000",
        "--days",
        str(DAYS),
        "--start",
        start.isoformat(),
    )
    options = ("--rm", "--read-only", "--cap-drop=ALL", "--tmpfs=/tmp", f"--volume={orders}:/data/orders")
    engine.run("run", *options, image("jobs"), *synthesize)
    ports = {name: str(free_port()) for name in ("PREPTIME_PORT", "PREPTIME_UI_PORT", "AIRFLOW_PORT")}
    environment = {
        "COMPOSE_PROJECT_NAME": PROJECT,
        "COMPOSE_DISABLE_ENV_FILE": "1",
        "ENV_FILE": str(folder / ".env"),
        "IMAGE_TAG": TAG,
        "POSTGRES_IMAGE": base_images.postgres_image(engine),
        "ORDERS_FOLDER": str(orders),
        **ports,
    }
    with pytest.MonkeyPatch.context() as monkeypatch:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(compose, "SECRETS_FILE", folder / ".env.secrets")
        try:
            output = _up()
            secrets = dict(line.split("=", 1) for line in compose.SECRETS_FILE.read_text(encoding="utf-8").splitlines())
            airflow = AirflowClient(int(ports["AIRFLOW_PORT"]), "airflow", secrets["_AIRFLOW_WWW_USER_PASSWORD"])
            api, ui = int(ports["PREPTIME_PORT"]), int(ports["PREPTIME_UI_PORT"])
            yield RunningSystem(engine, api, ui, airflow, secrets["PREPTIME_API_KEY"], orders / "orders.csv", output)
        finally:
            compose.main(["down", "--volumes"])


def _up() -> str:
    """Run `make up`, and return its output."""
    lines: list[str] = []
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("builtins.print", lambda *values, **_: lines.append(" ".join(map(str, values))))
        assert compose.main(["up", "all"]) == 0, lines
    return "\n".join(lines)


def services_of(profile: str) -> dict[str, dict[str, Any]]:
    """Return the services of a profile as the real program reads them. It refuses unknown keys."""
    names = (*compose.SECRET_GENERATORS, "PREPTIME_API_KEY", "PREPTIME_API_KEYS", *compose.IMAGE_PROFILES)
    environment = dict.fromkeys(names, "x") | {
        "PATH": "/usr/bin:/bin",
        "COMPOSE_DISABLE_ENV_FILE": "1",
        "ENV_FILE": "none",
    }
    command = [tool("docker-compose"), "--profile", profile, "config", "--format", "json"]
    completed = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert completed.returncode == 0, completed.stderr
    services: dict[str, dict[str, Any]] = json.loads(completed.stdout)["services"]
    return services


@pytest.mark.parametrize("profile", [*compose.PROFILES, compose.MONITORING_PROFILE])
def test_compose_file_has_restricted_services(profile: str) -> None:
    services = services_of(profile)
    airflow_services = {
        "postgres",
        *(f"airflow-{part}" for part in ("migration", "api-server", "scheduler", "dag-processor")),
    }
    expected = {
        "api": {"api"},
        "ui": {"api", "ui"},
        "airflow": airflow_services,
        "all": {"api", "ui", *airflow_services},
        "monitoring": {"api", "monitor-metrics", "prometheus", "grafana"},
    }
    assert services.keys() == expected[profile]
    for service in services.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert all(port["host_ip"] == "127.0.0.1" for port in service.get("ports", []))
        for volume in service.get("volumes", []):
            if volume["type"] == "bind":
                assert volume["read_only"]
                assert Path(volume["source"]).exists()


def test_monitoring_configuration_matches_services() -> None:
    """Prometheus reads the ports on which services listen, and Grafana the folders that are mounted."""
    services = services_of(compose.MONITORING_PROFILE)
    configuration = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yaml").read_text(encoding="utf-8"))
    targets = {scrape["job_name"]: scrape["static_configs"][0]["targets"] for scrape in configuration["scrape_configs"]}
    api_port = services["api"]["environment"]["PREPTIME_HEALTH_PORT"]
    assert targets == {
        "api": [f"api:{api_port}"],
        "monitor": [f"monitor-metrics:{services['monitor-metrics']['entrypoint'][-1]}"],
    }
    environment = services["grafana"]["environment"]
    (folder,) = (volume["target"] for volume in services["grafana"]["volumes"])
    provisioning = ROOT / "deploy" / "grafana" / "provisioning"
    source = yaml.safe_load((provisioning / "datasources" / "prometheus.yaml").read_text(encoding="utf-8"))
    assert source["datasources"][0]["url"] == f"http://prometheus:{services['prometheus']['ports'][0]['target']}"
    dashboards = yaml.safe_load((provisioning / "dashboards" / "preptime.yaml").read_text(encoding="utf-8"))
    assert dashboards["providers"][0]["options"]["path"] == folder
    assert environment["GF_PATHS_PROVISIONING"] == f"{folder}/provisioning"
    home = environment["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (provisioning.parent / home.removeprefix(f"{folder}/")).is_file()
    assert "env_file" not in services["grafana"]  # It doesn't get the keys of .env.


def test_monitoring_is_an_option_of_up(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[tuple[str, bool]] = []
    monkeypatch.setattr(compose, "up", lambda profile, *, monitoring: started.append((profile, monitoring)))
    assert (
        compose.main(["up"]) == compose.main(["up", "--monitoring"]) == compose.main(["up", "ui", "--monitoring"]) == 0
    )
    assert started == [("all", False), ("all", True), ("ui", True)]
    lines = compose.describe_addresses(["api", "monitoring"], {"GRAFANA_PORT": "3100"}, {})
    assert lines == [
        "API: http://localhost:8000/docs",
        "API key: PREPTIME_API_KEY in .env.secrets",
        "Prometheus: http://localhost:9090",
        "Grafana: http://localhost:3100",
        "Grafana user: admin, password: GRAFANA_ADMIN_PASSWORD in .env.secrets",
    ]


def test_only_images_of_the_profiles_need_a_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compose, "SECRETS_FILE", tmp_path / "secrets")
    monkeypatch.setattr(image_digests, "DIGESTS_FILE", ROOT / "deploy" / "docker" / "none.env")
    assert compose.compose_environment({}, ["api"])["POSTGRES_IMAGE"] == compose.UNUSED
    with pytest.raises(UsageError, match=r"none.env has no digest for POSTGRES_IMAGE .* set POSTGRES_IMAGE"):
        compose.compose_environment({}, ["all"])
    images = {"PROMETHEUS_IMAGE": "prometheus:mine", "GRAFANA_IMAGE": "grafana:mine"}
    environment = compose.compose_environment(images, ["api", "monitoring"])
    assert {name: environment[name] for name in images} == images


def configured(settings: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    """Return the services as `make up` starts them with these settings."""
    monkeypatch.setattr(compose, "SECRETS_FILE", tmp_path / "secrets")
    base = {"PATH": "/usr/bin:/bin", "POSTGRES_IMAGE": "x", "COMPOSE_DISABLE_ENV_FILE": "1", "ENV_FILE": "none"}
    command = [tool("docker-compose"), "--profile=all", "config", "--format=json"]
    environment = compose.compose_environment(base | settings, ["all"])
    completed = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    services: dict[str, dict[str, Any]] = json.loads(completed.stdout)["services"]
    return services


def test_empty_restaurants_differ_from_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a restaurants file, restaurants are derived from the orders."""
    for settings, expected in (({}, "/data/orders/restaurants.csv"), ({"COMPOSE_RESTAURANTS": ""}, "")):
        services = configured(dict[str, str](settings), tmp_path, monkeypatch)
        for name in ("api", "ui", "airflow-scheduler"):
            assert services[name]["environment"]["PREPTIME_RESTAURANTS"] == expected


def test_orders_folder_is_a_folder_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compose takes a name without a slash for a volume, of which `results` is another one."""
    monkeypatch.setattr(compose, "ROOT", tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("results", "data/orders"):
        (tmp_path / name).mkdir(parents=True)

    def source(value: str) -> tuple[str, str]:
        services = configured({"ORDERS_FOLDER": value}, tmp_path, monkeypatch)
        volumes = {volume["target"]: volume for volume in services["airflow-scheduler"]["volumes"]}
        return volumes["/data/orders"]["type"], volumes["/data/orders"]["source"]

    for value in ("results", "./results", "~/results", str(tmp_path / "results")):
        assert source(value) == ("bind", str(tmp_path / "results"))
    assert source("data/orders") == ("bind", str(tmp_path / "data" / "orders"))
    assert source("") == ("volume", "orders")
    with pytest.raises(UsageError, match=r"ORDERS_FOLDER=orders: .*orders isn't a folder"):
        compose.compose_environment({"ORDERS_FOLDER": "orders"}, ["api"])


def test_down_ignores_the_folder_of_the_orders(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compose would refuse a name from `.env` that isn't a volume."""
    environments: list[dict[str, str]] = []

    def run(*_: object, env: dict[str, str], **__: object) -> subprocess.CompletedProcess[str]:
        environments.append(env)
        return subprocess.CompletedProcess([], 0)

    monkeypatch.setattr(compose, "find_docker", lambda: "docker")
    monkeypatch.setattr(compose, "compose_command", lambda client: [client, "compose"])
    monkeypatch.setattr(subprocess, "run", run)
    assert compose.main(["down"]) == 0
    assert [environment["ORDERS_FOLDER"] for environment in environments] == [""]


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("MLFLOW_TRACKING_URI=http://mlflow/$a", "Write: MLFLOW_TRACKING_URI='http://mlflow/$a'"),
        ('PREPTIME_STORE="it\'s $a"', "Write: PREPTIME_STORE='it\\'s $a'"),
        ("AIKEY=s3cret$word", "Write: AIKEY='…', with the value of this line"),
        ("PREPTIME_PREDICTIONS_URL=postgresql://u:s3cret$word@db/food", "Write: PREPTIME_PREDICTIONS_URL='…', with"),
    ],
)
def test_expanded_value_is_refused_before_the_start(
    line: str, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(compose, "find_docker", pytest.fail)
    monkeypatch.setattr(compose, "SECRETS_FILE", tmp_path / "secrets")
    monkeypatch.setenv("ENV_FILE", str(tmp_path / ".env"))
    (tmp_path / ".env").write_text(f"# Costs $5.\n{line}\n", encoding="utf-8")
    assert compose.main(["up"]) == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert error.startswith(".env, line 2: Compose would expand the $")
    assert hint in error
    assert "s3cret" not in error
    assert not (tmp_path / "secrets").exists()


def test_value_in_single_quotes_is_the_same_in_containers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The form that `make up` asks for."""
    env_file = tmp_path / ".env"
    env_file.write_text("MLFLOW_TRACKING_URI='it\\'s http://u:pa$word@mlflow'\n", encoding="utf-8")
    compose.check_expansion(env_file)
    services = configured({"ENV_FILE": str(env_file)}, tmp_path, monkeypatch)
    value = services["airflow-scheduler"]["environment"]["MLFLOW_TRACKING_URI"].replace("$$", "$")
    assert value == Settings.load({}, env_file).mlflow_tracking_uri == "it's http://u:pa$word@mlflow"


def test_compose_has_an_alternative_for_its_machines_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.setattr(compose, "ROOT", Path("none"))
    with pytest.raises(UsageError, match=r"On Linux with x86-64, you can run instead: python dev.py setup deploy"):
        compose.compose_command("false")


def test_missing_secrets_have_a_hint() -> None:
    environment = {"PATH": "/usr/bin:/bin", "COMPOSE_DISABLE_ENV_FILE": "1"}
    command = [tool("docker-compose"), "--profile", "all", "config", "-q"]
    completed = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert completed.returncode
    assert "run make up" in completed.stderr or "images --pin" in completed.stderr


def test_secrets_are_generated_once_unless_set() -> None:
    first = compose.add_missing_secrets({"POSTGRES_PASSWORD": "mine"}, {})
    assert "POSTGRES_PASSWORD" not in first
    assert first["PREPTIME_API_KEYS"].startswith("dashboard:")
    assert compose.add_missing_secrets({"POSTGRES_PASSWORD": "mine"}, first) == first
    assert (
        compose.add_missing_secrets({}, {})["POSTGRES_PASSWORD"]
        != compose.add_missing_secrets({}, {})["POSTGRES_PASSWORD"]
    )


def test_api_keys_follow_env_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compose, "SECRETS_FILE", tmp_path / "secrets")
    settings = {"POSTGRES_IMAGE": "postgres:local"}
    dashboard_key = compose.compose_environment(settings, ["all"])["PREPTIME_API_KEYS"]
    assert dashboard_key.startswith("dashboard:")
    with_key = compose.compose_environment(settings | {"PREPTIME_API_KEYS": "demo:00"}, ["all"])
    assert with_key["PREPTIME_API_KEYS"] == f"demo:00,{dashboard_key}"
    assert compose.compose_environment(settings, ["all"])["PREPTIME_API_KEYS"] == dashboard_key


def test_dashboard_key_of_env_file_is_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also after an earlier `make up` has generated another one."""
    monkeypatch.setattr(compose, "SECRETS_FILE", tmp_path / "secrets")
    settings = {"POSTGRES_IMAGE": "postgres:local", "PREPTIME_API_KEY": "my key"}
    assert Keys.from_setting(compose.compose_environment(settings, ["all"])["PREPTIME_API_KEYS"]).name_of("my key")
    generated = compose.compose_environment({"POSTGRES_IMAGE": "postgres:local"}, ["all"])["PREPTIME_API_KEY"]
    for key in ("my key", generated):
        environment = compose.compose_environment(settings | {"PREPTIME_API_KEY": key}, ["all"])
        assert environment["PREPTIME_API_KEY"] == key
        assert Keys.from_setting(environment["PREPTIME_API_KEYS"]).name_of(key) == "dashboard"


def test_up_prints_urls_and_the_place_of_the_key(running: RunningSystem) -> None:
    for port in (running.api, running.ui, running.airflow.port):
        assert f"http://localhost:{port}" in running.output
    assert "API key: PREPTIME_API_KEY in .env.secrets" in running.output
    assert running.key not in running.output
    assert stat.S_IMODE(compose.SECRETS_FILE.stat().st_mode) == 0o600
    assert len(running.container_ids("--filter=health=healthy")) == 6


def test_airflow_trains_and_dashboard_uses_api(running: RunningSystem) -> None:
    """From no champion to a prediction in the browser: one training run in Airflow, without a restart."""
    requires(CHROMIUM_PATH, "Chromium is not installed (Debian packages: chromium, fonts-dejavu-core)")
    headers = {"aikey": running.key, "content-type": "application/json"}
    assert send_request(running.api, "/v1/predictions", ORDER, headers)[0] == 503
    running.airflow.unpause("daily_training_run")
    state = running.airflow.wait_for_first_run("daily_training_run", TRAINING_TIMEOUT_SECONDS)
    assert state == "success", running.airflow.task_log("daily_training_run", "train")
    assert is_ready_within(running.api, PROMOTION_TIMEOUT_SECONDS), running.airflow.task_log(
        "daily_training_run", "train"
    )
    with launch_chromium() as browser, open_page(browser, f"http://127.0.0.1:{running.ui}") as page:
        page.get_by_label("Key", exact=True).fill(running.key)
        page.get_by_role("button", name="Sign in").click()
        wait_until_idle(page)
        open_upload_tab(page)
        page.set_input_files("input[type=file]", running.orders)
        wait_until_idle(page)
        page.get_by_text("Advanced").click()
        page.get_by_text(API_MODE).click()
        wait_until_idle(page)
        page.get_by_role("button", name=re.compile(r"Predict [\d,]+ orders")).click()
        wait_until_idle(page)
        expect(page.get_by_test_id("stDownloadButton").first).to_be_visible()
    _, metrics = send_request(running.api, "/metrics")
    assert re.search(
        r'preptime_requests_total\{endpoint="/v1/predictions",key="dashboard",status="200"\} [1-9]', metrics
    )


def is_ready_within(port: int, seconds: float) -> bool:
    """Return whether the API has a champion within `seconds`."""
    deadline = time.monotonic() + seconds
    while (status := send_request(port, "/readyz")[0]) != 200 and time.monotonic() < deadline:
        time.sleep(0.5)
    return status == 200


def test_down_removes_only_this_project(running: RunningSystem, engine: Engine, image: Build) -> None:
    engine.run("volume", "create", "volume-of-others")
    with engine.container(image("serve"), options=("--env=PREPTIME_API_KEYS=a:" + "0" * 64,)) as other:
        assert compose.main(["down", "--volumes"]) == 0
        assert running.container_ids() == []
        label = f"--filter=label=com.docker.compose.project={PROJECT}"
        assert engine.run("volume", "ls", "--quiet", label).stdout == ""
        assert engine.run("network", "ls", "--quiet", label).stdout == ""
        assert other.state()["Status"] == "running"
        assert "volume-of-others" in engine.run("volume", "ls", "--quiet").stdout.split()
    engine.run("volume", "rm", "volume-of-others")
    assert engine.run("image", "inspect", image("serve"), check=False).returncode == 0
