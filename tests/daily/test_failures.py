"""Tests of failures in a daily run: a clear message, no lost data, and a correct rerun.

A correct rerun gives the same bytes as a week without failures.
"""

from __future__ import annotations

import contextlib
import resource
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest

from preptime.bundle.champion_log import ChampionLog
from preptime.bundle.manifest import Manifest
from preptime.bundle.store import Store
from preptime.bundle.writer import write_bundle
from preptime.monitoring.document import encode
from preptime.scoring.score_day import DayScoreDocument
from preptime.sources.results import MONITORING_FILE, ResultsFolder
from preptime.training import challenger
from preptime.training.train import TrainDocument
from tests.cli.conftest import damage_file
from tests.cli.run_command import error_document, preptime
from tests.daily.factories import FIRST, WEEK, Installation, local_dates, orders_through
from tests.daily.processes import Processes, start_processes
from tests.monitoring.example import fired
from tests.requirements import small_disk

SECOND, THIRD = WEEK[1:3]
DELIVERY_SCHEMA = """
[target]
name = "delivery"
title = "delivery time"

[orders]
order_id = "order_id"
order_acknowledged_at = "order_acknowledged_at"
order_ready_at = "order_ready_at"
order_value = { column = "order_value_gbp", currency = "GBP" }
restaurant_id = "restaurant_id"
number_of_items = "number_of_items"
"""


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    """Yield a way to run commands in their own processes."""
    with start_processes(tmp_path_factory.mktemp("processes")) as started:
        yield started


def options(installation: Installation) -> tuple[str | Path, ...]:
    """Return all options except command and date."""
    tables = ("--orders", installation.orders, "--restaurants", installation.restaurants)
    return (*tables, "--store", installation.store, "--results", installation.results)


def champion_bundles(installation: Installation) -> list[str]:
    """Return the bundles of the champion log, first to last."""
    return [entry.bundle for entry in ChampionLog(Store.open(str(installation.store))).entries()]


