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
from tests.cli.conftest import damage
from tests.cli.run_command import preptime, refused
from tests.daily.factories import LAST, WEEK, Place


@pytest.fixture
def pruned(week: Place, tmp_path: Path) -> Place:
    """The week, its results too, with little left in the store."""
    place = Place.below(tmp_path, week.orders, week.restaurants)
    shutil.copytree(week.store, place.store)
    shutil.copytree(week.results, place.results)
    preptime("bundles", "prune", "--keep", "1", "--store", place.store).fine()
    return place


def entries(place: Place) -> list[LogEntry]:
    """The champion log."""
    return ChampionLog(Store.open(str(place.store))).entries()


def bundles(place: Place) -> set[str]:
    """What the store has."""
    return set(Store.open(str(place.store)).bundle_ids())


def gone(place: Place, action: str) -> LogEntry:
    """The first champion made by `action` that the store no longer has."""
    return next(one for one in entries(place) if one.action == action and one.bundle not in bundles(place))


def models_of(place: Place, refresh: LogEntry) -> LogEntry:
    """The promotion whose models a refresh has."""
    return [one for one in entries(place) if one.number < refresh.number and one.action == "promote"][-1]


def test_a_week_pruned_and_run_again_gives_the_same_files_and_bundles(week: Place, pruned: Place) -> None:
    assert len(bundles(pruned)) < len(bundles(week))
    log = entries(pruned)
    shutil.rmtree(pruned.results)
    for date in WEEK:
        pruned.day(date)
        pruned.watch(date)
    assert pruned.all_written() == week.all_written()
    assert any(path.endswith(RESPONSE_FILE) for path in pruned.all_written())
    assert bundles(pruned) == bundles(week)
    assert entries(pruned) == log


def test_a_promoted_morning_alone(week: Place, pruned: Place) -> None:
    date = gone(pruned, "promote").date
    pruned.day(date)
    assert pruned.written() == week.written()


def test_a_refreshed_morning_needs_the_morning_of_its_models_first(week: Place, pruned: Place) -> None:
    lost = gone(pruned, "refresh")
    trained = models_of(pruned, lost)
    shutil.rmtree(pruned.store / "bundles" / trained.bundle, ignore_errors=True)
    document = refused(pruned.run("train", lost.date, "--json"), 2, "UsageError")
    assert f"{lost.bundle}, the champion of the morning of {lost.date}, does not open" in document.facts
    assert f"the models of {trained.bundle}, which does not open there either" in document.facts
    assert document.hint.startswith(f"Run preptime train --date {trained.date} again first.")
    assert pruned.written() == week.written()
    pruned.run("train", trained.date).fine()
    pruned.day(lost.date)
    assert lost.bundle in bundles(pruned)
    assert pruned.written() == week.written()


def test_a_damaged_refresh_is_mended_by_its_morning(week: Place, pruned: Place) -> None:
    lost = gone(pruned, "refresh")
    pruned.run("train", models_of(pruned, lost).date).fine()
    pruned.run("train", lost.date).fine()
    damage(pruned.store, lost.bundle)
    pruned.day(lost.date)
    assert pruned.written() == week.written()


def test_scoring_alone_puts_no_other_bundles_answers_in_a_lost_champions_place(week: Place, pruned: Place) -> None:
    for lost in (gone(pruned, "refresh"), gone(pruned, "promote")):
        document = refused(pruned.run("score", lost.date, "--json"), 2, "UsageError")
        assert document.facts.startswith(f"{lost.bundle}, the champion of the morning of {lost.date}, does not open: ")
        assert "has no bundle" in document.facts
        assert document.hint.startswith(f"Run preptime train --date {lost.date} again first")
        assert pruned.written() == week.written()
    # Nor where the results were pruned as well: the backfill would give what the morning did not.
    shutil.rmtree(pruned.results)
    refused(pruned.run("score", lost.date, "--json"), 2, "UsageError")
    assert not pruned.results.exists()


def test_a_champion_lost_since_it_answered_is_not_replaced_by_the_one_before(week: Place, pruned: Place) -> None:
    newest = entries(pruned)[-1]
    damage(pruned.store, newest.bundle)
    document = refused(pruned.run("score", LAST, "--json"), 2, "UsageError")
    assert f"the results of that day are answers of {newest.bundle}" in document.facts
    assert pruned.written() == week.written()
    # A morning that nobody answered is better answered by the one before.
    shutil.rmtree(pruned.results / f"date={LAST}")
    ran = pruned.run("score", LAST).fine()
    assert f"{newest.bundle} was champion and is refused" in ran.out
    pruned.run("score", LAST).fine()  # and again: those answers are its own


def test_a_results_document_that_cannot_be_read_is_no_reason_to_write_over_it(pruned: Place) -> None:
    damage(pruned.store, entries(pruned)[-1].bundle)
    (pruned.results / f"date={LAST}" / "score.json").write_text("{")
    before = pruned.written()
    document = refused(pruned.run("score", LAST, "--json"), 3, "OperationError")
    assert "it is not known whose answers the day has" in document.facts
    assert pruned.written() == before


@pytest.mark.parametrize("action", ["promote", "refresh"])
def test_other_orders_than_then_make_another_bundle_which_is_refused(
    action: str, rows: pl.DataFrame, week: Place, pruned: Place, tmp_path: Path
) -> None:
    """An order of the first day has gone from the table since."""
    lost = gone(pruned, action)
    if action == "refresh":
        pruned.run("train", models_of(pruned, lost).date).fine()
    changed = Place.below(tmp_path, tmp_path / "orders.csv", week.restaurants)
    rows[1:].write_csv(changed.orders)
    document = refused(changed.run("train", lost.date, "--json"), 2, "UsageError")
    assert lost.bundle in document.facts
    assert document.hint.startswith("The orders known that morning, or the release")
    assert lost.bundle not in bundles(changed)
    assert changed.written() == week.written()


def test_the_week_has_both_kinds_to_lose(week: Place, pruned: Place) -> None:
    """Otherwise the tests above would ask less than they say."""
    assert gone(pruned, "promote").date < gone(pruned, "refresh").date < LAST
    told = {
        msgspec.json.decode((week.results / f"date={date}/training.json").read_bytes(), type=TrainDocument).outcome
        for date in (gone(pruned, "promote").date, gone(pruned, "refresh").date)
    }
    assert told == {"promoted", "refreshed"}
