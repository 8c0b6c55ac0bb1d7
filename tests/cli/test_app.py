"""Failed commands: exit statuses, documents, and messages."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from preptime.bundle.store import Store
from tests.cli.conftest import DATE, NEXT_DATE, Files
from tests.cli.run_command import PROGRAM, CommandResult, error_document, preptime, run_process

TRAINING = "altair catboost onnx onnxmltools skl2onnx sklearn vl_convert xgboost"

WITHOUT = """
import json, sys
from importlib.abc import MetaPathFinder
class Missing(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in sys.argv[1].split():
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Missing())
from preptime.cli import main
print(json.dumps([main(command) for command in json.loads(sys.argv[2])]))
"""
"""Runs commands in turn, on a machine without some packages."""


def run_without_packages(packages: str, *calls: list[str]) -> CommandResult:
    return run_process(packages, json.dumps(calls), program=WITHOUT)


@pytest.mark.parametrize(
    ("arguments", "expected_text"),
    [
        (["tarin"], "tarin"),
        (["train", "--oder", "x"], "--oder"),
        (["train", "--orders", "o", "--restaurants", "r", "--date", "17.6.2015"], "2015-06-17"),
        (["train", "--orders", "o", "--restaurants", "r"], "--date"),
        (["bundles", "prune", "--keep", "-1"], "--keep"),
        (["bundles", "rollback"], "--reason"),
        (["score"], "--date"),
        (["score", "orders.csv", "--date", "2015-06-17"], "--date"),
        (["score", "orders.csv", "--out", "o.csv", "--orders", "o.csv"], "--orders"),
        (["results", "prune", "--days", "0"], "--days"),
        (["results", "prune", "--days", "many"], "--days"),
        (["results", "prune"], "--days"),
    ],
)
def test_usage_error_names_the_option(arguments: list[str], expected_text: str) -> None:
    result = preptime(*arguments)
    assert (result.status, result.out) == (2, "")
    assert expected_text in result.err
    assert "--help" in result.err
    assert expected_text in error_document(preptime(*arguments, "--json"), 2, "UsageError").facts


def test_command_without_arguments_shows_help() -> None:
    assert preptime().status == 2
    assert preptime("bundles").status == 2


def test_unexpected_error_prints_traceback_and_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def raise_error(_: str) -> Store:
        raise RuntimeError("unknown state")

    monkeypatch.setattr(Store, "open", raise_error)
    result = preptime("bundles", "list", "--json")
    assert result.status == 3
    assert "unknown state" in result.out
    assert '"error":"OperationError"' in result.out
    assert "Traceback" in result.err
    assert "report it" in result.err


def test_operating_system_error_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = preptime("synthesize", "--out", tmp_path / "file" / "below", "--orders", "10", "--json")
    assert "below" in error_document(result, 3, "OperationError").facts


def test_error_of_a_write_has_the_path_that_was_given(tmp_path: Path) -> None:
    orders, out = tmp_path / "orders.csv", tmp_path / "missing" / "schema.toml"
    orders.write_bytes(b"created_at,store_id\n2015-06-01 12:00:00,1\n")
    result = preptime("schema", "infer", orders, "--out", out, "--yes", "--time-zone", "UTC", "--json")
    assert error_document(result, 3, "OperationError").facts == f"{out}: No such file or directory."


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), OSError("No space left on device (os error 28)")]
)
def test_full_disk_is_one_sentence(error: OSError, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of a write has no path, and one of Polars has only a text."""

    def raise_error(_: str) -> Store:
        raise error

    monkeypatch.setattr(Store, "open", raise_error)
    document = error_document(preptime("bundles", "list", "--json"), 3, "OperationError")
    assert document.facts == "The output couldn't be written: No space left on device."


@pytest.mark.parametrize("arguments", ["bundles list --store s", "bundles list --store s --json", "--help"])
def test_full_standard_output_fails_with_one_sentence(arguments: str, tmp_path: Path) -> None:
    status, err = run_with_stdout(Path("/dev/full"), arguments, tmp_path)
    assert status == 3
    assert err.splitlines()[-1].startswith("Error: The output couldn't be written: No space left on device.")
    assert "Traceback" not in err


