"""`train`: what it refuses and what it promotes. A lost comparison is a normal result."""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl
import pytest

from preptime.training.fitting import FitPlan
from preptime.training.train import TrainDocument
from tests.cli.conftest import DATE, NEXT_DATE, Files, champion
from tests.cli.run_command import error_document, preptime
from tests.training.factories import IDLE_QUANTILE, quick_plan

pytestmark = pytest.mark.usefixtures("quick_models")


def write_orders(orders: pl.DataFrame, files: Files, folder: Path) -> tuple[str, ...]:
    """Write orders to a file, and return the options for them."""
    orders.write_csv(folder / "orders.csv")
    return "--orders", str(folder / "orders.csv"), "--restaurants", str(files.restaurants)


def test_train_promote_never_only_stores_bundle(files: Files, tmp_path: Path) -> None:
    store = tmp_path / "models"
    result = preptime(
        "train", *files.options, "--date", DATE, "--store", store, "--promote", "never", "--json"
    ).succeeded()
    document = result.document(TrainDocument)
    assert document.outcome == "kept"
    assert document.champion is None
    assert champion(store) is None
    assert (store / "bundles" / document.bundle / "report.html").is_file()
    assert f"{document.bundle} is stored in {store} but not promoted. There was no champion as of {DATE}." in result.err
    steps = result.err.partition("\n20")[0].splitlines()
    assert steps[0] == "Reading the orders"
    assert len(steps) == len(set(steps)) > 3


def test_train_quick_stores_a_bundle_and_no_results(files: Files, tmp_path: Path) -> None:
    folders = ("--store", str(tmp_path / "models"), "--results", str(tmp_path / "results"))
    options = (*files.options, "--date", DATE, *folders)
    gated = preptime("train", *options, "--json").succeeded().document(TrainDocument)
    written = {path: path.read_bytes() for path in (tmp_path / "results").rglob("*") if path.is_file()}
    result = preptime("train", *options, "--quick", "--json").succeeded()
    document = result.document(TrainDocument)
    assert (gated.outcome, document.outcome, document.evaluation) == ("promoted", "kept", None)
    assert document.reason == "Trained without the gate (--quick), so it can't be promoted."
    assert document.champion == champion(tmp_path / "models") == gated.bundle != document.bundle
    assert written
    assert {path: path.read_bytes() for path in (tmp_path / "results").rglob("*") if path.is_file()} == written
    assert "The results are in" not in result.err


def test_train_lost_comparison_succeeds(
    files: Files, store: Path, trained_bundle: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FitPlan, "default", lambda threads: quick_plan(IDLE_QUANTILE, threads=threads))
    result = preptime("train", *files.options, "--date", NEXT_DATE, "--store", store, "--json")
    document = result.succeeded().document(TrainDocument)
    assert document.outcome == "refreshed"
    assert document.comparison is not None
    assert not document.comparison.passed
    assert document.champion not in {trained_bundle, document.bundle}
    assert champion(store) == document.champion
    assert "the champion's models and updated history" in result.err
    assert "Conditions that aren't met: " in result.err
    assert document.comparison.summary not in result.err  # the table has the conditions
    command = f"preptime bundles promote {document.bundle} --store {store} --reason TEXT"
    assert f"To promote it without a comparison, use {command}." in result.err
    preptime(*command.removeprefix("preptime ").split()).succeeded()
    assert champion(store) == document.bundle


def test_train_backfill_names_the_later_champion(files: Files, tmp_path: Path) -> None:
    """It says as of which date there was no champion, which champion is later, and how to promote the bundle."""
    store = tmp_path / "models"
    options = ("--store", store, "--results", tmp_path / "results")
    preptime("train", *files.options, "--date", DATE, *options).succeeded()
    result = preptime("train", *files.options, "--date", "2015-06-11", *options, "--gate", "min_days=3", "--json")
    bundle = result.succeeded().document(TrainDocument).bundle
    command = f"preptime bundles promote {bundle} --store {store} --reason TEXT"
    lines = result.err.partition(f"{bundle} is stored")[2].splitlines()
    assert lines[:4] == [
        f" in {store} but not promoted. There was no champion as of 2015-06-11.",
        "The current champion has a later date, and a backfill never replaces it.",
        "All 2 conditions for a promotion are met.",
        f"To promote it, use {command}.",
    ]
    assert f"This decision is as of 2015-06-11. The current champion of {store} is {champion(store)}." in lines
    preptime(*command.split()[1:]).succeeded()
    assert champion(store) == bundle


