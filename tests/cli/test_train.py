"""`train`: what it refuses, what it promotes, and that losing is no failure."""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl
import pytest

from preptime.training.fitting import FitPlan
from preptime.training.train import TrainDocument
from tests.cli.conftest import DATE, NEXT_DATE, Files, champion
from tests.cli.run_command import preptime, error_document
from tests.training.factories import IDLE_QUANTILE, quick_plan

pytestmark = pytest.mark.usefixtures("quick")


def write_orders(orders: pl.DataFrame, files: Files, folder: Path) -> tuple[str, ...]:
    """Options for these orders and the usual restaurants."""
    orders.write_csv(folder / "orders.csv")
    return "--orders", str(folder / "orders.csv"), "--restaurants", str(files.restaurants)


def test_never_promote_keeps_the_bundle_and_changes_nothing_else(files: Files, tmp_path: Path) -> None:
    store = tmp_path / "models"
    ran = preptime("train", *files.options, "--date", DATE, "--store", store, "--promote", "never", "--json").succeeded()
    document = ran.document(TrainDocument)
    assert document.outcome == "kept"
    assert document.champion is None
    assert champion(store) is None
    assert (store / "bundles" / document.bundle / "report.html").is_file()
    assert f"{document.bundle} is kept in {store}; the champion is none yet." in ran.err
    steps = ran.err.partition("\n20")[0].splitlines()
    assert steps[0] == "Reading the orders"
    assert len(steps) == len(set(steps)) > 3


def test_a_lost_comparison_is_fine(files: Files, store: Path, trained: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FitPlan, "default", lambda threads: quick_plan(IDLE_QUANTILE, threads=threads))
    ran = preptime("train", *files.options, "--date", NEXT_DATE, "--store", store, "--json")
    document = ran.succeeded().document(TrainDocument)
    assert document.outcome == "refreshed"
    assert document.comparison is not None
    assert not document.comparison.passed
    assert document.champion not in {trained, document.bundle}
    assert champion(store) == document.champion
    assert "the champion's models with new history" in ran.err


def test_half_a_day_must_not_train(files: Files, orders: pl.DataFrame, tmp_path: Path) -> None:
    """An export cut short at noon."""
    cut = orders.filter(pl.col("order_acknowledged_at") < "2015-06-11 13")
    ran = preptime("train", *write_orders(cut, files, tmp_path), "--date", DATE, "--store", tmp_path / "models", "--json")
    document = error_document(ran, 1, "DataError")
    assert "2015-06-11" in document.facts
    assert "last_evening" in document.hint
    assert not (tmp_path / "models").exists()


def test_too_few_days_are_refused_unless_the_user_says_otherwise(
    files: Files, orders: pl.DataFrame, tmp_path: Path
) -> None:
    few = write_orders(orders.filter(pl.col("order_acknowledged_at") >= "2015-06-06"), files, tmp_path)
    call: tuple[str | Path, ...] = ("train", *few, "--date", DATE, "--store", tmp_path / "models", "--json")
    assert "6 days" in error_document(preptime(*call), 1, "DataError").facts
    ran = preptime(*call, "--gate", "min_days=3", "--gate", "min_orders=500").succeeded()
    assert {rule.name: rule.threshold for rule in ran.document(TrainDocument).data_gate.checks}["days"] == 3


@pytest.mark.parametrize(
    ("setting", "said"),
    [("min_dogs=3", "min_dogs"), ("min_days", "min_days"), ("min_days=many", "many"), ("min_days=3.5", "whole")],
)
def test_a_threshold_that_cannot_be_is_wrong_use(setting: str, said: str, files: Files, tmp_path: Path) -> None:
    ran = preptime("train", *files.options, "--date", DATE, "--store", tmp_path / "models", "--gate", setting, "--json")
    document = error_document(ran, 2, "UsageError")
    assert said in f"{document.facts} {document.hint}"


def test_parquet_partitions_train_the_same_bundle_as_one_csv(
    files: Files, orders: pl.DataFrame, tmp_path: Path
) -> None:
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