@pytest.mark.parametrize(
    "arguments",
    ["bundles list --store s", "bundles list --store s --json", "bundles show x --store s --json", "--help"],
)
def test_closed_pipe_has_its_own_status(arguments: str, tmp_path: Path) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    status, err = run_with_stdout(write_end, arguments, tmp_path)
    assert status == 141
    assert "Traceback" not in err
    assert "bug" not in err


def run_with_stdout(stdout: Path | int, arguments: str, folder: Path) -> tuple[int, str]:
    """Run a command with a standard output that can't be written. Return its exit status and standard error.

    The folder has an empty store `s`.
    """
    (folder / "s").mkdir()
    with open(stdout, "wb") as stream:  # noqa: PTH123 - a file descriptor has no path
        ended = subprocess.run(
            [sys.executable, "-c", PROGRAM, *arguments.split()],
            stdout=stream,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            cwd=folder,
            check=False,
        )
    return ended.returncode, ended.stderr


def test_interrupt_exits_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: str) -> Store:
        raise KeyboardInterrupt

    monkeypatch.setattr(Store, "open", interrupt)
    result = preptime("bundles", "list")
    assert result.status == 130
    assert "Interrupted" in result.err


def test_missing_polars_names_the_extra(files: Files, store: Path, tmp_path: Path) -> None:
    store_option = ["--store", str(store)]
    result = run_without_packages(
        f"polars {TRAINING}",
        ["score", str(files.orders), "--out", str(tmp_path / "o.csv"), *store_option],
        ["check", *files.options],
        ["train", *files.options, "--date", DATE, *store_option],
        ["bundles", "list", *store_option],
        ["bundles", "verify", *store_option],
    )
    assert json.loads(result.out.splitlines()[-1]) == [2, 2, 2, 0, 0]
    assert re.findall(r"pip install '([^']+)'", result.err) == [".[batch]", ".[batch]", ".[train]"]


def test_missing_training_libraries_affect_only_training(files: Files, store: Path, tmp_path: Path) -> None:
    store_option = ["--store", str(store)]
    result = run_without_packages(
        TRAINING,
        ["check", *files.options],
        ["score", str(files.orders), "--out", str(tmp_path / "o.csv"), *store_option],
        ["refresh", *files.options, "--date", NEXT_DATE, *store_option],
        ["bundles", "rollback", "--reason", "a test", *store_option],
        ["train", *files.options, "--date", DATE, *store_option],
    )
    assert json.loads(result.out.splitlines()[-1]) == [0, 0, 0, 0, 2], result.err
    assert "pip install '.[train]'." in result.err


def test_missing_option_names_option_and_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = preptime("train", "--restaurants", "r.csv", "--date", DATE, "--json")
    document = error_document(result, 2, "UsageError")
    assert "'--orders'" in document.facts
    assert "PREPTIME_ORDERS" in document.facts


def test_option_precedes_environment_precedes_env_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`bundles list` prints the store that it uses."""
    monkeypatch.chdir(tmp_path)
    for name in ("models", "of-the-file", "of-the-environment", "given"):
        Path(name).mkdir()
    assert preptime("bundles", "list").succeeded().out.startswith("models: 0 bundles")
    (tmp_path / ".env").write_text("PREPTIME_STORE=of-the-file\n", encoding="utf-8")
    assert preptime("bundles", "list").succeeded().out.startswith("of-the-file: 0 bundles")
    monkeypatch.setenv("PREPTIME_STORE", "of-the-environment")
    assert preptime("bundles", "list").succeeded().out.startswith("of-the-environment: 0 bundles")
    assert preptime("bundles", "list", "--store", "").succeeded().out.startswith("of-the-environment: 0 bundles")
    assert preptime("bundles", "list", "--store", "given").succeeded().out.startswith("given: 0 bundles")


def test_env_file_may_contain_dag_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    (tmp_path / ".env").write_text("PREPTIME_RUNNER=command\nAIRFLOW_PORT=8080\n", encoding="utf-8")
    preptime("bundles", "list").succeeded()
    monkeypatch.setenv("PREPTIME_STORRE", "typo")
    assert "PREPTIME_STORE" in error_document(preptime("bundles", "list", "--json"), 2, "UsageError").hint
