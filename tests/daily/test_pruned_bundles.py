"""Tests of pruned bundles: a rerun rebuilds them, and no other bundle replaces a pruned champion."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import polars as pl
import pytest

from preptime.bundle.champion_log import ChampionLog, LogEntry
from preptime.bundle.store import Store
from preptime.sources.results import RESPONSE_FILE
from preptime.training.train import TrainDocument
from tests.cli.conftest import damage_file
from tests.cli.run_command import error_document, preptime
from tests.daily.factories import LAST, WEEK, Installation


@pytest.fixture
def pruned(week: Installation, tmp_path: Path) -> Installation:
    """Return a copy of the week with a pruned store."""
    installation = Installation.in_folder(tmp_path, week.orders, week.restaurants)
    shutil.copytree(week.store, installation.store)
    shutil.copytree(week.results, installation.results)
    preptime("bundles", "prune", "--keep", "1", "--store", installation.store).succeeded()
    return installation


def entries(installation: Installation) -> list[LogEntry]:
    """Return the champion log."""
    return ChampionLog(Store.open(str(installation.store))).entries()


def bundles(installation: Installation) -> set[str]:
    """Return the bundles in the store."""
    return set(Store.open(str(installation.store)).bundle_ids())


def first_pruned(installation: Installation, action: str) -> LogEntry:
    """Return the entry of the first champion with this action whose bundle was pruned."""
    return next(
        entry for entry in entries(installation) if entry.action == action and entry.bundle not in bundles(installation)
    )


def promotion_of(installation: Installation, refresh: LogEntry) -> LogEntry:
    """Return the promotion entry of the models that a refresh has."""
    return [entry for entry in entries(installation) if entry.number < refresh.number and entry.action == "promote"][-1]


def test_rerun_after_pruning_restores_files_and_bundles(week: Installation, pruned: Installation) -> None:
    assert len(bundles(pruned)) < len(bundles(week))
    log = entries(pruned)
    shutil.rmtree(pruned.results)
    for date in WEEK:
        pruned.run_day(date)
        pruned.run_monitoring(date)
    assert pruned.all_files() == week.all_files()
    assert any(path.endswith(RESPONSE_FILE) for path in pruned.all_files())
    assert bundles(pruned) == bundles(week)
    assert entries(pruned) == log


def test_rerun_of_pruned_promotion_restores_it(week: Installation, pruned: Installation) -> None:
    date = first_pruned(pruned, "promote").date
    pruned.run_day(date)
    assert pruned.daily_files() == week.daily_files()


def test_pruned_refresh_requires_its_training_first(week: Installation, pruned: Installation) -> None:
    missing = first_pruned(pruned, "refresh")
    trained = promotion_of(pruned, missing)
    shutil.rmtree(pruned.store / "bundles" / trained.bundle, ignore_errors=True)
    document = error_document(pruned.run("train", missing.date, "--json"), 2, "UsageError")
    assert f"{missing.bundle}, the champion as of {missing.date}, is missing or damaged" in document.facts
    assert f"and so is {trained.bundle}, which has its models" in document.facts
    assert document.hint.startswith(f"First, run preptime train --date {trained.date} again.")
    assert pruned.daily_files() == week.daily_files()
    pruned.run("train", trained.date).succeeded()
    pruned.run_day(missing.date)
    assert missing.bundle in bundles(pruned)
    assert pruned.daily_files() == week.daily_files()


def test_rerun_rebuilds_damaged_refresh(week: Installation, pruned: Installation) -> None:
    missing = first_pruned(pruned, "refresh")
    pruned.run("train", promotion_of(pruned, missing).date).succeeded()
    pruned.run("train", missing.date).succeeded()
    damage_file(pruned.store, missing.bundle)
    pruned.run_day(missing.date)
    assert pruned.daily_files() == week.daily_files()


def test_score_never_replaces_pruned_champion_of_past_day(week: Installation, pruned: Installation) -> None:
    for missing in (first_pruned(pruned, "refresh"), first_pruned(pruned, "promote")):
        document = error_document(pruned.run("score", missing.date, "--json"), 2, "UsageError")
        assert document.facts.startswith(f"{missing.bundle}, the champion as of {missing.date}, failed verification: ")
        assert "has no bundle" in document.facts
        assert document.hint.startswith(f"Run preptime train --date {missing.date} again")
        assert pruned.daily_files() == week.daily_files()
    # The same applies without results: another bundle would give other predictions than the original run.
    shutil.rmtree(pruned.results)
    error_document(pruned.run("score", missing.date, "--json"), 2, "UsageError")
    assert not pruned.results.exists()


def test_score_keeps_results_of_damaged_champion(week: Installation, pruned: Installation) -> None:
    newest = entries(pruned)[-1]
    damage_file(pruned.store, newest.bundle)
    document = error_document(pruned.run("score", LAST, "--json"), 2, "UsageError")
    assert f"the results of that day are predictions of {newest.bundle}" in document.facts
    assert pruned.daily_files() == week.daily_files()
    # A day without results is predicted by the previous champion.
    shutil.rmtree(pruned.results / f"date={LAST}")
    ran = pruned.run("score", LAST).succeeded()
    assert f"Skipped {newest.bundle}, which was the champion" in ran.out
    pruned.run("score", LAST).succeeded()  # a rerun accepts the results of the same bundle


def test_score_keeps_results_with_unreadable_document(pruned: Installation) -> None:
    damage_file(pruned.store, entries(pruned)[-1].bundle)
    (pruned.results / f"date={LAST}" / "score.json").write_text("{")
    before = pruned.daily_files()
    document = error_document(pruned.run("score", LAST, "--json"), 3, "OperationError")
    assert f"the bundle that predicted {LAST} is unknown" in document.facts
    assert pruned.daily_files() == before


@pytest.mark.parametrize("action", ["promote", "refresh"])
def test_rerun_with_changed_orders_is_rejected(
    action: str, rows: pl.DataFrame, week: Installation, pruned: Installation, tmp_path: Path
) -> None:
    """An order of the first day was deleted from the table."""
    missing = first_pruned(pruned, action)
    if action == "refresh":
        pruned.run("train", promotion_of(pruned, missing).date).succeeded()
    changed = Installation.in_folder(tmp_path, tmp_path / "orders.csv", week.restaurants)
    rows[1:].write_csv(changed.orders)
    document = error_document(changed.run("train", missing.date, "--json"), 2, "UsageError")
    assert missing.bundle in document.facts
    assert document.hint.startswith("The orders of that date, or the versions of preptime")
    assert missing.bundle not in bundles(changed)
    assert changed.daily_files() == week.daily_files()


def test_week_has_pruned_promotion_and_refresh(week: Installation, pruned: Installation) -> None:
    """Check that the week has the cases that the other tests use."""
    assert first_pruned(pruned, "promote").date < first_pruned(pruned, "refresh").date < LAST
    outcomes = {
        msgspec.json.decode((week.results / f"date={date}/training.json").read_bytes(), type=TrainDocument).outcome
        for date in (first_pruned(pruned, "promote").date, first_pruned(pruned, "refresh").date)
    }
    assert outcomes == {"promoted", "refreshed"}
