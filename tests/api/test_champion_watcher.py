"""The champion watcher: loads new champions, rejects bundles that fail verification, and reports its state."""

from __future__ import annotations

import datetime as dt
import gc
import os
import shutil
import sys
import threading
import weakref
from pathlib import Path

import pytest

from preptime.api import champion_loading
from preptime.api.active_model import ActiveModel
from preptime.api.champion_loading import ChampionLoader, SharedChecks
from preptime.api.champion_watcher import ChampionWatcher, LoadChampion
from preptime.bundle.champion_log import ChampionLog, LogEntry, LogEntryDraft
from preptime.bundle.isolated_check import Cancellation, check_folder
from preptime.bundle.manifest import refused_bundle_error
from preptime.bundle.store import CheckLimits, Store
from preptime.errors import BundleVerificationError
from tests.api.factories import LOAD_SECONDS, poll_and_load
from tests.bundle.factories import (
    DAY,
    damage_remote_bundle,
    put_bundle,
    put_endless_bundle,
    remote_store,
    some_orders,
)


class WatchedStore:
    """A store, its champion log, and a watcher that polls when a test calls `poll`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "models"
        self.store = Store.open(str(self.folder))
        self.log = ChampionLog(self.store)
        self.loaded: list[str] = []
        self.intact_model = b""
        """The model file of a damaged bundle before the damage."""
        self.now = 0.0
        """Time on the watcher's clock, in seconds."""
        self.load_champion = self._recording(ChampionLoader(self.store, SharedChecks(None)))
        self.watcher = ChampionWatcher(
            ChampionLog(self.store),
            self.load_champion,
            poll_seconds=0.05,
            clock=lambda: self.now,
        )

    def promote(self, shift: float, *, damaged: bool = False) -> str:
        """Put a new bundle into the store and make it the champion. Return its ID."""
        bundle_id = put_bundle(self.store, shift=shift)
        if damaged:
            model = self.folder / "bundles" / bundle_id / "model.onnx"
            self.intact_model = model.read_bytes()
            model.write_bytes(self.intact_model[:-1] + b"!")
        self.append_entry(bundle_id)
        return bundle_id

    def append_entry(self, bundle_id: str) -> None:
        """Append an entry to the champion log."""
        draft = LogEntryDraft(bundle=bundle_id, date=DAY, action="promote", reason="test", by="test", at="now")
        self.log.append(draft, expected_champion=self.log.current())

    def poll(self) -> str | None:
        """Poll, wait for the load, and return the ID of the active bundle."""
        poll_and_load(self.watcher)
        active_model = self.watcher.active_model()
        return active_model.bundle.manifest.id if active_model else None

    def poll_times(self) -> tuple[float | None, float | None]:
        """Return when the log was last read, and how long ago."""
        return self.watcher.last_poll_at, self.watcher.seconds_since_poll

    def _recording(self, load_champion: LoadChampion) -> LoadChampion:
        def record_and_load(entry: LogEntry, cancellation: Cancellation) -> ActiveModel:
            self.loaded.append(entry.bundle)
            return load_champion(entry, cancellation)

        return record_and_load


@pytest.fixture
def watched(tmp_path: Path) -> WatchedStore:
    """Return an empty store."""
    return WatchedStore(tmp_path)


def test_watcher_uses_earlier_champion_if_a_remote_file_is_gone(tmp_path: Path) -> None:
    store = remote_store(tmp_path)
    log, first, second = ChampionLog(store), put_bundle(store), put_bundle(store, shift=1.0)
    for bundle in (first, second):
        log.override(bundle, reason="test", by="test", at="now")
    store.drop_cached_copy(second)
    damage_remote_bundle(store, second, None)
    watcher = ChampionWatcher(log, ChampionLoader(store, SharedChecks(None)), poll_seconds=0.05)
    poll_and_load(watcher)
    active_model = watcher.active_model()
    assert active_model is not None
    assert active_model.bundle.manifest.id == first
    assert "golden.json: expected a file, found no file" in (watcher.champion_error() or "")


def test_watcher_without_champion_waits_for_the_first(watched: WatchedStore) -> None:
    assert watched.poll() is None
    assert watched.watcher.champion_error() is None
    first = watched.promote(1.0)
    assert watched.poll() == first
    assert watched.watcher.champion_error() is None


