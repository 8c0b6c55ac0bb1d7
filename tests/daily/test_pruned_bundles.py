"""What pruning took: a past morning makes its champion again, and nothing answers in a lost champion's place."""

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
from tests.cli.run_command import preptime, error_document
from tests.daily.factories import LAST, WEEK, Installation


@pytest.fixture
def pruned(week: Installation, tmp_path: Path) -> Installation:
    """The week, its results too, with little left in the store."""
    place = Installation.in_folder(tmp_path, week.orders, week.restaurants)
    shutil.copytree(week.store, place.store)
    shutil.copytree(week.results, place.results)
    preptime("bundles", "prune", "--keep", "1", "--store", place.store).succeeded()
    return place


def entries(place: Installation) -> list[LogEntry]:
    """The champion log."""
    return ChampionLog(Store.open(str(place.store))).entries()


def bundles(place: Installation) -> set[str]:
    """What the store has."""
    return set(Store.open(str(place.store)).bundle_ids())


def gone(place: Installation, action: str) -> LogEntry:
    """The first champion made by `action` that the store no longer has."""
    return next(one for one in entries(place) if one.action == action and one.bundle not in bundles(place))


def models_of(place: Installation, refresh: LogEntry) -> LogEntry:
    """The promotion whose models a refresh has."""
    return [one for one in entries(place) if one.number < refresh.number and one.action == "promote"][-1]


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
    date = gone(pruned, "promote").date
    pruned.run_day(date)
    assert pruned.daily_files() == week.daily_files()


def test_pruned_refresh_requires_its_training_first(week: Installation, pruned: Installation) -> None:
    lost = gone(pruned, "refresh")
    trained = models_of(pruned, lost)
    shutil.rmtree(pruned.store / "bundles" / trained.bundle, ignore_errors=True)
    document = error_document(pruned.run("train", lost.date, "--json"), 2, "UsageError")
    assert f"{lost.bundle}, the champion of the morning of {lost.date}, does not open" in document.facts
    assert f"the models of {trained.bundle}, which does not open there either" in document.facts
    assert document.hint.startswith(f"Run preptime train --date {trained.date} again first.")
    assert pruned.daily_files() == week.daily_files()
    pruned.run("train", trained.date).succeeded()
    pruned.run_day(lost.date)
    assert lost.bundle in bundles(pruned)
    assert pruned.daily_files() == week.daily_files()


def test_rerun_rebuilds_damaged_refresh(week: Installation, pruned: Installation) -> None:
    lost = gone(pruned, "refresh")
    pruned.run("train", models_of(pruned, lost).date).succeeded()
    pruned.run("train", lost.date).succeeded()
    damage_file(pruned.store, lost.bundle)
    pruned.run_day(lost.date)
    assert pruned.daily_files() == week.daily_files()


def test_score_never_replaces_pruned_champion_of_past_day(week: Installation, pruned: Installation) -> None:
    for lost in (gone(pruned, "refresh"), gone(pruned, "promote")):
        document = error_document(pruned.run("score", lost.date, "--json"), 2, "UsageError")
        assert document.facts.startswith(f"{lost.bundle}, the champion of the morning of {lost.date}, does not open: ")
        assert "has no bundle" in document.facts
        assert document.hint.startswith(f"Run preptime train --date {lost.date} again first")
        assert pruned.daily_files() == week.daily_files()
    # Nor where the results were pruned as well: the backfill would give what the morning did not.
    shutil.rmtree(pruned.results)
    error_document(pruned.run("score", lost.date, "--json"), 2, "UsageError")
    assert not pruned.results.exists()


def test_score_keeps_results_of_damaged_champion(week: Installation, pruned: Installation) -> None:
    newest = entries(pruned)[-1]
    damage_file(pruned.store, newest.bundle)
    document = error_document(pruned.run("score", LAST, "--json"), 2, "UsageError")
    assert f"the results of that day are answers of {newest.bundle}" in document.facts
    assert pruned.daily_files() == week.daily_files()
    # A morning that nobody answered is better answered by the one before.
    shutil.rmtree(pruned.results / f"date={LAST}")
    ran = pruned.run("score", LAST).succeeded()
    assert f"{newest.bundle} was champion and is refused" in ran.out
    pruned.run("score", LAST).succeeded()  # and again: those answers are its own


def test_score_keeps_results_with_unreadable_document(pruned: Installation) -> None:
    damage_file(pruned.store, entries(pruned)[-1].bundle)
    (pruned.results / f"date={LAST}" / "score.json").write_text("{")
    before = pruned.daily_files()
    document = error_document(pruned.run("score", LAST, "--json"), 3, "OperationError")
    assert "it is not known whose answers the day has" in document.facts
    assert pruned.daily_files() == before


@pytest.mark.parametrize("action", ["promote", "refresh"])
def test_rerun_with_changed_orders_is_rejected(
    action: str, rows: pl.DataFrame, week: Installation, pruned: Installation, tmp_path: Path
) -> None:
    """An order of the first day has gone from the table since."""
    lost = gone(pruned, action)
    if action == "refresh":
        pruned.run("train", models_of(pruned, lost).date).succeeded()
    changed = Installation.in_folder(tmp_path, tmp_path / "orders.csv", week.restaurants)
    rows[1:].write_csv(changed.orders)
    document = error_document(changed.run("train", lost.date, "--json"), 2, "UsageError")
    assert lost.bundle in document.facts
    assert document.hint.startswith("The orders known that morning, or the release")
    assert lost.bundle not in bundles(changed)
    assert changed.daily_files() == week.daily_files()


def test_week_has_pruned_promotion_and_refresh(week: Installation, pruned: Installation) -> None:
    """Otherwise the tests above would ask less than they say."""
    assert gone(pruned, "promote").date < gone(pruned, "refresh").date < LAST
    told = {
        msgspec.json.decode((week.results / f"date={date}/training.json").read_bytes(), type=TrainDocument).outcome
        for date in (gone(pruned, "promote").date, gone(pruned, "refresh").date)
    }
    assert told == {"promoted", "refreshed"}
