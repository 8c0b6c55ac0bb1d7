"""`refresh`: the models of the champion with updated history."""

from __future__ import annotations

from pathlib import Path

from preptime.training.refresh import RefreshDocument
from tests.cli.conftest import DATE, NEXT_DATE, Files, champion
from tests.cli.run_command import error_document, preptime


def test_refresh_is_idempotent(files: Files, store: Path, trained_bundle: str) -> None:
    results = [
        preptime("refresh", *files.options, "--date", NEXT_DATE, "--store", store, "--json").succeeded()
        for _ in range(2)
    ]
    first, second = (result.document(RefreshDocument) for result in results)
    assert first == second
    assert first.parent == trained_bundle
    assert champion(store) == first.bundle
    assert f"{first.bundle} is the champion of {store}." in results[0].err


def test_refresh_without_champion_is_usage_error(files: Files, tmp_path: Path) -> None:
    result = preptime("refresh", *files.options, "--date", NEXT_DATE, "--store", tmp_path / "none", "--json")
    assert "no champion" in error_document(result, 2, "UsageError").facts


def test_refresh_date_before_champion_is_usage_error(files: Files, store: Path) -> None:
    result = preptime("refresh", *files.options, "--date", "2015-06-10", "--store", store, "--json")
    assert DATE in error_document(result, 2, "UsageError").facts


def test_refresh_without_orders_of_yesterday_is_data_error(files: Files, store: Path, trained_bundle: str) -> None:
    result = preptime("refresh", *files.options, "--date", "2015-06-16", "--store", store, "--json")
    error_document(result, 1, "DataError")
    assert champion(store) == trained_bundle