def test_watcher_new_champion_replaces_and_frees_the_old_one(watched: WatchedStore) -> None:
    first = watched.promote(1.0)
    assert watched.poll() == first
    old = watched.watcher.active_model()
    assert old is not None
    old_bundle = weakref.ref(old.bundle)
    second = watched.promote(2.0)
    assert watched.poll() == second
    assert old.bundle.manifest.id == first  # A running request still uses it.
    del old
    gc.collect()
    assert old_bundle() is None


def test_watcher_loads_a_champion_once(watched: WatchedStore) -> None:
    first = watched.promote(1.0)
    assert [watched.poll() for _ in range(3)] == [first] * 3
    assert watched.loaded == [first]


def test_watcher_damaged_champion_keeps_the_previous_one(watched: WatchedStore) -> None:
    first = watched.promote(1.0)
    assert watched.poll() == first
    second = watched.promote(2.0, damaged=True)
    assert [watched.poll() for _ in range(3)] == [first] * 3
    assert watched.loaded == [first, second]
    rejected = watched.watcher.state.rejected
    assert rejected is not None
    assert (rejected.bundle, rejected.champion_number) == (second, 2)
    assert "SHA-256" in (watched.watcher.champion_error() or "")
    third = watched.promote(3.0)
    assert watched.poll() == third
    assert watched.watcher.champion_error() is None


def test_watcher_rejected_champion_retries_with_growing_delay(
    watched: WatchedStore, caplog: pytest.LogCaptureFixture
) -> None:
    first = watched.promote(1.0)
    assert watched.poll() == first
    second = watched.promote(2.0, damaged=True)
    attempts = []
    for watched.now in range(0, 3600, 10):
        before = len(watched.loaded)
        assert watched.poll() == first
        attempts += [watched.now] * (len(watched.loaded) - before)
    assert attempts == [0, 60, 180, 420, 900, 1500, 2100, 2700, 3300]
    assert caplog.text.count("Rejected") == 1, "logged once, not at every attempt"
    (watched.folder / "bundles" / second / "model.onnx").write_bytes(watched.intact_model)
    watched.now = 3899.0
    assert watched.poll() == first
    watched.now = 3900.0
    assert watched.poll() == second
    assert watched.watcher.champion_error() is None


def test_watcher_loads_a_bundle_that_arrives_after_promotion(watched: WatchedStore, tmp_path: Path) -> None:
    first = watched.promote(1.0)
    assert watched.poll() == first
    second = put_bundle(watched.store, shift=2.0)
    watched.append_entry(second)
    moved = (watched.folder / "bundles" / second).rename(tmp_path / "moved")
    assert watched.poll() == first
    assert second in (watched.watcher.champion_error() or "")
    moved.rename(watched.folder / "bundles" / second)
    watched.now = 60.0
    assert watched.poll() == second


def test_watcher_unexpected_load_error_rejects_and_continues(
    watched: WatchedStore, caplog: pytest.LogCaptureFixture
) -> None:
    first = watched.promote(1.0)
    load = ChampionLoader(watched.store, SharedChecks(None))

    def fail(entry: LogEntry, cancellation: Cancellation) -> ActiveModel:
        if entry.bundle != first:
            raise ZeroDivisionError(entry.bundle)
        return load(entry, cancellation)

    watcher = ChampionWatcher(watched.log, fail, poll_seconds=0.05)
    poll_and_load(watcher)
    watched.promote(2.0)
    poll_and_load(watcher)
    active_model = watcher.active_model()
    assert active_model is not None
    assert active_model.bundle.manifest.id == first
    assert "unexpectedly (ZeroDivisionError)" in (watcher.champion_error() or "")
    # Not `caplog.text`: the loggers of PySpark change the format of pytest's handler.
    errors = [record.exc_info[1] for record in caplog.records if record.exc_info]
    assert [type(error) for error in errors] == [ZeroDivisionError]
    watched.append_entry(first)
    poll_and_load(watcher)
    assert watcher.champion_error() is None


def test_watcher_rejected_first_champion_has_no_active_model(watched: WatchedStore) -> None:
    watched.promote(1.0, damaged=True)
    assert watched.poll() is None
    assert "SHA-256" in (watched.watcher.champion_error() or "")


