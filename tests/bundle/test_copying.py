"""Copies of a store: complete, continued after an interruption, and never over another store."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from preptime.bundle.bundle import fetch_verified
from preptime.bundle.champion_log import ChampionLog
from preptime.bundle.copying import copy_store
from preptime.bundle.store import Store
from preptime.errors import BundleVerificationError, StoreError, UsageError
from scripts import restore_drill
from tests.bundle.factories import put_bundle
from tests.bundle.fake_gcs import BUCKET
from tests.bundle.test_gcs import promote


@pytest.fixture
def source(tmp_path: Path) -> Store:
    """A store with two promotions."""
    store = Store.open(str(tmp_path / "models"))
    promote(store)
    promote(store, shift=1.0)
    return store


def files_of(store: Store) -> dict[str, bytes]:
    root = Path(store.url)
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_copy_has_the_same_bytes_and_champion(source: Store, tmp_path: Path) -> None:
    target = Store.open(str(tmp_path / "backup"))
    copied = copy_store(source, target)
    assert files_of(target) == files_of(source)
    assert (list(copied.bundles), len(copied.log_files)) == (source.bundle_ids(), 2)
    assert ChampionLog(target).current() == ChampionLog(source).current()
    assert copy_store(source, target).bundles == ()


def test_copy_continues_after_an_interruption(source: Store, tmp_path: Path) -> None:
    """The log comes last, so an interrupted copy has no entry whose bundle is missing."""
    target = Store.open(str(tmp_path / "backup"))

    def interrupt(_: str, share: float) -> None:
        if share < 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        copy_store(source, target, progress=interrupt)
    assert (len(target.bundle_ids()), target.log_file_names()) == (1, [])
    third = promote(source, shift=2.0)
    assert third in copy_store(source, target).bundles
    assert files_of(target) == files_of(source)


def test_copy_to_another_store_changes_nothing(source: Store, tmp_path: Path) -> None:
    other = Store.open(str(tmp_path / "other"))
    promote(other, shift=5.0)
    before = files_of(other)
    with pytest.raises(StoreError, match="another champion log"):
        copy_store(source, other)
    ahead = Store.open(str(tmp_path / "ahead"))
    copy_store(source, ahead)
    promote(ahead, shift=3.0)
    with pytest.raises(StoreError, match="another champion log"):
        copy_store(source, ahead)
    assert files_of(other) == before


def log_numbers(store: Store) -> list[int]:
    return [entry.number for entry in ChampionLog(store).read_all().entries]


def test_copy_ignores_other_files_in_the_log_folder(source: Store, tmp_path: Path) -> None:
    target = Store.open(str(tmp_path / "backup"))
    (Path(source.url) / "champion" / "moved").mkdir()
    (Path(source.url) / "champion" / "000009.json.bak").write_bytes(b"{")
    assert copy_store(source, target).log_files == ("000001.json", "000002.json")
    (Path(target.url) / "champion" / ".DS_Store").write_bytes(b"")
    promote(source, shift=2.0)
    assert copy_store(source, target).log_files == ("000003.json",)
    assert log_numbers(target) == [1, 2, 3]


@pytest.mark.parametrize("lost", [1, 2])
def test_copy_has_the_repaired_entry_of_an_earlier_copy(source: Store, tmp_path: Path, lost: int) -> None:
    promote(source, shift=2.0)
    target = Store.open(str(tmp_path / "backup"))
    (Path(source.url) / "champion" / f"00000{lost}.json").unlink()
    assert len(copy_store(source, target).log_files) == 2
    ChampionLog(source).repair(by="test", at="now")
    assert copy_store(source, target).log_files == (f"00000{lost}.json",)
    assert files_of(target) == files_of(source)


def test_copy_keeps_an_entry_that_the_source_lost(source: Store, tmp_path: Path) -> None:
    """The copy is then the backup of that entry, and copying it back restores the entry."""
    target = Store.open(str(tmp_path / "backup"))
    promote(source, shift=2.0)
    copy_store(source, target)
    complete = files_of(target)
    (Path(source.url) / "champion" / "000002.json").unlink()
    promote(source, shift=3.0)
    assert copy_store(source, target).log_files == ("000004.json",)
    assert log_numbers(target) == [1, 2, 3, 4]
    assert copy_store(target, source).log_files == ("000002.json",)
    assert files_of(source) == files_of(target)
    assert complete.items() <= files_of(source).items()
    (Path(source.url) / "champion" / "000002.json").write_bytes(b"another entry")
    with pytest.raises(StoreError, match=r"another champion log: 000002\.json isn't"):
        copy_store(source, target)


@pytest.mark.parametrize("url", ["missing", "empty", "memory"])
def test_copy_from_no_store_is_refused(url: str, tmp_path: Path) -> None:
    """A backup job with a mistyped address must not succeed."""
    (tmp_path / "empty").mkdir()
    source = Store.open("memory://no-such-store" if url == "memory" else str(tmp_path / url))
    with pytest.raises(UsageError, match=f"There is no store at {source.url}"):
        copy_store(source, Store.open(str(tmp_path / "backup")))
    assert not (tmp_path / "backup").exists()


def test_copy_of_a_store_without_promotions_has_its_bundles(store: Store, tmp_path: Path) -> None:
    bundle = put_bundle(store)
    assert copy_store(store, Store.open(str(tmp_path / "backup"))).bundles == (bundle,)


@pytest.mark.parametrize("damage", ["changed", "missing"])
def test_damaged_bundle_is_not_copied(damage: str, source: Store, tmp_path: Path) -> None:
    bundle = source.bundle_ids()[0]
    file = Path(source.url) / "bundles" / bundle / "model.onnx"
    if damage == "changed":
        file.write_bytes(file.read_bytes()[:-1] + b"x")
    else:
        file.unlink()
    target = Store.open(str(tmp_path / "backup"))
    with pytest.raises(BundleVerificationError, match=f"{bundle}/.*model.onnx"):
        copy_store(source, target)
    assert target.bundle_ids() == []


@pytest.mark.parametrize("name", ["model.onnx", "manifest.json"])
def test_copy_from_a_remote_store_replaces_a_damaged_cached_file(name: str, source: Store, tmp_path: Path) -> None:
    remote = Store.open(f"memory://{secrets.token_hex(4)}", cache=tmp_path / "cache")
    copy_store(source, remote)
    (remote.fetch(remote.bundle_ids()[0]) / name).write_bytes(b"damaged")
    target = Store.open(str(tmp_path / "restored"))
    copy_store(remote, target)
    assert files_of(target) == files_of(source)


def test_restore_drill_in_folders_reports_what_a_backup_missed(
    source: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    backup = Store.open(str(tmp_path / "backup"))
    copy_store(source, backup)
    champion = promote(source, shift=2.0)
    before = files_of(source)
    options = ["--store", source.url, "--backup", backup.url, "--restored", str(tmp_path / "restored")]
    assert restore_drill.main(options) == 0
    output = capsys.readouterr().out
    assert f"Champion: {champion}. Bundles of the log that load: 3." in output
    assert "the last backup missed 1 log entries" in output
    assert files_of(source) == before == files_of(Store.open(str(tmp_path / "restored")))
    assert restore_drill.main(options) == 1
    assert "isn't empty" in capsys.readouterr().err


def test_restore_drill_in_a_bucket(
    source: Store, emulator: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The emulator of Cloud Storage holds the backup."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", emulator)
    backup = Store.open(f"gs://{BUCKET}/backup", cache=tmp_path / "cache")
    restored = Store.open(f"gs://{BUCKET}/restored", cache=tmp_path / "cache-2")
    drill = restore_drill.run_drill(source, backup, restored, now=4e9)
    assert drill.champion == fetch_verified(restored, drill.champion).manifest.id
    assert (len(drill.verified), drill.not_in_backup) == (2, 2)
    assert drill.lost_seconds > 0
