"""`bundles`: listing, comparing, promoting, verifying, and pruning bundles."""

from __future__ import annotations

import datetime as dt
import sys
from pathlib import Path

import msgspec
import pytest

from preptime.bundle.champion_log import ChampionLog, LogEntry, LogEntryDraft
from preptime.bundle.manifest import to_json_object
from preptime.bundle.store import Store
from preptime.cli.bundles import (
    BundleListDocument,
    BundlePruneDocument,
    BundleShowDocument,
    BundleVerifyDocument,
    LogRepairDocument,
)
from preptime.evaluation.paired import PairedDifference
from preptime.training.comparison import Comparison, PromotionCheck, describe_difference
from tests.bundle.factories import put_endless_bundle
from tests.cli.conftest import DATE, NEXT_DATE, Files, champion, damage_file
from tests.cli.run_command import CommandResult, error_document, preptime
from tests.requirements import requires
from tests.training.factories import copy_bundle


def run_bundles(command: str, store: Path, *arguments: str) -> CommandResult:
    return preptime("bundles", command, *arguments, "--store", store, "--json")


def refreshed_champion(store: Path) -> str:
    serving = champion(store)
    assert serving is not None
    assert serving.startswith(NEXT_DATE)
    return serving


def test_bundles_list_shows_bundles_and_champion(two_bundle_store: Path, trained_bundle: str) -> None:
    result = run_bundles("list", two_bundle_store).succeeded()
    document = result.document(BundleListDocument)
    refreshed = refreshed_champion(two_bundle_store)
    assert [(row.bundle, row.kind, row.parent, row.champion) for row in document.bundles] == [
        (trained_bundle, "training", None, False),
        (refreshed, "refresh", trained_bundle, True),
    ]
    assert [(entry.number, entry.action) for entry in document.log] == [(1, "promote"), (2, "refresh")]
    assert f": 2 bundles. The champion is {refreshed}." in result.err


def test_bundles_list_reports_unreadable_bundle(two_bundle_store: Path, trained_bundle: str) -> None:
    damage_file(two_bundle_store, trained_bundle, "manifest.json")
    (two_bundle_store / "bundles" / trained_bundle / "manifest.json").write_bytes(b"{}")
    result = run_bundles("list", two_bundle_store).succeeded()
    document = result.document(BundleListDocument)
    assert [row.bundle for row in document.bundles] == [refreshed_champion(two_bundle_store)]
    assert [item.bundle for item in document.unreadable] == [trained_bundle]
    assert f"Can't read {trained_bundle}:" in result.err


def test_bundles_show_returns_manifest_and_log_entries(store: Path, trained_bundle: str) -> None:
    result = run_bundles("show", store, trained_bundle).succeeded()
    document = result.document(BundleShowDocument)
    assert document.manifest.id == trained_bundle
    assert [entry.bundle for entry in document.champion_since] == [trained_bundle]
    assert "2015-06-12 (uses events before local midnight)" in result.err


def test_bundles_show_and_compare_have_the_gates_comparison(store: Path, trained_bundle: str, files: Files) -> None:
    bundle_store = Store.open(str(store))
    log = ChampionLog(bundle_store)
    challenger = copy_bundle(bundle_store, trained_bundle, data_fingerprint="another", weak_models=("rf",))
    difference = PairedDifference("champion", 3, 500, 400.0, 402.0, -2.0, 0.5)
    check = PromotionCheck("Significantly better than the champion", describe_difference(difference), passed=True)
    comparison = Comparison(
        challenger,
        trained_bundle,
        dt.date(2015, 6, 9),
        dt.date(2015, 6, 11),
        500,
        400.0,
        402.0,
        450.0,
        0.8,
        (check,),
        (difference,),
        reduced=True,
    )
    draft = LogEntryDraft(
        bundle=challenger,
        date=dt.date.fromisoformat(DATE),
        action="promote",
        reason="Passed.",
        by="test",
        at="",
        comparison=to_json_object(comparison),
    )
    log.append(draft, log.current())
    shown = run_bundles("show", store, challenger).succeeded()
    assert msgspec.convert(shown.document(BundleShowDocument).comparison, Comparison, strict=False) == comparison
    assert "rf (not better than the global median)" in " ".join(shown.err.split())
    assert f"{challenger} (reduced set) compared with {trained_bundle}" in shown.err
    compared = run_bundles("compare", store, trained_bundle, *files.options, "--to", "2015-06-11").succeeded()
    text = " ".join(compared.err.replace("│", " ").split())
    document = compared.document(Comparison)
    assert document.orders == 0
    assert "Use --to 2015-06-12 or later: there are orders through" in document.checks[0].result
    assert "The gate's comparison (log entry 2):" in text
    assert "(-2.0 s, standard error 0.5 s, significant from 1.5 s)" in text


