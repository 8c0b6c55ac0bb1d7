"""How a call ends that does not end well: exit statuses, documents, sentences."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from preptime.bundle.store import Store
from tests.cli.conftest import DATE, NEXT_DATE, Files
from tests.cli.run_command import CommandResult, preptime, run_process, error_document

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
print(json.dumps([main(verb) for verb in json.loads(sys.argv[2])]))
"""
"""Calls one after the other on a machine that lacks some packages."""


def run_without_packages(packages: str, *calls: list[str]) -> CommandResult:
    return run_process(packages, json.dumps(calls), program=WITHOUT)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["tarin"], "tarin"),
        (["train", "--oder", "x"], "--oder"),
        (["train", "--orders", "o", "--restaurants", "r", "--date", "17.6.2015"], "2015-06-17"),
        (["train", "--orders", "o", "--restaurants", "r"], "--date"),
        (["bundles", "prune", "--keep", "-1"], "--keep"),
        (["bundles", "rollback"], "--reason"),
        (["score", "orders.csv"], "--out"),
        (["score"], "--date"),
        (["score", "orders.csv", "--date", "2015-06-17"], "--date"),
        (["score", "orders.csv", "--out", "o.csv", "--orders", "o.csv"], "--orders"),
        (["results", "prune", "--days", "0"], "--days"),
        (["results", "prune", "--days", "many"], "--days"),
        (["results", "prune"], "--days"),
    ],
)
def test_wrong_use_names_the_option_and_ends_with_2(arguments: list[str], named: str) -> None:
    ran = preptime(*arguments)
    assert (ran.status, ran.out) == (2, "")
    assert named in ran.err
    assert "--help" in ran.err
    assert named in error_document(preptime(*arguments, "--json"), 2, "UsageError").facts


def test_a_verb_without_arguments_shows_its_help() -> None:
    assert preptime().status == 2
    assert preptime("bundles").status == 2


def test_an_unforeseen_error_is_a_fault_with_its_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: str) -> Store:
        raise RuntimeError("the sky fell")

    monkeypatch.setattr(Store, "open", broken)
    ran = preptime("bundles", "list", "--json")
    assert ran.status == 3
    assert "the sky fell" in ran.out
    assert '"error":"OperationError"' in ran.out
    assert "Traceback" in ran.err
    assert "report it" in ran.err


def test_what_the_system_refuses_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    ran = preptime("synthesize", "--out", tmp_path / "file" / "below", "--orders", "10", "--json")
    assert "below" in error_document(ran, 3, "OperationError").facts


def test_an_interruption_ends_as_shells_say_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: str) -> Store:
        raise KeyboardInterrupt

    monkeypatch.setattr(Store, "open", interrupted)
    ran = preptime("bundles", "list")
    assert ran.status == 130
    assert "Interrupted" in ran.err


def test_without_polars_reading_verbs_name_the_extra(files: Files, store: Path, tmp_path: Path) -> None:
    place = ["--store", str(store)]
    ran = run_without_packages(
        f"polars {TRAINING}",
        ["score", str(files.orders), "--out", str(tmp_path / "o.csv"), *place],
        ["check", *files.options],
        ["train", *files.options, "--date", DATE, *place],
        ["bundles", "list", *place],
        ["bundles", "verify", *place],
    )
    assert json.loads(ran.out.splitlines()[-1]) == [2, 2, 2, 0, 0]
    sentences = [line for line in ran.err.splitlines() if "Install" in line]
    assert [line.rpartition("Install ")[2] for line in sentences] == [
        "preptime[batch].",
        "preptime[batch].",
        "preptime[train].",
    ]


def test_without_the_training_libraries_all_that_does_not_fit_works(files: Files, store: Path, tmp_path: Path) -> None:
    place = ["--store", str(store)]
    ran = run_without_packages(
        TRAINING,
        ["check", *files.options],
        ["score", str(files.orders), "--out", str(tmp_path / "o.csv"), *place],
        ["refresh", *files.options, "--date", NEXT_DATE, *place],
        ["bundles", "rollback", "--reason", "a test", *place],
        ["train", *files.options, "--date", DATE, *place],
    )
    assert json.loads(ran.out.splitlines()[-1]) == [0, 0, 0, 0, 2], ran.err
    assert "preptime[train]" in ran.err


@pytest.mark.parametrize("name", ["orders", "restaurants"])
def test_what_is_not_given_is_named_with_the_setting_that_could_stand_in_for_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    given = {"orders": ("--restaurants", "r.csv"), "restaurants": ("--orders", "o.csv")}[name]
    document = error_document(preptime("train", *given, "--date", DATE, "--json"), 2, "UsageError")
    assert f"'--{name}'" in document.facts
    assert f"PREPTIME_{name.upper()}" in document.facts


def test_an_option_wins_over_the_environment_and_that_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`bundles list` says which store it looked at."""
    monkeypatch.chdir(tmp_path)
    assert preptime("bundles", "list").succeeded().out.startswith("models holds")
    (tmp_path / ".env").write_text("PREPTIME_STORE=of-the-file\n", encoding="utf-8")
    assert preptime("bundles", "list").succeeded().out.startswith("of-the-file holds")
    monkeypatch.setenv("PREPTIME_STORE", "of-the-environment")
    assert preptime("bundles", "list").succeeded().out.startswith("of-the-environment holds")
    assert preptime("bundles", "list", "--store", "given").succeeded().out.startswith("given holds")


def test_the_dags_settings_in_the_same_file_are_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("PREPTIME_RUNNER=command\nAIRFLOW_PORT=8080\n", encoding="utf-8")
    preptime("bundles", "list").succeeded()
    monkeypatch.setenv("PREPTIME_STORRE", "typo")
    assert "PREPTIME_STORE" in error_document(preptime("bundles", "list", "--json"), 2, "UsageError").hint
