"""`tune`: its table, its document, the schema file that it writes, and what training does with it."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec
import pytest

from preptime.bundle.store import Store
from preptime.cli import app
from preptime.cli.tune import write_result
from preptime.errors import install_hint
from preptime.evaluation.paired import PairedDifference
from preptime.training.tuning import TrialResult, TuneDocument
from tests.cli.conftest import DATE, Files
from tests.cli.run_command import error_document, preptime, run_process
from tests.training.tunable_model import MODEL_SOURCE

SCHEMA = """\
# Hyperparameters of our models.
[models]
mine = "my_models.py:Scaled"  # the first version

[models.quantile]
tree_count = 20  # few, for tests
"""
DAYS = ("--days", "4", "--retrain-every", "2", "--threads", "1")


class Trial(msgspec.Struct, forbid_unknown_fields=True):
    """One trial."""

    number: int
    parameters: dict[str, float]
    state: Literal["complete", "stopped", "failed"]
    loss: float | None
    mae: float | None
    error: str


class Difference(msgspec.Struct, forbid_unknown_fields=True):
    """A comparison with the first trial."""

    reference: Literal["start"]
    days: int
    orders: int
    mae: float
    reference_mae: float
    difference: float
    standard_error: float
    effective_days: float
    order_standard_error: None


class Search(msgspec.Struct, forbid_unknown_fields=True):
    """The trials and the best one."""

    model: str
    date: str
    first_day: str
    last_day: str
    fitted_from: str
    retrain_every: int
    seed: int
    orders: int
    objective: Literal["mae", "pinball"]
    start: Trial
    best: Trial
    loss_difference: Difference
    mae_difference: Difference
    importance: dict[str, float]
    trials: list[Trial]
    data_fingerprint: str
    format: Literal[1]


class Document(msgspec.Struct, forbid_unknown_fields=True):
    """The document of `tune --json`. All keys are required, and there are no others."""

    search: Search
    study: str
    written: str | None
    reason: str


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Return the working directory, with a schema and a custom model whose factor of 3 is bad."""
    (tmp_path / "my_models.py").write_text(MODEL_SOURCE, encoding="utf-8")
    (tmp_path / "schema.toml").write_text(SCHEMA, encoding="utf-8")
    with contextlib.chdir(tmp_path):
        yield tmp_path


def test_tuned_parameters_are_those_that_training_records(files: Files, folder: Path) -> None:
    options = (*files.options, "--date", DATE)
    result = preptime("tune", "mine", *options, *DAYS, "--trials", "14", "--json").succeeded()
    document = result.document(Document)
    factor = document.search.best.parameters["factor"]
    assert document.search.start.parameters == {"factor": 3.0}
    assert document.search.loss_difference.difference < -100
    assert (document.search.first_day, document.search.last_day) == ("2015-06-08", "2015-06-11")
    assert document.study == str(Path("tuning") / f"mine-{DATE}.jsonl")
    assert document.written == "schema.toml"
    assert not (folder / "models").exists()
    assert (folder / "schema.toml").read_text(encoding="utf-8") == (
        "# Hyperparameters of our models.\n"
        "[models]\n\n"
        "[models.mine] # preptime tune: 2015-06-08 to 2015-06-11, 14 trials\n"
        'class = "my_models.py:Scaled"  # the first version\n'
        f"factor = {factor}\n\n"
        "[models.quantile]\n"
        "tree_count = 20  # few, for tests\n"
    )
    assert "Trials: 14 of 14, best" in result.err
    assert "Trial " in result.err

    preptime("train", *options, "--models", "mine", "--quick", "--store", folder / "models").succeeded()
    store = Store.open(str(folder / "models"))
    manifest = store.read_manifest(store.bundle_ids()[0])
    assert manifest.model_details["mine"].hyperparameters == {"factor": factor, "shift": 0.0}

    again = preptime("tune", "mine", *options, *DAYS, "--trials", "14").succeeded()
    assert "[models.mine] of schema.toml already has the best hyperparameters." in again.out
    assert "0 (start)" in again.out
    assert "The first fit had" not in again.out
    early = preptime(
        "tune", "mine", *options, "--days", "8", "--trials", "1", "--study", folder / "early.jsonl"
    ).succeeded()
    assert "The first fit had 3 days of orders, fewer than the search has" in early.out
    assert "Importance for the loss: factor 100%." in again.out
    assert "From --date 2015-06-19, the gate of preptime train has only later days." in again.out