@pytest.mark.parametrize(
    "command",
    [
        ("bundles", "list"),
        ("bundles", "show", "x"),
        ("bundles", "verify"),
        ("bundles", "promote", "x", "--reason", "why not"),
        ("bundles", "rollback", "--reason", "why not"),
        ("bundles", "compare", "x", "y", "--orders", "orders.csv"),
        ("bundles", "repair-log"),
        ("schema", "show", "--bundle", "x"),
        ("score", "orders.csv"),
    ],
    ids=" ".join,
)
def test_missing_folder_is_not_an_empty_store(
    command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command says so, and creates no folder. A store at a URL has no folder."""
    monkeypatch.chdir(tmp_path)
    refused = error_document(preptime(*command, "--store", "my models", "--json"), 2, "UsageError")
    assert refused.facts == "The store my models doesn't exist."
    assert refused.hint.endswith("create it: preptime train --store 'my models' --orders ORDERS --date DATE.")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "my models").mkdir()
    other = preptime(*command, "--store", "my models", "--json")
    assert "The store my models doesn't exist" not in other.err


def test_url_is_listed_without_a_folder() -> None:
    assert preptime("bundles", "list", "--store", "memory://listed").succeeded().out.startswith("memory://listed: 0")


def test_hint_for_an_unknown_bundle_has_the_store(tmp_path: Path) -> None:
    store = tmp_path / "my models"
    store.mkdir()
    hint = error_document(run_bundles("show", store, "x"), 2, "UsageError").hint
    assert hint == f"To list its bundles: preptime bundles list --store '{store}'."


def test_unknown_bundle_is_usage_error(store: Path, files: Files) -> None:
    unknown = f"{DATE}-000000000000"
    calls = [
        run_bundles("show", store, unknown),
        run_bundles("promote", store, unknown, "--reason", "why not"),
        run_bundles("verify", store, unknown),
        run_bundles("compare", store, unknown, *files.options),
    ]
    for result in calls:
        assert unknown in error_document(result, 2, "UsageError").facts


def test_bundles_compare_does_not_promote(two_bundle_store: Path, trained_bundle: str, files: Files) -> None:
    serving = refreshed_champion(two_bundle_store)
    result = run_bundles("compare", two_bundle_store, trained_bundle, *files.options, "--to", DATE).succeeded()
    document = result.document(Comparison)
    assert (document.challenger, document.champion) == (trained_bundle, serving)
    assert str(document.last_day) == DATE
    assert not document.passed
    assert champion(two_bundle_store) == serving


def test_bundles_promote_and_rollback(two_bundle_store: Path, trained_bundle: str) -> None:
    refreshed = refreshed_champion(two_bundle_store)
    result = run_bundles("promote", two_bundle_store, trained_bundle, "--reason", "riders wait in Leeds").succeeded()
    entry = result.document(LogEntry)
    assert (entry.action, entry.previous, entry.reason) == ("override", refreshed, "riders wait in Leeds")
    assert f"promoted without comparison {trained_bundle}: riders wait in Leeds" in result.err
    assert champion(two_bundle_store) == trained_bundle
    assert (
        f"rolled back to {refreshed}"
        in run_bundles("rollback", two_bundle_store, "--reason", "they do not").succeeded().err
    )
    assert champion(two_bundle_store) == refreshed


def test_bundles_rollback_stops_at_first_champion(two_bundle_store: Path, trained_bundle: str) -> None:
    refreshed = refreshed_champion(two_bundle_store)
    run_bundles("promote", two_bundle_store, trained_bundle, "--reason", "first").succeeded()
    champions = []
    for _ in range(2):
        run_bundles("rollback", two_bundle_store, "--reason", "again").succeeded()
        champions.append(champion(two_bundle_store))
    assert champions == [refreshed, trained_bundle]
    document = error_document(run_bundles("rollback", two_bundle_store, "--reason", "once more"), 2, "UsageError")
    assert "no earlier champion" in document.facts
    assert champion(two_bundle_store) == trained_bundle


def test_damaged_bundle_is_refused(two_bundle_store: Path, trained_bundle: str, files: Files) -> None:
    serving = refreshed_champion(two_bundle_store)
    damage_file(two_bundle_store, trained_bundle)
    result = run_bundles("promote", two_bundle_store, trained_bundle, "--reason", "I know better")
    assert "model.onnx" in error_document(result, 3, "BundleVerificationError").facts
    result = run_bundles("rollback", two_bundle_store, "--reason", "I know better")
    error_document(result, 3, "BundleVerificationError")
    out = two_bundle_store.parent / "out.csv"
    result = preptime(
        "score", files.orders, "--out", out, "--store", two_bundle_store, "--bundle", trained_bundle, "--json"
    )
    error_document(result, 3, "BundleVerificationError")
    assert not out.exists()
    assert champion(two_bundle_store) == serving


def test_bundles_verify_names_the_damaged_file(two_bundle_store: Path, trained_bundle: str) -> None:
    assert {
        item.error
        for item in run_bundles("verify", two_bundle_store).succeeded().document(BundleVerifyDocument).bundles
    } == {None}
    damage_file(two_bundle_store, trained_bundle)
    result = run_bundles("verify", two_bundle_store)
    assert result.status == 3
    errors = {item.bundle: item.error for item in result.document(BundleVerifyDocument).bundles}
    assert errors[refreshed_champion(two_bundle_store)] is None
    assert "model.onnx" in (errors[trained_bundle] or "")
    assert run_bundles("verify", two_bundle_store, refreshed_champion(two_bundle_store)).status == 0


@pytest.mark.parametrize("damaged", [False, True])
def test_bundles_verify_reports_the_results_before_an_error(store: Path, trained_bundle: str, damaged: bool) -> None:
    if damaged:
        damage_file(store, trained_bundle)
    unknown = f"{DATE}-000000000000"
    result = run_bundles("verify", store, trained_bundle, unknown)
    assert unknown in error_document(result, 2, "UsageError").facts
    lines = " ".join(result.err.split())
    reported, error = f"{trained_bundle}: ok", f"Error: {store} has no bundle '{unknown}'"
    if damaged:
        reported = f"{trained_bundle}: {trained_bundle}/model.onnx: expected SHA-256"
    assert -1 < lines.find(reported) < lines.find(error)


def test_bundles_copy_from_a_mistyped_store_is_refused(store: Path) -> None:
    result = run_bundles("copy", store.with_name("typo"), "--to", str(store.with_name("backup")))
    assert "There is no store at" in error_document(result, 2, "UsageError").facts
    assert "Bundles copied: 1." in run_bundles("copy", store, "--to", str(store.with_name("backup"))).succeeded().err


def test_bundles_prune_keeps_champion_and_parents(two_bundle_store: Path, trained_bundle: str) -> None:
    assert run_bundles("prune", two_bundle_store, "--keep", "0").succeeded().document(BundlePruneDocument).bundles == []
    refreshed = refreshed_champion(two_bundle_store)
    run_bundles("rollback", two_bundle_store, "--reason", "a test").succeeded()
    result = run_bundles("prune", two_bundle_store, "--keep", "0").succeeded()
    assert result.document(BundlePruneDocument).bundles == [refreshed]
    assert [row.bundle for row in run_bundles("list", two_bundle_store).document(BundleListDocument).bundles] == [
        trained_bundle
    ]
    assert champion(two_bundle_store) == trained_bundle


def test_bundles_list_reports_a_gap_and_repair_log_fills_it(two_bundle_store: Path, trained_bundle: str) -> None:
    run_bundles("promote", two_bundle_store, trained_bundle, "--reason", "first").succeeded()
    before = run_bundles("list", two_bundle_store).succeeded().document(BundleListDocument)
    assert before.missing_log_entries == ()
    (two_bundle_store / "champion" / "000002.json").unlink()
    result = run_bundles("list", two_bundle_store).succeeded()
    document = result.document(BundleListDocument)
    assert document.missing_log_entries == (2,)
    assert [entry.number for entry in document.log] == [1, 3]
    assert document.bundles == before.bundles
    assert "Entry 2 is missing:" in result.err
    assert f"preptime bundles repair-log --store {two_bundle_store}" in result.err
    assert "Entries written: 1." in run_bundles("repair-log", two_bundle_store).succeeded().err
    after = run_bundles("list", two_bundle_store).succeeded().document(BundleListDocument)
    assert after.missing_log_entries == ()
    assert [entry.bundle for entry in after.log] == [entry.bundle for entry in before.log]
    assert run_bundles("repair-log", two_bundle_store).succeeded().document(LogRepairDocument).log == ()
    refreshed = before.log[1].bundle
    run_bundles("rollback", two_bundle_store, "--reason", "it works").succeeded()
    assert champion(two_bundle_store) == refreshed


def test_bundles_promote_refuses_control_characters(two_bundle_store: Path, trained_bundle: str) -> None:
    result = run_bundles("promote", two_bundle_store, trained_bundle, "--reason", "\x1b[2Jgone")
    assert "U+001B at position 1" in error_document(result, 2, "UsageError").facts


def test_bundles_verify_uses_the_limits_of_the_settings(
    two_bundle_store: Path, trained_bundle: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    requires(sys.platform == "linux", "memory is limited only on Linux")
    monkeypatch.setenv("PREPTIME_BUNDLE_LOAD_MEMORY_MB", "64")
    result = run_bundles("verify", two_bundle_store, trained_bundle)
    assert result.status == 3
    assert "PREPTIME_BUNDLE_LOAD_MEMORY_MB" in (result.document(BundleVerifyDocument).bundles[0].error or "")


def test_commands_end_at_the_limit_with_an_endless_champion(
    store: Path, trained_bundle: str, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its graph was promoted without verification. Every command that loads it ends with one sentence."""
    monkeypatch.setenv("PREPTIME_BUNDLE_LOAD_TIMEOUT_SECONDS", "1")
    day = dt.date.fromisoformat(DATE)
    log, endless = ChampionLog(Store.open(str(store))), put_endless_bundle(Store.open(str(store)), day)
    draft = LogEntryDraft(bundle=endless, date=day, action="promote", reason="test", by="test", at="now")
    log.append(draft, log.current())
    out, predictions = store.parent / "out.csv", store.parent / "results"
    sentence = (
        f"{endless}: expected a bundle that loads and predicts its golden orders within 1 s, found no result. "
        "Use another bundle, or set PREPTIME_BUNDLE_LOAD_TIMEOUT_SECONDS to a larger number."
    )
    for arguments in (
        ("score", str(files.orders), "--out", str(out)),
        ("refresh", *files.options, "--date", NEXT_DATE),
        ("bundles", "compare", trained_bundle, *files.options),
    ):
        result = preptime(*arguments, "--store", store)
        assert (result.status, result.out) == (3, ""), result.err
        assert sentence in " ".join(result.err.split()), result.err
        assert "Traceback" not in result.err
    assert not out.exists()
    assert champion(store) == endless
    daily = preptime("score", "--date", DATE, *files.options, "--results", predictions, "--store", store).succeeded()
    assert f"Skipped {endless}, which was the champion: {sentence.partition(' Use')[0]}" in daily.out
    assert f"{trained_bundle} predicted" in daily.out