def test_train_promotion_states_conditions_once(files: Files, tmp_path: Path) -> None:
    result = preptime("train", *files.options, "--date", DATE, "--store", tmp_path / "models").succeeded()
    assert "conditions for a promotion are met." in result.out
    assert result.out.count("Significantly better than the better baseline") == 1
    assert "Passed." not in result.out
    assert "errors in minutes" in result.out


def test_train_incomplete_last_day_is_data_error(files: Files, orders: pl.DataFrame, tmp_path: Path) -> None:
    """An export that ends at noon."""
    cut = orders.filter(pl.col("order_acknowledged_at") < "2015-06-11 13")
    result = preptime(
        "train", *write_orders(cut, files, tmp_path), "--date", DATE, "--store", tmp_path / "models", "--json"
    )
    document = error_document(result, 1, "DataError")
    assert "2015-06-11" in document.facts
    assert "--gate max_evening_gap_hours=" in document.hint
    assert not (tmp_path / "models").exists()


def test_train_gate_option_changes_threshold(files: Files, orders: pl.DataFrame, tmp_path: Path) -> None:
    few = write_orders(orders.filter(pl.col("order_acknowledged_at") >= "2015-06-06"), files, tmp_path)
    call: tuple[str | Path, ...] = ("train", *few, "--date", DATE, "--store", tmp_path / "models", "--json")
    assert "6 days" in error_document(preptime(*call), 4, "PermanentDataError").facts
    result = preptime(*call, "--gate", "min_days=3", "--gate", "min_orders=500").succeeded()
    assert {rule.name: rule.threshold for rule in result.document(TrainDocument).data_gate.checks}["days"] == 3


def test_train_options_of_the_message_are_enough(files: Files, orders: pl.DataFrame, tmp_path: Path) -> None:
    """The message of a refusal has the options that accept the data, ready to paste."""
    few = write_orders(orders.filter(pl.col("order_acknowledged_at") >= "2015-06-06"), files, tmp_path)
    call: tuple[str | Path, ...] = ("train", *few, "--date", DATE, "--store", tmp_path / "models", "--json")
    options = re.findall(r"--gate \S+[^.\s]", error_document(preptime(*call), 4, "PermanentDataError").hint)
    assert options[0] == "--gate min_days=6"
    preptime(*call, *" ".join(options).split()).succeeded()


@pytest.mark.parametrize(
    ("setting", "expected_text"),
    [
        ("days=3", "--gate min_days=3"),
        ("min_dogs=3", "min_dogs"),
        ("min_days", "min_days"),
        ("min_days=many", "many"),
        ("min_days=3.5", "whole"),
        ("min_days=-1", "min_days"),
    ],
)
def test_train_invalid_threshold_is_usage_error(setting: str, expected_text: str, files: Files, tmp_path: Path) -> None:
    result = preptime(
        "train", *files.options, "--date", DATE, "--store", tmp_path / "models", "--gate", setting, "--json"
    )
    document = error_document(result, 2, "UsageError")
    assert expected_text in f"{document.facts} {document.hint}"


def test_train_parquet_partitions_equal_one_csv(files: Files, orders: pl.DataFrame, tmp_path: Path) -> None:
    days = orders.with_columns(day=pl.col("order_acknowledged_at").str.slice(0, 10))
    for (day,), part in days.partition_by("day", as_dict=True, include_key=False).items():
        part.write_parquet(tmp_path / f"orders-{day}.parquet")
    bundles = set()
    for source in (files.orders, tmp_path / "orders-*.parquet"):
        options = ("--orders", source, "--restaurants", files.restaurants, "--date", DATE, "--promote", "never")
        store = tmp_path / "models"
        bundles.add(preptime("train", *options, "--store", store, "--json").succeeded().document(TrainDocument).bundle)
    assert len(bundles) == 1
    assert re.fullmatch(rf"{DATE}-[0-9a-f]{{12}}", bundles.pop())


def test_train_quick_is_stored_without_metrics(files: Files, store: Path, trained_bundle: str, tmp_path: Path) -> None:
    options: tuple[str | Path, ...] = ("--store", store, "--quick", "--results", tmp_path / "results")
    result = preptime("train", *files.options, "--date", NEXT_DATE, *options, "--json").succeeded()
    document = result.document(TrainDocument)
    assert (document.outcome, document.champion, document.evaluation) == ("kept", trained_bundle, None)
    assert champion(store) == trained_bundle
    assert "Trained without the gate (--quick), so it can't be promoted." in " ".join(result.err.split())
    assert not any(step.startswith("Gate: ") for step in result.err.splitlines())
    shown = preptime("bundles", "show", document.bundle, "--store", store).succeeded()
    assert document.bundle in shown.out