def test_insignificant_and_unwanted_results_write_nothing(files: Files, folder: Path) -> None:
    options = ("tune", "quantile", *files.options, "--date", DATE, *DAYS, "--trials", "1")
    assert "The hyperparameters at the start have the lowest loss." in preptime(*options).succeeded().out
    mine = ("tune", "mine", *files.options, "--date", DATE, *DAYS, "--trials", "3")
    unwanted = preptime(*mine, "--write", "never").succeeded()
    assert "schema.toml is unchanged (--write never)." in unwanted.out
    assert (folder / "schema.toml").read_text(encoding="utf-8") == SCHEMA
    other = preptime(*mine, "--out", folder / "new.toml").succeeded()
    assert f"Wrote [models.mine] to {folder / 'new.toml'}." in other.out
    assert (folder / "schema.toml").read_text(encoding="utf-8") == SCHEMA
    assert "# Hyperparameters of our models." in (folder / "new.toml").read_text(encoding="utf-8")
    elsewhere = preptime(*mine, "--out", folder / "sub" / "new.toml", "--json")
    facts = error_document(elsewhere, 2, "UsageError").facts
    assert "The path of my_models.py:Scaled is relative to the folder of schema.toml" in facts


def test_best_parameters_are_written_if_the_difference_allows(tmp_path: Path) -> None:
    def trial(number: int, depth: int) -> TrialResult:
        return TrialResult(number, {"depth": depth}, "complete", 9.0, 20.0)

    def written(standard_error: float, best: int, write: str) -> bool:
        difference = PairedDifference("start", 14, 2_000, 9.0, 10.0, -1.0, standard_error)
        document = TuneDocument(
            model="xgb",
            date=dt.date(2015, 6, 17),
            first_day=dt.date(2015, 6, 3),
            last_day=dt.date(2015, 6, 16),
            fitted_from=dt.date(2015, 5, 1),
            retrain_every=7,
            seed=12,
            orders=2_000,
            objective="mae",
            start=trial(0, 4),
            best=trial(3, best),
            loss_difference=difference,
            mae_difference=difference,
            importance={},
            trials=(trial(0, 4), trial(3, best)),
            data_fingerprint="",
        )
        out = tmp_path / f"{standard_error}-{best}-{write}.toml"
        path, reason = write_result(document, {}, out, out, write)
        assert str(out) in reason
        assert ("wasn't created" in reason) == (path is None)
        assert out.exists() == (path == out)
        return path == out

    assert written(0.5, 3, "better")
    assert not written(0.6, 3, "better")  # Student's t with 13 degrees of freedom: 1.77
    assert written(0.6, 3, "lowest")
    assert not written(0.5, 3, "never")
    assert not written(0.5, 4, "lowest")


def test_interrupted_search_keeps_its_trials(files: Files, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = ("tune", "mine", *files.options, "--date", DATE, *DAYS, "--write", "never")
    monkeypatch.setenv("INTERRUPT_AT_FIT", "9")
    interrupted = preptime(*options, "--trials", "6")
    assert interrupted.status == 130
    study = Path("tuning") / f"mine-{DATE}.jsonl"
    assert f"The finished trials are kept in {study}. To continue, run the command again." in interrupted.err
    monkeypatch.delenv("INTERRUPT_AT_FIT")
    continued = preptime(*options, "--trials", "6", "--json").succeeded()
    assert "Trials: 0 of 6" not in continued.err
    whole = preptime(*options, "--trials", "6", "--study", folder / "whole.jsonl", "--json").succeeded()
    assert continued.document(Document).search == whole.document(Document).search


def test_refused_searches_name_the_option(files: Files, folder: Path) -> None:
    options = (*files.options, "--date", DATE, "--json")
    missing = error_document(
        preptime("tune", "mime", "--orders", "missing.csv", "--date", DATE, "--json"), 2, "UsageError"
    )
    assert missing.hint == "Did you mean mine?"
    assert "stacking has no ranges" in error_document(preptime("tune", "stacking", *options), 2, "UsageError").facts
    preptime("tune", "mine", *options, *DAYS, "--trials", "1").succeeded()
    changed = error_document(preptime("tune", "mine", *options, "--days", "3", "--trials", "1"), 2, "UsageError")
    assert "another first day: 2015-06-08. Now: 2015-06-09" in changed.facts
    assert "(--restart)" in changed.hint
    few = error_document(preptime("tune", "mine", *options, "--days", "14"), 1, "DataError")
    assert few.hint.startswith("Use --days 9, or provide orders from 2015-05-27")


def test_missing_optuna_names_the_extra(files: Files, folder: Path) -> None:
    program = "import sys; sys.modules['optuna'] = None; from preptime.cli import main; sys.exit(main(sys.argv[1:]))"
    result = run_process(
        "tune", "mine", *files.options, "--date", DATE, *DAYS, "--trials", "1", "--json", program=program
    )
    document = error_document(result, 2, "UsageError")
    assert document.facts == "This command needs the package optuna, which isn't installed."
    assert document.hint == install_hint("tune")


def test_every_training_package_names_the_extra_tune() -> None:
    for package in ("optuna", "tomlkit", "polars", "catboost"):
        error = app._missing_extra_error(ModuleNotFoundError(name=package), ["tune", "quantile"])
        assert error.hint == install_hint("tune")
