"""The numbered scripts of the take-home exercise, run in a copy of the project that shares this one's environment."""

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
from preptime.env_file import read_env_file
from preptime.keys import EXAMPLE_KEY
from preptime.settings import iter_settings
from scripts import clean_docker, flask_demo
from tests.bundle.factories import DAY, put_bundle
from tests.deploy.engine import Engine
from tests.requirements import ROOT, requires

SCRIPT_TASKS = {
    "00_prepare_demo": "demo",
    "02_prepare_airflow_demo": "airflow",
    "03_prepare_flask_demo": "serve",
    "10_clean_docker": "clean-docker",
}
READY_SECONDS = 60.0


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the files that the scripts need. Its environments are links to this one, stamped as current."""
    requires(shutil.which("sh"), "sh is not installed; on Windows, use the tasks of dev.py")
    home = tmp_path / "project"
    for name in ("dev.py", "pyproject.toml"):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, home / name)
    for name in ("locks", "scripts"):
        shutil.copytree(ROOT / name, home / name)
    monkeypatch.setattr(dev, "ROOT", home)
    monkeypatch.setattr(dev, "LOCKS", home / "locks")
    for name, environment_name in ((".venv", "run"), (".venv-airflow", "airflow")):
        (home / name).mkdir()
        for part in Path(sys.prefix).iterdir():
            if part.name != "preptime-setup.txt":
                (home / name / part.name).symlink_to(part)
        (home / name / "preptime-setup.txt").write_text(dev._setup_stamp(environment_name), encoding="utf-8")
    return home


def environment(**more: str) -> dict[str, str]:
    """Return the environment of the tests, without settings of preptime."""
    setting_names = {name for setting in iter_settings() for name in setting.names}
    return {name: value for name, value in os.environ.items() if name not in setting_names} | {
        "PYTHON": sys.executable,
        **more,
    }


def run_script(home: Path, script: str, *arguments: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a script from outside the project."""
    return subprocess.run(
        [home / "scripts" / script, *arguments],
        cwd=home.parent,
        env=environment(**more),
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(("script", "task"), SCRIPT_TASKS.items())
def test_numbered_script_runs_its_task(script: str, task: str) -> None:
    path = ROOT / "scripts" / script
    lines = path.read_text(encoding="utf-8").splitlines()
    assert os.access(path, os.X_OK)
    assert lines[0] == "#!/bin/sh"
    assert f"python dev.py {task}" in lines[1]
    assert lines[-1] == f'exec "${{PYTHON:-python3}}" dev.py {task} "$@"'
    assert len(lines) < 8
    assert task in dev.TASKS


FAST_PREPTIME = f"""#!{sys.executable}
import importlib, sys
sys.path.insert(0, {str(ROOT)!r})
from preptime.cli import main
from preptime.training.fitting import FitPlan
from tests.training.factories import quick_plan
demo = importlib.import_module("preptime.cli.demo")
assert demo.DEMO_ORDER_COUNT > 2500 and demo.DEMO_DAY_COUNT > 12
demo.DEMO_ORDER_COUNT, demo.DEMO_DAY_COUNT = 2500, 12
FitPlan.default = lambda threads: quick_plan(threads=threads)
sys.exit(main())
"""
"""The command line with two small models and twelve days of orders. `make demo` has six models and a month."""


def test_00_creates_data_models_and_test_orders(project: Path) -> None:
    tools = project / ".venv" / "bin"
    tools.unlink()
    tools.mkdir()
    (tools / "python").symlink_to(sys.executable)
    (tools / "preptime").write_text(FAST_PREPTIME, encoding="utf-8")
    (tools / "preptime").chmod(0o755)
    completed = run_script(project, "00_prepare_demo")
    assert completed.returncode == 0, completed.stderr
    assert "Next steps:" in completed.stdout
    assert len(Store.open(str(project / "demo" / "models")).bundle_ids()) == 1
    assert (project / "demo" / "predictions.csv").is_file()
    coded = pl.read_csv(project / "demo" / "data" / "test_orders_integer_codes.csv")
    assert all(coded[name].dtype == pl.Int64 for name in ("country", "city", "type_of_food"))


def test_malformed_env_file_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("A=1\nthis is not a setting\n", encoding="utf-8")
    assert flask_demo.main([]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(".env, line 2: expected NAME=value.")


def test_02_starts_airflow_with_env_file(project: Path) -> None:
    """tests/dags test airflow_local.py with a real Airflow. This test checks that the script runs it."""
    (project / "scripts" / "airflow_local.py").write_text(
        "import pathlib, sys\nprint(sys.argv[1:], pathlib.Path('.env').read_text())\n", encoding="utf-8"
    )
    (project / ".env").write_text("AIRFLOW_PORT=8099\n", encoding="utf-8")
    completed = run_script(project, "02_prepare_airflow_demo")
    assert completed.returncode == 0, completed.stderr
    assert completed.stdout.strip() == "[] AIRFLOW_PORT=8099"
    docstring = ast.get_docstring(ast.parse((ROOT / "scripts" / "airflow_local.py").read_text(encoding="utf-8"))) or ""
    assert all(name in docstring for name in ("USER_USERNAME", "USER_PASSWORD", "AIRFLOW_PORT", ".env"))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running_api(home: Path, port: int) -> Iterator[subprocess.Popen[str]]:
    """Run 03_prepare_flask_demo until the API has a champion. SIGTERM stops it at the end."""
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
        while send_request(port, "GET", "/readyz")[0] != 200:
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline, "the API isn't ready in time"
            time.sleep(0.1)
        yield process
        process.send_signal(signal.SIGTERM)
        assert process.wait(READY_SECONDS) == 0
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def send_request(port: int, method: str, path: str, body: object = None, key: str = "") -> tuple[int, str]:
    """Return the status and body of the response, or (0, "") if nothing listens."""
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(
            method, path, json.dumps(body), {"aikey": key, "Content-Type": "application/json"} if body else {}
        )
        response = connection.getresponse()
        return response.status, response.read().decode()
    except OSError:
        return 0, ""
    finally:
        connection.close()


def create_demo_store(home: Path) -> None:
    """Create the store as 00_prepare_demo does, with a small bundle."""
    store = Store.open(str(home / "demo" / "models"))
    draft = LogEntryDraft(bundle=put_bundle(store), date=DAY, action="promote", reason="test", by="test", at="now")
    ChampionLog(store).append(draft, None)


TAKE_HOME_REQUEST = {
    "json_data": json.dumps(
        {
            "order_acknowledged_at": {"0": 1435775308000},
            "order_value_gbp": {"0": 21.4},
            "restaurant_id": {"0": 10},
            "number_of_items": {"0": 3},
        }
    )
}


def test_03_serves_with_key_and_port_of_env_file(project: Path) -> None:
    create_demo_store(project)
    port = free_port()
    (project / ".env").write_text(f"AIKEY={EXAMPLE_KEY}\nFLASK_PORT={port}\n", encoding="utf-8")
    with running_api(project, port):
        assert send_request(port, "POST", "/predict", TAKE_HOME_REQUEST, "wrong")[0] == 401
        status, response = send_request(port, "POST", "/predict", TAKE_HOME_REQUEST, EXAMPLE_KEY)
        assert status == 201
        assert set(json.loads(response)) == {"rf", "quantile"}
    assert read_env_file(project / ".env") == {"AIKEY": EXAMPLE_KEY, "FLASK_PORT": str(port)}


def test_03_generates_missing_key(project: Path) -> None:
    create_demo_store(project)
    port = free_port()
    (project / ".env").write_text(f"FLASK_PORT={port}", encoding="utf-8")
    with running_api(project, port):
        key = read_env_file(project / ".env")["AIKEY"]
        assert len(key) > 20
        assert send_request(port, "POST", "/predict", TAKE_HOME_REQUEST, key)[0] == 201


def test_03_without_store_names_00(project: Path) -> None:
    completed = run_script(project, "03_prepare_flask_demo")
    assert completed.returncode == 1
    assert "00_prepare_demo" in completed.stderr
    assert not (project / ".env").exists()


def test_10_removes_only_objects_of_this_project(project: Path, engine: Engine) -> None:
    archive = project / "empty.tar"
    subprocess.run(["tar", "--create", "--file", archive, "--files-from", "/dev/null"], check=True)
    source = clean_docker.SOURCE_FILTER.removeprefix("label=")
    compose = clean_docker.PROJECT_FILTER.removeprefix("label=")
    engine.run("import", "--change", f"LABEL {source}", archive, "clean-ours:test")
    engine.run("import", "--change", "LABEL of=others", archive, "clean-theirs:test")
    for name, image in (("ours", "clean-ours:test"), ("theirs", "clean-theirs:test")):
        label = ("--label", compose) if name == "ours" else ("--label", "com.docker.compose.project=theirs")
        engine.run("volume", "create", *label, f"clean-{name}")
        engine.run("network", "create", *label, f"clean-{name}")
        engine.run("create", *label, "--name", f"clean-{name}", image, "nothing")
    # Other tests build images with the same label. The script must not remove those.
    script = (project / "scripts" / "clean_docker.py").read_text(encoding="utf-8")
    narrowed = script.replace('"ls", "--all", "--quiet", f"--filter={SOURCE_FILTER}"', '"ls", "--quiet", "clean-ours"')
    assert narrowed != script
    (project / "scripts" / "clean_docker.py").write_text(narrowed, encoding="utf-8")
    path = os.pathsep.join([str(Path(engine.client).parent), os.environ["PATH"]])
    try:
        completed = run_script(project, "10_clean_docker", PATH=path)
        assert completed.returncode == 0, completed.stderr
        assert "Kept volumes: clean-ours. To remove them, use --volumes." in completed.stdout
        assert remaining(engine) == {"container": ["theirs"], "network": ["theirs"], "volume": ["ours", "theirs"]}
        assert engine.run("image", "ls", "--quiet", "clean-theirs").stdout
        assert not engine.run("image", "ls", "--quiet", "clean-ours").stdout
        assert run_script(project, "10_clean_docker", "--volumes", PATH=path).returncode == 0
        assert remaining(engine) == {"container": ["theirs"], "network": ["theirs"], "volume": ["theirs"]}
        assert run_script(project, "10_clean_docker", PATH=path).returncode == 0  # Nothing remains.
    finally:
        engine.run("rm", "--force", "clean-theirs", "clean-ours", check=False)
        for kind in ("network", "volume"):
            engine.run(kind, "rm", "clean-theirs", "clean-ours", check=False)
        engine.run("image", "rm", "--force", "clean-theirs:test", "clean-ours:test", check=False)


def remaining(engine: Engine) -> dict[str, list[str]]:
    """Return the remaining objects of the test."""
    result = {}
    for kind in ("container", "network", "volume"):
        all_option = ("--all",) if kind == "container" else ()
        format_option = "{{.Names}}" if kind == "container" else "{{.Name}}"
        names = engine.run(kind, "ls", *all_option, "--filter", "name=clean-", "--format", format_option).stdout.split()
        result[kind] = sorted(name.removeprefix("clean-") for name in names)
    return result


def test_clean_docker_uses_label_of_images() -> None:
    dockerfile = (ROOT / "deploy" / "docker" / "Dockerfile").read_text(encoding="utf-8")
    name, _, value = clean_docker.SOURCE_FILTER.removeprefix("label=").partition("=")
    assert f'{name}="{value}"' in dockerfile