@contextmanager
def file_size_limit(limit: int) -> Iterator[None]:
    """Limit the size of files: the kernel fails a write beyond it."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("where", ["/bundles/", "/champion/", "training.json"])
def test_killed_training_leaves_no_partial_files(
    where: str, week: Installation, installation: Installation, processes: Processes
) -> None:
    """The training is killed before it writes the bundle, the champion log, or `training.json`."""
    installation.run_day(FIRST)
    before = champion_bundles(installation)
    assert processes.run(("train", "--date", str(SECOND), *options(installation)), kill_before=where) == [
        -signal.SIGKILL
    ], processes.output
    assert not (installation.results / f"date={SECOND}" / "training.json").exists()
    assert len(champion_bundles(installation)) == len(before) + (where == "training.json")
    assert all(
        ": ok" in line
        for line in preptime("bundles", "verify", "--store", installation.store).succeeded().out.splitlines()
    )
    installation.run_day(SECOND)
    assert installation.daily_files(WEEK[:2]) == week.daily_files(WEEK[:2])


@pytest.mark.parametrize("where", ["/champion/000002.json", "/.training.json."])
def test_killed_response_is_completed_by_the_next(
    where: str, week: Installation, installation: Installation, processes: Processes
) -> None:
    """The response is killed after its training wrote the bundle, before the decision or before its results."""
    installation.run_day(FIRST)
    ResultsFolder(installation.results).write(SECOND, MONITORING_FILE, encode(fired(SECOND)))
    response = ("respond", "--date", str(SECOND), *options(installation))
    assert processes.run(response, kill_before=where) == [-signal.SIGKILL], processes.output
    assert any(bundle.startswith(f"{SECOND}-") for bundle in Store.open(str(installation.store)).bundle_ids())
    assert not (installation.results / f"date={SECOND}" / "training.json").exists()
    assert processes.run(response) == [0], processes.output
    installation.run("score", SECOND).succeeded()
    assert champion_bundles(installation) == champion_bundles(week)[: len(champion_bundles(installation))]
    assert installation.daily_files(WEEK[:2]) == week.daily_files(WEEK[:2])


def test_response_with_another_target_changes_nothing(week: Installation, tmp_path: Path) -> None:
    shutil.copytree(week.store, tmp_path / "models")
    installation = Installation(week.orders, week.restaurants, tmp_path / "models", tmp_path / "results")
    ResultsFolder(installation.results).write(WEEK[-1], MONITORING_FILE, encode(fired(WEEK[-1])))
    schema = tmp_path / "schema.toml"
    schema.write_text(DELIVERY_SCHEMA, encoding="utf-8")
    before = champion_bundles(installation)
    document = error_document(
        installation.run("respond", WEEK[-1], "--schema", schema, "--allow", "all", "--json"), 2, "UsageError"
    )
    assert document.facts.startswith("The orders have the target delivery (delivery time), and the models of")
    assert champion_bundles(installation) == before
    assert not (installation.results / f"date={WEEK[-1]}" / "response.json").exists()


def test_file_size_limit_fails_and_keeps_existing_files(
    week: Installation, installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    installation.run_day(FIRST)
    before = installation.daily_files((FIRST,))
    with file_size_limit(20_000):
        document = error_document(installation.run("train", SECOND, "--json"), 3, "OperationError")
    assert "model.json couldn't be written: " in document.facts
    assert "(TMPDIR)" in document.hint

    def write_limited(*arguments: Any, **options: Any) -> Manifest:
        with file_size_limit(20_000):
            return write_bundle(*arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(challenger, "write_bundle", write_limited)
        document = error_document(installation.run("train", SECOND, "--json"), 3, "StoreError")
    assert "File too large" in document.facts
    assert champion_bundles(installation) == [champion_bundles(installation)[0]]
    with file_size_limit(4_000):
        document = error_document(installation.run("score", FIRST, "--json"), 3, "OperationError")
    assert document.facts.startswith(
        f"{installation.results}/date={FIRST}/predictions.parquet couldn't be written: File too"
    )
    assert installation.daily_files((FIRST,)) == before
    installation.run_day(SECOND)
    assert installation.daily_files(WEEK[:2]) == week.daily_files(WEEK[:2])


def test_full_disk_fails_and_keeps_existing_files(week: Installation, tmp_path: Path) -> None:
    """The file system is full (ENOSPC)."""
    with small_disk(tmp_path, "1m") as disk:
        installation = Installation(week.orders, week.restaurants, week.store, disk / "results")
        installation.run("score", SECOND).succeeded()
        before = installation.daily_files((SECOND,))
        filler = disk / "filler"
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass
        for date in (SECOND, THIRD):
            document = error_document(installation.run("score", date, "--json"), 3, "OperationError")
            assert document.facts.startswith(
                f"{installation.results}/date={date}/predictions.parquet couldn't be written"
            )
            assert "No space left on device" in document.facts
        assert installation.daily_files(WEEK[1:3]) == before
        assert not list(installation.results.rglob(".*"))
        filler.unlink()
        for date in (SECOND, THIRD):
            installation.run("score", date).succeeded()
        predictions = week.daily_files(WEEK[1:3])
        assert installation.daily_files(WEEK[1:3]) == {
            path: predictions[path] for path in predictions if path.endswith(("predictions.parquet", "score.json"))
        }


def test_concurrent_runs_of_one_date_both_succeed(
    week: Installation, installation: Installation, processes: Processes
) -> None:
    for command in ("train", "score"):
        call = (command, "--date", str(FIRST), *options(installation))
        assert processes.run(call, call) == [0, 0], processes.output
    assert len(champion_bundles(installation)) == 1
    assert installation.daily_files((FIRST,)) == week.daily_files((FIRST,))


def test_train_rejects_half_a_day_until_it_is_complete(
    week: Installation, installation: Installation, rows: pl.DataFrame
) -> None:
    installation.run_day(FIRST)
    cut = rows.filter(pl.col("order_acknowledged_at") < f"{FIRST}T13")
    cut.write_csv(installation.orders)
    document = error_document(installation.run("train", SECOND, "--json"), 1, "DataError")
    assert str(FIRST) in document.facts
    assert not (installation.results / f"date={SECOND}").exists()
    orders_through(rows, SECOND).write_csv(installation.orders)
    installation.run_day(SECOND)
    assert installation.daily_files(WEEK[:2]) == week.daily_files(WEEK[:2])


def test_late_day_fails_training_but_is_scored(
    week: Installation, installation: Installation, rows: pl.DataFrame
) -> None:
    installation.run_day(FIRST)
    dates = local_dates(rows, installation.restaurants)
    rows.filter((dates < FIRST) | (dates == SECOND)).write_csv(installation.orders)
    document = error_document(installation.run("train", SECOND, "--json"), 1, "DataError")
    assert str(FIRST) in document.facts
    installation.run("score", SECOND).succeeded()
    scored = msgspec.json.decode(
        (installation.results / f"date={SECOND}" / "score.json").read_bytes(), type=DayScoreDocument
    )
    assert (scored.outcome, scored.history_date) == ("scored", FIRST)
    late = pl.concat([rows.filter((dates < FIRST) | (dates == SECOND)), rows.filter(dates == FIRST)])
    late.write_csv(installation.orders)
    installation.run_day(SECOND)
    assert installation.predictions(SECOND).equals(week.predictions(SECOND))


def test_day_delivered_twice_is_used_once(week: Installation, installation: Installation, rows: pl.DataFrame) -> None:
    dates = local_dates(rows, installation.restaurants)
    duplicates = rows.filter((dates == FIRST) | (dates == SECOND))
    pl.concat([orders_through(rows, SECOND), duplicates]).write_csv(installation.orders)
    for date in WEEK[:2]:
        installation.run_day(date)
    for date, count in ((FIRST, (dates == FIRST).sum()), (SECOND, (dates == SECOND).sum())):
        scored = msgspec.json.decode(
            (installation.results / f"date={date}" / "score.json").read_bytes(), type=DayScoreDocument
        )
        assert (scored.orders, scored.duplicate_rows) == (count, count)
        predictions = installation.predictions(date).drop("prediction_bundle")
        assert predictions.equals(week.predictions(date).drop("prediction_bundle"))


def test_invalid_row_affects_only_itself(week: Installation, installation: Installation, rows: pl.DataFrame) -> None:
    """All other rows are byte-identical. For one row in a million, see `test_million_rows.py`."""
    day_rows = (local_dates(rows, installation.restaurants) == SECOND).arg_true()
    with_invalid_row = rows.with_row_index().with_columns(
        number_of_items=pl.when(pl.col("index") == day_rows[7]).then(pl.lit("three")).otherwise("number_of_items")
    )
    orders_through(with_invalid_row.drop("index"), SECOND).write_csv(installation.orders)
    for date in WEEK[:2]:
        installation.run_day(date)
    scored = msgspec.json.decode(
        (installation.results / f"date={SECOND}" / "score.json").read_bytes(), type=DayScoreDocument
    )
    assert (scored.orders, scored.predicted, scored.rejected) == (
        len(day_rows),
        len(day_rows) - 1,
        {"unparsable_number": 1},
    )
    rejected = installation.predictions(SECOND).filter(pl.col("prediction_reason").is_not_null())
    assert rejected["order_id"].to_list() == [rows["order_id"][day_rows[7]]]
    predicted = installation.predictions(SECOND).filter(pl.col("prediction_reason").is_null())
    assert predicted.equals(week.predictions(SECOND).filter(pl.col("order_id") != rows["order_id"][day_rows[7]]))


def test_damaged_new_champion_is_skipped_and_rebuilt(week: Installation, installation: Installation) -> None:
    installation.run_day(FIRST)
    installation.run("train", SECOND).succeeded()
    first, second = champion_bundles(installation)
    damage_file(installation.store, second)
    ran = installation.run("score", SECOND).succeeded()
    assert f"Skipped {second}, which was the champion: {second}/model.onnx: expected SHA-256" in ran.out
    scored = msgspec.json.decode(
        (installation.results / f"date={SECOND}" / "score.json").read_bytes(), type=DayScoreDocument
    )
    assert (scored.bundle, scored.skipped_bundles) == (first, (second,))
    document = error_document(installation.run("train", THIRD, "--json"), 3, "BundleVerificationError")
    assert f"The champion {second} failed verification" in document.facts
    assert "stays in the store" in document.facts
    installation.run_day(SECOND)  # the same content has the same id, so the training rebuilds the bundle
    installation.run_day(THIRD)
    assert installation.daily_files(WEEK[:3]) == week.daily_files(WEEK[:3])


def test_score_fails_if_all_champions_are_damaged(week: Installation, installation: Installation) -> None:
    shutil.copytree(week.store, installation.store)
    for bundle in Store.open(str(installation.store)).bundle_ids():
        damage_file(installation.store, bundle)
    document = error_document(installation.run("score", WEEK[-1], "--json"), 3, "BundleVerificationError")
    assert document.facts.startswith(f"All champions as of {WEEK[-1]} failed verification.")
    assert not installation.results.exists()


def test_failed_comparison_is_a_successful_run(week: Installation) -> None:
    documents = [
        msgspec.json.decode((week.results / f"date={date}/training.json").read_bytes(), type=TrainDocument)
        for date in WEEK
    ]
    failed = [document for document in documents if document.outcome == "refreshed"]
    assert failed
    assert all(document.reason.startswith("Failed: ") and document.champion != document.bundle for document in failed)
