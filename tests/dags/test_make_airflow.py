"""`make airflow` and SIGTERM: the real Makefile, dev.py, and script, in a project whose `airflow` is a substitute.

Only the processes matter here. For the services of the real Airflow, see test_local.py.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.dags.test_local import READY_TEXT, free_port, is_running
from tests.requirements import ROOT, requires

SUBSTITUTE = f"""#!{sys.executable}
import http.server, json, os, pathlib, subprocess, sys, time

class Health(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        ids = [number for path in home.glob("*.ids") for number in path.read_text().split()]
        status = {{"status": "healthy" if len(ids) == 6 else "starting"}}
        names = ("metadatabase", "scheduler", "dag_processor")
        self.wfile.write(json.dumps(dict.fromkeys(names, status)).encode())

home = pathlib.Path(os.environ["AIRFLOW_HOME"])
if sys.argv[1] != "db":
    child = subprocess.Popen(["sleep", "600"])
    (home / f"{{sys.argv[1]}}.ids").write_text(f"{{os.getpid()}} {{child.pid}}")
    if sys.argv[1] == "api-server":
        port = int(os.environ["AIRFLOW__API__PORT"])
        http.server.HTTPServer(("127.0.0.1", port), Health).serve_forever()
    time.sleep(600)
"""
"""Plays Airflow's services: each starts a process of its own, which doesn't end with it."""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with complete environments, as far as dev.py can see."""
    for name in ("Makefile", "dev.py", "scripts/airflow_local.py", "scripts/airflow_demo.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "locks").mkdir()
    for name in ("pyproject.toml", "locks/run.lock", "locks/dev.lock", "locks/airflow.lock"):
        (tmp_path / name).write_text("", encoding="utf-8")
    spec = importlib.util.spec_from_file_location("dev_of_project", tmp_path / "dev.py")
    assert spec is not None
    assert spec.loader is not None
    dev = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(dev)
    for folder, environment in ((".venv", "run"), (".venv-airflow", "airflow")):
        programs = {"python": f'#!/bin/sh\nexec "{sys.executable}" "$@"\n', "airflow": SUBSTITUTE}
        (tmp_path / folder / "bin").mkdir(parents=True)
        for name, content in programs.items():
            (tmp_path / folder / "bin" / name).write_text(content, encoding="utf-8")
            (tmp_path / folder / "bin" / name).chmod(0o755)
        (tmp_path / folder / "preptime-setup.txt").write_text(dev._setup_stamp(environment), encoding="utf-8")
    return tmp_path


@pytest.mark.skipif(os.name == "nt", reason="Airflow doesn't run on Windows")
@pytest.mark.parametrize(
    ("program", "status"),
    [(["make", f"PYTHON={sys.executable}", "airflow", "ARGS=--no-demo"], -signal.SIGTERM),
     ([sys.executable, "dev.py", "airflow", "--no-demo"], 0)],
    ids=["make", "dev.py"],
)  # fmt: skip
def test_sigterm_ends_make_and_all_its_processes(project: Path, program: list[str], status: int) -> None:
    """`make` forwards the signal, waits, and ends by it."""
    requires(shutil.which("make"), "make is not installed")
    variables = {"AIRFLOW_PORT": str(free_port()), "AIRFLOW_HOME": str(project / "home")}
    with subprocess.Popen(
        program,
        cwd=project,
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    ) as process:
        assert process.stdout is not None
        try:
            output = ""
            while READY_TEXT not in output:
                line = process.stdout.readline()
                assert line, output
                output += line
            files = (project / "home").glob("*.ids")
            started = [int(number) for path in files for number in path.read_text(encoding="utf-8").split()]
            assert len([number for number in started if is_running(number)]) == 6
        finally:
            process.terminate()
        remaining, _ = process.communicate(timeout=60)
    assert "Airflow stopped." in remaining
    assert process.returncode == status
    assert [number for number in started if is_running(number)] == []
