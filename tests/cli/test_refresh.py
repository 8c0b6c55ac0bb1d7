"""`refresh`: the champion's models with this morning's history."""

from __future__ import annotations

from pathlib import Path

from preptime.training.refresh import RefreshDocument
from tests.cli.conftest import DATE, NEXT_DATE, Files, champion
from tests.cli.run_command import preptime, error_document


def test_the_refreshed_bundle_is_the_champion_and_again_changes_nothing(
    files: Files, store: Path, trained: str
) -> None:
    said = [preptime("refresh", *files.options, "--date", NEXT_DATE, "--store", store, "--json").succeeded() for _ in range(2)]
    first, again = (ran.document(RefreshDocument) for ran in said)
    assert first == again
    assert first.parent == trained
    assert champion(store) == first.bundle
    assert f"{first.bundle} is the champion of {store}." in said[0].err


def test_without_a_champion_it_is_wrong_use(files: Files, tmp_path: Path) -> None:
    ran = preptime("refresh", *files.options, "--date", NEXT_DATE, "--store", tmp_path / "none", "--json")
    assert "no champion" in error_document(ran, 2, "UsageError").facts


def test_a_morning_before_the_champions_is_wrong_use(files: Files, store: Path) -> None:
    ran = preptime("refresh", *files.options, "--date", "2015-06-10", "--store", store, "--json")
    assert DATE in error_document(ran, 2, "UsageError").facts


def test_yesterday_must_be_there(files: Files, store: Path, trained: str) -> None:
    ran = preptime("refresh", *files.options, "--date", "2015-06-16", "--store", store, "--json")
    error_document(ran, 1, "DataError")
    assert champion(store) == trained
