"""`results`: listing and pruning the daily results."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from preptime.cli.results import ResultsDay, ResultsListDocument, ResultsPruneDocument
from preptime.errors import UsageError
from preptime.sources.results import ResultsFolder
from tests.cli.run_command import error_document, preptime

TWO_DAYS_AGO = time.time() - 2 * 24 * 3600


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with five days of results, one of them in a wrong year, and with unrelated folders."""
    root = tmp_path / "results"
    for name in ("2015-06-10", "2015-06-11", "2015-06-14", "2015-06-15", "2099-01-01"):
        (root / f"date={name}").mkdir(parents=True)
        (root / f"date={name}" / "score.json").write_text("{}", encoding="utf-8")
    for other in ("date=2015-02-30", "date=yesterday", "notes"):
        (root / other).mkdir()
    return root


def days(folder: Path) -> list[str]:
    """Return the days that have results."""
    return [str(day) for day in ResultsFolder(folder).days()]


def test_results_list_of_a_missing_folder_is_usage_error(tmp_path: Path) -> None:
    missing = tmp_path / "nothing"
    document = error_document(preptime("results", "list", "--results", missing, "--json"), 2, "UsageError")
    assert document.facts == f"The folder {missing} of the results doesn't exist."
    missing.mkdir()
    assert preptime("results", "list", "--results", missing).succeeded().out.endswith("results of 0 days.\n")


def test_results_prune_keeps_newest_days(folder: Path) -> None:
    result = preptime("results", "prune", "--days", "3", "--results", folder).succeeded()
    assert "Removed 2015-06-10.\nRemoved 2015-06-11.\n" in result.out
    assert result.out.endswith(": results of 3 days.\n")
    # One date in the far future, run by mistake, doesn't remove all others.
    assert days(folder) == ["2015-06-14", "2015-06-15", "2099-01-01"]
    assert {path.name for path in folder.iterdir()} >= {"date=2015-02-30", "date=yesterday", "notes"}


@pytest.mark.parametrize("keep", ["1", "5", "4000"])
def test_results_prune_never_removes_newest_day(keep: str, folder: Path) -> None:
    result = preptime("results", "prune", "--days", keep, "--results", folder, "--json").succeeded()
    removed = result.document(ResultsPruneDocument).days
    assert len(removed) == max(0, 5 - int(keep))
    assert days(folder)[-1] == "2099-01-01"
    assert preptime("results", "prune", "--days", keep, "--results", folder, "--json").succeeded().document(
        ResultsPruneDocument
    ) == ResultsPruneDocument([], [])


def test_results_prune_invalid_days_is_usage_error(folder: Path) -> None:
    for days_ in ("0", "-1", "1.5", "all"):
        result = preptime("results", "prune", "--days", days_, "--results", folder, "--json")
        assert "--days" in error_document(result, 2, "UsageError").facts
    with pytest.raises(UsageError, match="keep is 0"):
        ResultsFolder(folder).prune(0, 0.0)
    assert len(days(folder)) == 5


def test_results_prune_removes_old_temporary_files(folder: Path) -> None:
    old, new = (folder / "date=2015-06-15" / f".score.json.{name}.tmp" for name in ("00ff00ff00ff", "11ee11ee11ee"))
    for path in (old, new):
        path.write_text("{", encoding="utf-8")
    os.utime(old, (TWO_DAYS_AGO, TWO_DAYS_AGO))
    result = preptime("results", "prune", "--days", "9", "--results", folder, "--json").succeeded()
    assert result.document(ResultsPruneDocument).leftovers == [f"date=2015-06-15/{old.name}"]
    assert (old.exists(), new.exists()) == (False, True)


def test_results_prune_does_not_follow_links(folder: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "score.json").write_text("{}", encoding="utf-8")
    (folder / "date=2015-06-01").symlink_to(elsewhere)
    preptime("results", "prune", "--days", "5", "--results", folder).succeeded()
    assert days(folder)[0] == "2015-06-10"
    assert (elsewhere / "score.json").exists()


def test_results_prune_missing_folder_has_no_days(tmp_path: Path) -> None:
    result = preptime("results", "prune", "--days", "3", "--results", tmp_path / "none").succeeded()
    assert result.out == f"{tmp_path / 'none'}: results of 0 days.\n"
    assert not (tmp_path / "none").exists()


def test_results_list_shows_days_and_files(folder: Path) -> None:
    (folder / "date=2015-06-15" / ".training.json.00ff.tmp").touch()
    (folder / "date=2015-06-15" / "report.html").touch()
    result = preptime("results", "list", "--results", folder, "--json").succeeded()
    listed = result.document(ResultsListDocument).days
    assert [str(day.date) for day in listed] == days(folder)
    assert listed[3] == ResultsDay(listed[3].date, ["report.html", "score.json"])
    assert "2015-06-15  report.html, score.json" in result.err
