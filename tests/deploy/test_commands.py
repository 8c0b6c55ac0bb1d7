"""The demo's doors: each script is run, in a copy of the project whose environments are this one's."""

from __future__ import annotations

import ast
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import polars as pl
import pytest

import dev
from preptime.bundle.champion_log import ChampionLog, LogEntryDraft
from preptime.bundle.store import Store
from preptime.keys import EXAMPLE_KEY
from preptime.settings import iter_settings, read_env_file
from scripts import clean_docker
from tests.bundle.factories import DAY, put_bundle
from tests.deploy.engine import Engine
from tests.requirements import ROOT, requires

DOORS = {
    "00_prepare_demo": "demo",
    "02_prepare_airflow_demo": "airflow",
    "03_prepare_flask_demo": "serve",
    "10_clean_docker": "clean-docker",
}
READY_SECONDS = 60.0


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of what the doors need. Its environment is made of links to this one, and stamped as current."""
    requires(shutil.which("sh"), "there is no sh; on Windows the tasks of dev.py are the doors")
    home = tmp_path / "project"
    for name in ("dev.py", "pyproject.toml"):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, home / name)
    for name in ("locks", "scripts"):
        shutil.copytree(ROOT / name, home / name)
    monkeypatch.setattr(dev, "ROOT", home)
    monkeypatch.setattr(dev, "LOCKS", home / "locks")
    for name, which in ((".venv", "run"), (".venv-airflow", "airflow")):
        (home / name).mkdir()
        for part in Path(sys.prefix).iterdir():
            if part.name != "preptime-setup.txt":
                (home / name / part.name).symlink_to(part)
        (home / name / "preptime-setup.txt").write_text(dev._setup_stamp(which), encoding="utf-8")
    return home


def environment(**more: str) -> dict[str, str]:
    """That of the tests, without settings of its own."""
    own = {name for setting in iter_settings() for name in setting.names}
    return {name: value for name, value in os.environ.items() if name not in own} | {"PYTHON": sys.executable, **more}


def through(home: Path, door: str, *arguments: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
    """What a door says, called from elsewhere than the project."""
    return subprocess.run(
        [home / "scripts" / door, *arguments],
        cwd=home.parent,
        env=environment(**more),
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(("door", "task"), DOORS.items())
def test_a_door_is_a_few_lines_over_a_task(door: str, task: str) -> None:
    path = ROOT / "scripts" / door
    lines = path.read_text(encoding="utf-8").splitlines()
    assert os.access(path, os.X_OK)
    assert lines[0] == "#!/bin/sh"
    assert f"python dev.py {task}" in lines[1]
    assert lines[-1] == f'exec "${{PYTHON:-python3}}" dev.py {task} "$@"'
    assert len(lines) < 8
    assert task in dev.TASKS


QUICK = f"""#!{sys.executable}
import sys
sys.path.insert(0, {str(ROOT)!r})
from preptime.cli import demo, main
from preptime.training.fitting import FitPlan
from tests.training.factories import quick_plan
sys.modules["preptime.cli.demo"].DEMO_ORDERS, sys.modules["preptime.cli.demo"].DEMO_DAYS = 2500, 12
FitPlan.default = lambda threads: quick_plan(threads=threads)
sys.exit(main())
"""
"""The command line with two small models and twelve days of orders, where the demo has all six and a month."""


def test_the_first_door_makes_data_models_and_test_orders(project: Path) -> None:
    tools = project / ".venv" / "bin"
    tools.unlink()
    tools.mkdir()
    (tools / "python").symlink_to(sys.executable)
    (tools / "preptime").write_text(QUICK, encoding="utf-8")
    (tools / "preptime").chmod(0o755)
    ended = through(project, "00_prepare_demo")
    assert ended.returncode == 0, ended.stderr
    assert "Try next" in ended.stdout
    assert len(Store.open(str(project / "demo" / "models")).bundle_ids()) == 1
    assert (project / "demo" / "predictions.csv").is_file()
    coded = pl.read_csv(project / "demo" / "data" / "test_orders_integer_codes.csv")
    assert all(coded[name].dtype == pl.Int64 for name in ("country", "city", "type_of_food"))


def test_the_second_door_starts_airflow_as_the_file_says(project: Path) -> None:
    """What is started is tested with a real Airflow in tests/dags; here, that it is this and how it is told."""
    (project / "scripts" / "airflow_local.py").write_text(
        "import pathlib, sys\nprint(sys.argv[1:], pathlib.Path('.env').read_text())\n", encoding="utf-8"
    )
    (project / ".env").write_text("AIRFLOW_PORT=8099\n", encoding="utf-8")
    ended = through(project, "02_prepare_airflow_demo")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.strip() == "[] AIRFLOW_PORT=8099"
    told = ast.get_docstring(ast.parse((ROOT / "scripts" / "airflow_local.py").read_text(encoding="utf-8"))) or ""
    assert all(name in told for name in ("USER_USERNAME", "USER_PASSWORD", "AIRFLOW_PORT", ".env"))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def served(home: Path, port: int) -> Iterator[subprocess.Popen[str]]:
    """The third door, once its API has a champion; at the end SIGTERM, as a person's or a supervisor's."""
    process = subprocess.Popen(
        [home / "scripts" / "03_prepare_flask_demo"],
        cwd=home.parent,
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + READY_SECONDS
        while asked(port, "GET", "/readyz")[0] != 200:
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline, "it does not become ready"
            time.sleep(0.1)
        yield process
        process.send_signal(signal.SIGTERM)
        assert process.wait(READY_SECONDS) == 0
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def asked(port: int, method: str, path: str, body: object = None, key: str = "") -> tuple[int, str]:
    """Status and answer; (0, "") while nobody listens."""
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(
            method, path, json.dumps(body), {"aikey": key, "Content-Type": "application/json"} if body else {}
        )
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    except OSError:
        return 0, ""
    finally:
        connection.close()


def trained(home: Path) -> None:
    """As the first door would have left it."""
    store = Store.open(str(home / "demo" / "models"))
    draft = LogEntryDraft(bundle=put_bundle(store), date=DAY, action="promote", reason="test", by="test", at="now")
    ChampionLog(store).append(draft, None)


ONE = {
    "json_data": json.dumps(
        {
            "order_acknowledged_at": {"0": 1435775308000},
            "order_value_gbp": {"0": 21.4},
            "restaurant_id": {"0": 10},
            "number_of_items": {"0": 3},
        }
    )
}


def test_the_third_door_serves_with_the_key_and_port_of_the_file(project: Path) -> None:
    trained(project)
    port = free_port()
    (project / ".env").write_text(f"AIKEY={EXAMPLE_KEY}\nFLASK_PORT={port}\n", encoding="utf-8")
    with served(project, port):
        assert asked(port, "POST", "/predict", ONE, "wrong")[0] == 401
        status, answer = asked(port, "POST", "/predict", ONE, EXAMPLE_KEY)
        assert status == 201
        assert set(json.loads(answer)) == {"rf", "quantile"}
    assert read_env_file(project / ".env") == {"AIKEY": EXAMPLE_KEY, "FLASK_PORT": str(port)}


def test_the_third_door_makes_a_key_where_there_is_none(project: Path) -> None:
    trained(project)
    port = free_port()
    (project / ".env").write_text(f"FLASK_PORT={port}", encoding="utf-8")
    with served(project, port):
        key = read_env_file(project / ".env")["AIKEY"]
        assert len(key) > 20
        assert asked(port, "POST", "/predict", ONE, key)[0] == 201


def test_the_third_door_says_when_the_first_was_not_taken(project: Path) -> None:
    ended = through(project, "03_prepare_flask_demo")
    assert ended.returncode == 1
    assert "00_prepare_demo" in ended.stderr
    assert not (project / ".env").exists()


def test_the_last_door_removes_what_is_ours_and_nothing_else(project: Path, engine: Engine) -> None:
    archive = project / "empty.tar"
    subprocess.run(["tar", "--create", "--file", archive, "--files-from", "/dev/null"], check=True)
    source = clean_docker.SOURCE_FILTER.removeprefix("label=")
    compose = clean_docker.PROJECT_FILTER.removeprefix("label=")
    engine.run("import", "--change", f"LABEL {source}", archive, "door-ours:test")
    engine.run("import", "--change", "LABEL of=others", archive, "door-theirs:test")
    for name, image in (("ours", "door-ours:test"), ("theirs", "door-theirs:test")):
        label = ("--label", compose) if name == "ours" else ("--label", "com.docker.compose.project=theirs")
        engine.run("volume", "create", *label, f"door-{name}")
        engine.run("network", "create", *label, f"door-{name}")
        engine.run("create", *label, "--name", f"door-{name}", image, "nothing")
    # The images that other tests build carry our label too: they are out of the way for as long as this takes.
    script = (project / "scripts" / "clean_docker.py").read_text(encoding="utf-8")
    narrowed = script.replace('"ls", "--all", "--quiet", f"--filter={SOURCE}"', '"ls", "--quiet", "door-ours"')
    assert narrowed != script
    (project / "scripts" / "clean_docker.py").write_text(narrowed, encoding="utf-8")
    here = {"DOCKER_HOST": engine.host} if engine.host else {}
    path = os.pathsep.join([str(Path(engine.client).parent), os.environ["PATH"]])
    try:
        ended = through(project, "10_clean_docker", PATH=path, **here)
        assert ended.returncode == 0, ended.stderr
        assert "Kept, for --volumes to remove: 1 volumes (door-ours)." in ended.stdout
        assert left(engine) == {"container": ["theirs"], "network": ["theirs"], "volume": ["ours", "theirs"]}
        assert engine.run("image", "ls", "--quiet", "door-theirs").stdout
        assert not engine.run("image", "ls", "--quiet", "door-ours").stdout
        assert through(project, "10_clean_docker", "--volumes", PATH=path, **here).returncode == 0
        assert left(engine) == {"container": ["theirs"], "network": ["theirs"], "volume": ["theirs"]}
        assert through(project, "10_clean_docker", PATH=path, **here).returncode == 0  # nothing is left: fine too
    finally:
        engine.run("rm", "--force", "door-theirs", "door-ours", check=False)
        for kind in ("network", "volume"):
            engine.run(kind, "rm", "door-theirs", "door-ours", check=False)
        engine.run("image", "rm", "--force", "door-theirs:test", "door-ours:test", check=False)


def left(engine: Engine) -> dict[str, list[str]]:
    """Which of the test's things there still are."""
    found = {}
    for kind in ("container", "network", "volume"):
        everything = ("--all",) if kind == "container" else ()
        form = "{{.Names}}" if kind == "container" else "{{.Name}}"
        said = engine.run(kind, "ls", *everything, "--filter", "name=door-", "--format", form).stdout.split()
        found[kind] = sorted(name.removeprefix("door-") for name in said)
    return found


def test_the_labels_are_those_of_the_images_and_of_compose() -> None:
    dockerfile = (ROOT / "deploy" / "docker" / "Dockerfile").read_text(encoding="utf-8")
    name, _, value = clean_docker.SOURCE_FILTER.removeprefix("label=").partition("=")
    assert f'{name}="{value}"' in dockerfile
