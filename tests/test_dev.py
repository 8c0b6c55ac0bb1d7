"""The developer's entry points: dev.py, the Makefile over it, and what both say when something is missing."""

from __future__ import annotations

import ast
import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.requirements import ROOT, requires

DEV = ROOT / "dev.py"


@pytest.fixture
def dev(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """dev.py, its project moved to an empty folder with two locks."""
    spec = importlib.util.spec_from_file_location("dev", DEV)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (tmp_path / "locks").mkdir()
    (tmp_path / "pyproject.toml").write_text("", encoding="utf-8")
    for lock in ("run", "dev"):
        (tmp_path / "locks" / f"{lock}.lock").write_text(f"{lock} packages", encoding="utf-8")
    venv = tmp_path / ".venv"
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "LOCKS", tmp_path / "locks")
    monkeypatch.setattr(module, "VENV", venv)
    monkeypatch.setattr(module, "PYTHON", module._venv_python(venv))
    return module


@pytest.fixture
def commands(dev: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What would have been run; making the environment is played."""
    run: list[str] = []

    def record(*command: str | Path, echo: bool = True) -> bool:
        run.append(" ".join(str(word) for word in command))
        if "venv" in command:
            python: Path = dev.PYTHON
            python.parent.mkdir(parents=True)
            python.touch()
        return True

    monkeypatch.setattr(dev, "_run", record)
    return run


def said(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, DEV, *arguments], capture_output=True, text=True, encoding="utf-8", check=False
    )


def tasks() -> list[str]:
    return [line.split()[0] for line in said("help").stdout.splitlines()]


def test_help_lists_every_task_with_a_line() -> None:
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
    assert all(len(line.split(maxsplit=1)) == 2 for line in said("help").stdout.splitlines())
    assert said().stdout == said("help").stdout


def test_an_unknown_task_is_wrong_use() -> None:
    answer = said("tset")
    assert answer.returncode == 2
    assert "'tset'" in answer.stderr


def test_the_makefile_has_a_target_for_each_task_and_each_calls_it() -> None:
    requires(shutil.which("make"), "make is not installed")
    for task in tasks():
        shown = subprocess.run(
            ["make", "--no-print-directory", "-n", task, "PYTHON=python", "ORDERS=o.csv", "RESTAURANTS=r r.csv"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        files = ' --orders "o.csv" --restaurants "r r.csv"' if task == "demo" else ""
        assert shown.stdout.strip() == f"python dev.py {task}{files}"


def test_dev_imports_nothing_but_the_standard_library() -> None:
    names = set()
    for node in ast.walk(ast.parse(DEV.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            names.add((node.module or "").split(".")[0])
    assert names <= sys.stdlib_module_names


def test_an_old_python_gets_as_far_as_the_sentence() -> None:
    """Its parser must read the whole file, and the check must come before the first definition."""
    tree = ast.parse(DEV.read_text(encoding="utf-8"), feature_version=(3, 7))
    kinds = [type(node) for node in tree.body]
    assert ast.If in kinds
    assert kinds.index(ast.If) < min(kinds.index(ast.FunctionDef), kinds.index(ast.ClassDef))


def test_setup_installs_from_the_lock_by_hash_and_the_project_without_the_index(
    dev: ModuleType, commands: list[str]
) -> None:
    dev.setup("run")
    made, locked, project, _ = commands
    assert "-m venv --clear" in made
    assert "--require-hashes --only-binary :all: -r" in locked
    assert locked.endswith("run.lock")
    assert "--no-index --no-build-isolation --editable" in project


def test_setup_does_nothing_when_the_lock_is_the_one_installed(dev: ModuleType, commands: list[str]) -> None:
    dev.setup("dev")
    commands.clear()
    dev.setup("dev")
    dev.setup("run")  # what a developer has installed holds all that a user needs
    assert commands == []


@pytest.mark.parametrize("changed", ["locks/run.lock", "pyproject.toml"])
def test_setup_starts_again_when_what_it_stands_on_has_changed(
    dev: ModuleType, commands: list[str], changed: str, tmp_path: Path
) -> None:
    dev.setup("run")
    commands.clear()
    (tmp_path / changed).write_text("something else", encoding="utf-8")
    dev.setup("run")
    assert any("--require-hashes" in command for command in commands)


def test_a_users_setup_is_not_enough_for_a_developer(dev: ModuleType, commands: list[str]) -> None:
    dev.setup("run")
    commands.clear()
    dev.setup("dev")
    assert any(command.endswith("dev.lock") for command in commands)


def test_an_interrupted_setup_does_not_count(
    dev: ModuleType, commands: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    dev.setup("run")
    (dev.LOCKS / "run.lock").write_text("newer", encoding="utf-8")
    with monkeypatch.context() as broken:
        broken.setattr(dev, "_run", lambda *command, **_: "-c" in command)
        with pytest.raises(dev.TaskError):
            dev.setup("run")
    (dev.LOCKS / "run.lock").write_text("run packages", encoding="utf-8")
    commands.clear()
    dev.setup("run")
    assert any("--require-hashes" in command for command in commands)


@pytest.mark.parametrize("module", ["venv", "ensurepip"])
def test_a_python_that_cannot_make_environments_says_what_to_install(
    dev: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], module: str
) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == module else find_spec(name))
    assert dev.main(["setup"]) == 1
    assert "-venv" in capsys.readouterr().err


def test_lock_says_that_it_needs_uv(tmp_path: Path) -> None:
    asked = [sys.executable, str(ROOT / "scripts" / "make_locks.py")]
    ended = subprocess.run(asked, env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "`uv` is not on the PATH" in ended.stderr