def test_watcher_rollback_to_the_active_bundle_updates_the_entry(watched: WatchedStore) -> None:
    first = watched.promote(1.0)
    assert watched.poll() == first
    watched.promote(2.0, damaged=True)
    assert watched.poll() == first
    watched.log.rollback(reason="damaged", by="test", at="now")
    assert watched.poll() == first
    active_model = watched.watcher.active_model()
    assert active_model is not None
    assert active_model.entry.number == 3
    assert watched.watcher.champion_error() is None
    assert watched.loaded.count(first) == 1


def test_watcher_unreadable_log_keeps_the_active_model(watched: WatchedStore) -> None:
    first = watched.promote(1.0)
    assert watched.poll() == first
    log = watched.folder / "champion"
    entry = log / "000001.json"
    content = entry.read_bytes()
    entry.write_bytes(b"{")
    assert watched.poll() == first
    assert "cannot be read" in (watched.watcher.champion_error() or "")
    entry.write_bytes(content)
    assert watched.poll() == first
    assert watched.watcher.champion_error() is None
    assert watched.loaded == [first]


def test_watcher_emptied_log_reports_an_error(watched: WatchedStore) -> None:
    first = watched.promote(1.0)
    assert watched.poll() == first
    shutil.rmtree(watched.folder / "champion")
    assert watched.poll() == first
    assert "empty" in (watched.watcher.champion_error() or "")


@pytest.mark.parametrize("has_active_model", [True, False])
def test_watcher_missing_store_after_a_rejection_is_unavailable(watched: WatchedStore, has_active_model: bool) -> None:
    first = watched.promote(1.0) if has_active_model else None
    assert watched.poll() == first
    watched.promote(2.0, damaged=True)
    watched.now = 10.0
    assert watched.poll() == first
    assert watched.watcher.is_store_available()
    watched.folder.rename(watched.folder.with_name("moved"))
    watched.now = 75.0
    assert watched.poll() == first
    assert not watched.watcher.is_store_available()
    assert watched.poll_times() == (10.0, 65.0)
    watched.folder.with_name("moved").rename(watched.folder)
    assert watched.poll() == first
    assert watched.watcher.is_store_available()
    assert watched.poll_times() == (75.0, 0.0)


def test_watcher_skips_a_champion_pruned_while_loading(watched: WatchedStore) -> None:
    first, later = put_bundle(watched.store, shift=1.0), list[str]()
    watched.append_entry(first)
    load = ChampionLoader(watched.store, SharedChecks(None))

    def load_after_promotion(entry: LogEntry, cancellation: Cancellation) -> ActiveModel:
        if not later:
            later.append(watched.promote(2.0))
            watched.store.delete(first)
        return load(entry, cancellation)

    watcher = ChampionWatcher(watched.log, load_after_promotion, poll_seconds=0.05)
    poll_and_load(watcher)
    active_model = watcher.active_model()
    assert active_model is not None
    assert [active_model.bundle.manifest.id] == later
    assert watcher.champion_error() is None


def test_active_bundle_predicts_after_its_folder_is_removed(watched: WatchedStore) -> None:
    first = watched.promote(1.0)
    assert watched.poll() == first
    active_model = watched.watcher.active_model()
    assert active_model is not None
    before = active_model.bundle.predict(some_orders())
    shutil.rmtree(watched.folder / "bundles" / first, ignore_errors=True)  # On Windows, a mapped file isn't removed.
    assert (active_model.bundle.predict(some_orders()).quantiles == before.quantiles).all()


