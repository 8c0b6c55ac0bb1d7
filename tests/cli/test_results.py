"""`results`: what is there, and what goes when there is too much of it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from preptime.cli.results import ResultsDay, ResultsListDocument, ResultsPruneDocument
from preptime.errors import UsageError
from preptime.sources.results import ResultsFolder
from tests.cli.run_command import preptime, error_document

TWO_DAYS_AGO = time.time() - 2 * 24 * 3600


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five days of results with a gap, one of a mistaken year, and what is somebody else's."""
    root = tmp_path / "results"
    for name in ("2015-06-10", "2015-06-11", "2015-06-14", "2015-06-15", "2099-01-01"):
        (root / f"date={name}").mkdir(parents=True)
        (root / f"date={name}" / "score.json").write_text("{}", encoding="utf-8")
    for other in ("date=2015-02-30", "date=yesterday", "notes"):
        (root / other).mkdir()
    return root


def days(folder: Path) -> list[str]:
    """What the folder's days are now."""
    return [str(day) for day in ResultsFolder(folder).days()]


def test_the_newest_days_with_results_stay_and_what_went_is_said(folder: Path) -> None:
    ran = preptime("results", "prune", "--days", "3", "--results", folder).succeeded()
    assert "Removed 2015-06-10.\nRemoved 2015-06-11.\n" in ran.out
    assert ran.out.endswith("holds the results of 3 days.\n")
    # One date far ahead, run by mistake, has not cost all the others.
    assert days(folder) == ["2015-06-14", "2015-06-15", "2099-01-01"]
    assert {path.name for path in folder.iterdir()} >= {"date=2015-02-30", "date=yesterday", "notes"}


@pytest.mark.parametrize("keep", ["1", "5", "4000"])
def test_the_newest_is_never_removed(keep: str, folder: Path) -> None:
    ran = preptime("results", "prune", "--days", keep, "--results", folder, "--json").succeeded()
    removed = ran.document(ResultsPruneDocument).days
    assert len(removed) == max(0, 5 - int(keep))
    assert days(folder)[-1] == "2099-01-01"
    assert preptime("results", "prune", "--days", keep, "--results", folder, "--json").succeeded().document(
        ResultsPruneDocument
    ) == ResultsPruneDocument([], [])


def test_nonsense_is_wrong_use(folder: Path) -> None:
    for days_ in ("0", "-1", "1.5", "all"):
        assert "--days" in error_document(preptime("results", "prune", "--days", days_, "--results", folder, "--json"), 2,
                                   "UsageError").facts  # fmt: skip
    with pytest.raises(UsageError, match="keep = 0"):
        ResultsFolder(folder).prune(0, 0.0)
    assert len(days(folder)) == 5


def test_what_killed_writers_left_goes_after_a_day(folder: Path) -> None:
    old, new = (folder / "date=2015-06-15" / f".score.json.{name}.tmp" for name in ("00ff00ff00ff", "11ee11ee11ee"))
    for path in (old, new):
        path.write_text("{", encoding="utf-8")
    os.utime(old, (TWO_DAYS_AGO, TWO_DAYS_AGO))
    ran = preptime("results", "prune", "--days", "9", "--results", folder, "--json").succeeded()
    assert ran.document(ResultsPruneDocument).leftovers == [f"date=2015-06-15/{old.name}"]
    assert (old.exists(), new.exists()) == (False, True)


def test_behind_a_link_nothing_is_removed(folder: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "score.json").write_text("{}", encoding="utf-8")
    (folder / "date=2015-06-01").symlink_to(elsewhere)
    preptime("results", "prune", "--days", "5", "--results", folder).succeeded()
    assert days(folder)[0] == "2015-06-10"
    assert (elsewhere / "score.json").exists()


def test_a_folder_that_is_not_there_has_no_days(tmp_path: Path) -> None:
    ran = preptime("results", "prune", "--days", "3", "--results", tmp_path / "none").succeeded()
    assert ran.out == f"{tmp_path / 'none'} holds the results of 0 days.\n"
    assert not (tmp_path / "none").exists()


def test_list_shows_each_day_with_its_files(folder: Path) -> None:
    (folder / "date=2015-06-15" / ".training.json.00ff.tmp").touch()
    (folder / "date=2015-06-15" / "report.html").touch()
    ran = preptime("results", "list", "--results", folder, "--json").succeeded()
    listed = ran.document(ResultsListDocument).days
    assert [str(day.date) for day in listed] == days(folder)
    assert listed[3] == ResultsDay(listed[3].date, ["report.html", "score.json"])
    assert "2015-06-15  report.html, score.json" in ran.err
