"""`bundles`: what is there, what serves, and how a person changes that."""

from __future__ import annotations

from pathlib import Path

from preptime.bundle.champion_log import LogEntry
from preptime.cli.bundles import BundleListDocument, BundlePruneDocument, BundleShowDocument, BundleVerifyDocument
from preptime.training.comparison import Comparison
from tests.cli.conftest import DATE, NEXT_DATE, Files, champion, damage_file
from tests.cli.run_command import CommandResult, preptime, error_document


def run_bundles(verb: str, store: Path, *arguments: str) -> CommandResult:
    return preptime("bundles", verb, *arguments, "--store", store, "--json")


def refreshed_champion(store: Path) -> str:
    serving = champion(store)
    assert serving is not None
    assert serving.startswith(NEXT_DATE)
    return serving


def test_list_shows_all_and_who_serves(two: Path, trained: str) -> None:
    ran = run_bundles("list", two).succeeded()
    document = ran.document(BundleListDocument)
    refreshed = refreshed_champion(two)
    assert [(row.bundle, row.kind, row.parent, row.champion) for row in document.bundles] == [
        (trained, "training", None, False),
        (refreshed, "refresh", trained, True),
    ]
    assert [(entry.number, entry.action) for entry in document.log] == [(1, "promote"), (2, "refresh")]
    assert f"holds 2 bundles. The champion is {refreshed}." in ran.err


def test_list_survives_a_bundle_that_it_cannot_read(two: Path, trained: str) -> None:
    damage_file(two, trained, "manifest.json")
    (two / "bundles" / trained / "manifest.json").write_bytes(b"{}")
    ran = run_bundles("list", two).succeeded()
    document = ran.document(BundleListDocument)
    assert [row.bundle for row in document.bundles] == [refreshed_champion(two)]
    assert [one.bundle for one in document.unreadable] == [trained]
    assert f"{trained} cannot be read." in ran.err


def test_show_is_the_manifest_and_when_it_served(store: Path, trained: str) -> None:
    ran = run_bundles("show", store, trained).succeeded()
    document = ran.document(BundleShowDocument)
    assert document.manifest.id == trained
    assert [entry.bundle for entry in document.champion_since] == [trained]
    assert "before the morning of 2015-06-12" in ran.err


def test_an_unknown_bundle_is_wrong_use(store: Path, files: Files) -> None:
    unknown = f"{DATE}-000000000000"
    calls = [
        run_bundles("show", store, unknown),
        run_bundles("promote", store, unknown, "--reason", "why not"),
        run_bundles("verify", store, unknown),
        run_bundles("compare", store, unknown, *files.options),
    ]
    for ran in calls:
        assert unknown in error_document(ran, 2, "UsageError").facts


def test_compare_is_a_comparison_and_promotes_nothing(two: Path, trained: str, files: Files) -> None:
    serving = refreshed_champion(two)
    ran = run_bundles("compare", two, trained, *files.options, "--to", DATE).succeeded()
    document = ran.document(Comparison)
    assert (document.challenger, document.champion) == (trained, serving)
    assert str(document.last_day) == DATE
    assert not document.passed
    assert champion(two) == serving


def test_a_person_promotes_with_a_reason_and_goes_back(two: Path, trained: str) -> None:
    refreshed = refreshed_champion(two)
    ran = run_bundles("promote", two, trained, "--reason", "riders wait in Leeds").succeeded()
    entry = ran.document(LogEntry)
    assert (entry.action, entry.previous, entry.reason) == ("override", refreshed, "riders wait in Leeds")
    assert f"promoted, past the comparison, {trained}: riders wait in Leeds" in ran.err
    assert champion(two) == trained
    assert f"went back to {refreshed}" in run_bundles("rollback", two, "--reason", "they do not").succeeded().err
    assert champion(two) == refreshed


def test_rolling_back_twice_goes_back_twice_and_then_no_further(two: Path, trained: str) -> None:
    refreshed = refreshed_champion(two)
    run_bundles("promote", two, trained, "--reason", "first").succeeded()
    found = []
    for _ in range(2):
        run_bundles("rollback", two, "--reason", "again").succeeded()
        found.append(champion(two))
    assert found == [refreshed, trained]
    document = error_document(run_bundles("rollback", two, "--reason", "once more"), 2, "UsageError")
    assert "no earlier champion" in document.facts
    assert champion(two) == trained


def test_a_damaged_bundle_is_refused_and_the_champion_stays(two: Path, trained: str, files: Files) -> None:
    serving = refreshed_champion(two)
    damage_file(two, trained)
    ran = run_bundles("promote", two, trained, "--reason", "I know better")
    assert "model.onnx" in error_document(ran, 3, "BundleVerificationError").facts
    ran = run_bundles("rollback", two, "--reason", "I know better")
    error_document(ran, 3, "BundleVerificationError")
    out = two.parent / "out.csv"
    ran = preptime("score", files.orders, "--out", out, "--store", two, "--bundle", trained, "--json")
    error_document(ran, 3, "BundleVerificationError")
    assert not out.exists()
    assert champion(two) == serving


def test_verify_names_what_is_damaged_in_one_document(two: Path, trained: str) -> None:
    assert {one.error for one in run_bundles("verify", two).succeeded().document(BundleVerifyDocument).bundles} == {None}
    damage_file(two, trained)
    ran = run_bundles("verify", two)
    assert ran.status == 3
    found = {one.bundle: one.error for one in ran.document(BundleVerifyDocument).bundles}
    assert found[refreshed_champion(two)] is None
    assert "model.onnx" in (found[trained] or "")
    assert run_bundles("verify", two, refreshed_champion(two)).status == 0


def test_prune_keeps_the_champion_and_what_it_needs(two: Path, trained: str) -> None:
    assert run_bundles("prune", two, "--keep", "0").succeeded().document(BundlePruneDocument).bundles == []
    refreshed = refreshed_champion(two)
    run_bundles("rollback", two, "--reason", "a test").succeeded()
    ran = run_bundles("prune", two, "--keep", "0").succeeded()
    assert ran.document(BundlePruneDocument).bundles == [refreshed]
    assert [row.bundle for row in run_bundles("list", two).document(BundleListDocument).bundles] == [trained]
    assert champion(two) == trained