def test_watcher_thread_polls_and_stops(watched: WatchedStore) -> None:
    first = watched.promote(1.0)
    watched.watcher.start(timeout_seconds=30)
    active_model = watched.watcher.active_model()
    assert active_model is not None
    assert active_model.bundle.manifest.id == first
    watched.watcher.stop()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_watcher_unexpected_error_reports_that_it_stopped(
    watched: WatchedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> LogEntry:
        raise ZeroDivisionError

    monkeypatch.setattr(watched.log, "current", fail)
    watcher = ChampionWatcher(watched.log, watched.load_champion, poll_seconds=0.05)
    watcher.start(timeout_seconds=0.1)
    watcher.stop()
    assert "Restart the server" in (watcher.champion_error() or "")


def test_active_model_loaded_at_is_utc(watched: WatchedStore) -> None:
    watched.promote(1.0)
    assert watched.poll()
    active_model = watched.watcher.active_model()
    assert active_model is not None
    assert dt.datetime.fromisoformat(active_model.loaded_at).utcoffset() == dt.timedelta(0)


class CountedChecks:
    """Counts the checks that start, and passes them on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folders: list[str] = []
        self._lock = threading.Lock()
        monkeypatch.setattr(champion_loading, "check_folder", self._check)

    def _check(self, folder: Path, limits: CheckLimits, cancellation: Cancellation) -> str:
        with self._lock:
            self.folders.append(folder.name)
        return check_folder(folder, limits, cancellation)


def test_watcher_follows_the_log_while_a_check_never_ends(watched: WatchedStore) -> None:
    first = watched.promote(1.0)
    assert watched.poll() == first
    endless = put_endless_bundle(watched.store)
    watched.append_entry(endless)
    watched.watcher.poll()
    hanging = watched.watcher._load
    assert hanging is not None
    for watched.now in (1.0, 2.0):
        watched.watcher.poll()
        assert watched.watcher._load is hanging, "the check is still running"
        assert watched.watcher.seconds_since_poll == 0.0
    assert watched.watcher.champion_error() is None
    third = watched.promote(3.0)
    assert watched.poll() == third
    assert watched.watcher.champion_error() is None
    assert hanging.finished.wait(LOAD_SECONDS), "the superseded check is ended"
    assert watched.loaded == [first, endless, third]


def test_watcher_endless_champion_is_rejected_at_the_limit(watched: WatchedStore) -> None:
    first = watched.promote(1.0)
    load = ChampionLoader(watched.store, SharedChecks(None, CheckLimits(timeout_seconds=3)))
    watcher = ChampionWatcher(watched.log, load, poll_seconds=0.05)
    poll_and_load(watcher)
    watched.append_entry(put_endless_bundle(watched.store))
    poll_and_load(watcher)
    active_model = watcher.active_model()
    assert active_model is not None
    assert active_model.bundle.manifest.id == first
    assert "within 3 s, found no result" in (watcher.champion_error() or "")


def test_watcher_without_active_model_says_that_it_loads(watched: WatchedStore) -> None:
    endless = put_endless_bundle(watched.store)
    watched.append_entry(endless)
    watched.watcher.poll()
    assert watched.watcher.champion_error() == f"Bundle {endless} (champion 1) is being loaded and checked."
    assert watched.promote(1.0) == watched.poll()
    assert watched.watcher.champion_error() is None


def test_watcher_time_since_last_poll_grows_while_log_fails(watched: WatchedStore) -> None:
    assert watched.poll_times() == (None, None)
    first = watched.promote(1.0)
    watched.now = 10.0
    assert watched.poll() == first
    assert watched.poll_times() == (10.0, 0.0)
    entry = watched.folder / "champion" / "000001.json"
    content = entry.read_bytes()
    entry.write_bytes(b"{")
    watched.now = 75.0
    watched.poll()
    assert watched.poll_times() == (10.0, 65.0)
    entry.write_bytes(content)
    watched.poll()
    assert watched.poll_times() == (75.0, 0.0)


def test_watcher_falls_back_past_a_gap_in_the_log(watched: WatchedStore) -> None:
    first = watched.promote(1.0)
    watched.promote(2.0)
    watched.promote(3.0, damaged=True)
    (watched.folder / "champion" / "000002.json").unlink()
    assert watched.poll() == first
    assert "SHA-256" in (watched.watcher.champion_error() or "")


def test_workers_share_a_passed_check(watched: WatchedStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checks = CountedChecks(monkeypatch)
    bundle = watched.promote(1.0)
    watchers = [
        ChampionWatcher(watched.log, ChampionLoader(watched.store, SharedChecks(tmp_path / "checks")), poll_seconds=1)
        for _ in range(4)
    ]
    for watcher in watchers:
        watcher.poll()  # all loads run at the same time
    for watcher in watchers:
        poll_and_load(watcher)
        active_model = watcher.active_model()
        assert active_model is not None
        assert active_model.bundle.manifest.id == bundle
    assert checks.folders == [bundle] * (4 if sys.platform == "win32" else 1)


def test_workers_share_a_failed_check_of_one_promotion(
    watched: WatchedStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks = CountedChecks(monkeypatch)
    monkeypatch.setattr(champion_loading, "FAILURE_REUSE_SECONDS", 3600.0)
    shared = SharedChecks(tmp_path / "checks")
    bundle = watched.promote(1.0, damaged=True)
    folder = watched.store.fetch(bundle)
    for _ in range(3):
        with pytest.raises(BundleVerificationError, match="SHA-256"):
            shared.check(folder, 1, Cancellation())
    assert checks.folders == [bundle]
    (folder / "model.onnx").write_bytes(watched.intact_model)
    assert len(shared.check(folder, 2, Cancellation())) == 64, "another promotion is checked again"
    assert checks.folders == [bundle] * 2
    (folder / "model.onnx").write_bytes(watched.intact_model[:-1] + b"!")
    with pytest.raises(BundleVerificationError, match="SHA-256"):
        ChampionLoader(watched.store, shared)(watched.log.entries()[0], Cancellation())
    assert checks.folders == [bundle] * 2, "every worker compares the hashes of the files"


def test_old_failed_check_is_not_used(watched: WatchedStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checks = CountedChecks(monkeypatch)
    monkeypatch.setattr(champion_loading, "FAILURE_REUSE_SECONDS", 0.0)
    shared = SharedChecks(tmp_path / "checks")
    folder = watched.store.fetch(watched.promote(1.0, damaged=True))
    for _ in range(2):
        with pytest.raises(BundleVerificationError, match="SHA-256"):
            shared.check(folder, 1, Cancellation())
    assert len(checks.folders) == 2


@pytest.mark.parametrize("changed", ["code", "limits"])
def test_passed_check_of_another_release_is_not_used(
    watched: WatchedStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: str
) -> None:
    """The folder of a WSGI server stays when the server is upgraded."""
    checks = CountedChecks(monkeypatch)
    bundle, limits = watched.promote(1.0), CheckLimits()
    folder = watched.store.fetch(bundle)
    for _ in range(2):
        SharedChecks(tmp_path / "checks", limits).check(folder, 1, Cancellation())
    assert checks.folders == [bundle]
    checks.folders.clear()
    if changed == "code":
        monkeypatch.setattr(champion_loading, "_code_sha256", lambda: "of the next release")
        monkeypatch.setattr(champion_loading, "check_folder", refuse_golden_orders)
        with pytest.raises(BundleVerificationError, match="golden order"):
            ChampionLoader(watched.store, SharedChecks(tmp_path / "checks"))(watched.log.entries()[0], Cancellation())
    else:
        SharedChecks(tmp_path / "checks", CheckLimits(memory_mb=511)).check(folder, 1, Cancellation())
        assert checks.folders == [bundle]


def refuse_golden_orders(folder: Path, limits: CheckLimits, cancellation: Cancellation) -> str:
    """Check like a release that computes other features."""
    raise refused_bundle_error(f"{folder.name}/golden.json", "the features of golden order 0", "others")


def test_code_of_a_check_is_that_of_preptime_and_its_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    code_sha256 = champion_loading._code_sha256.__wrapped__
    before = code_sha256()
    assert code_sha256() == before
    monkeypatch.setattr(champion_loading, "version", lambda library: f"next {library}")
    assert code_sha256() != before
    monkeypatch.undo()
    read_bytes = Path.read_bytes
    monkeypatch.setattr(
        Path, "read_bytes", lambda path: read_bytes(path) + b"#" * (path.parts[-2:] == ("features", "history.py"))
    )
    assert code_sha256() != before


def test_written_check_deletes_old_results(
    watched: WatchedStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks, folder = SharedChecks(tmp_path / "checks"), tmp_path / "checks"
    damaged = watched.store.fetch(watched.promote(1.0, damaged=True))
    with pytest.raises(BundleVerificationError):
        checks.check(damaged, 1, Cancellation())
    checks.check(watched.store.fetch(watched.promote(2.0)), 2, Cancellation())
    assert [len([*folder.glob(f"*.{kind}")]) for kind in ("passed", "failed")] == [1, 1]
    for path in folder.glob("bundle-*.*ed"):
        os.utime(path, (0, 0))
    checks.check(watched.store.fetch(watched.promote(3.0)), 3, Cancellation())
    with pytest.raises(BundleVerificationError):
        checks.check(damaged, 4, Cancellation())
    assert [len([*folder.glob(f"*.{kind}")]) for kind in ("passed", "failed")] == [1, 1]
