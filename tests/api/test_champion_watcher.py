"""The champion watcher: loads new champions, rejects bundles that fail verification, and reports its state."""

from __future__ import annotations

import datetime as dt
import gc
import shutil
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest

from preptime.api.active_model import ActiveModel
from preptime.api.champion_watcher import ChampionWatcher, champion_loader
from preptime.bundle.champion_log import ChampionLog, LogEntry, LogEntryDraft
from preptime.bundle.store import Store
from tests.bundle.factories import DAY, put_bundle, some_orders


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
        self.watcher = ChampionWatcher(
            ChampionLog(self.store),
            self._recording(champion_loader(self.store)),
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
        """Poll once and return the ID of the active bundle."""
        self.watcher.poll()
        active_model = self.watcher.active_model()
        return active_model.bundle.manifest.id if active_model else None

    def _recording(self, load_champion: Callable[[LogEntry], ActiveModel]) -> Callable[[LogEntry], ActiveModel]:
        def record_and_load(entry: LogEntry) -> ActiveModel:
            self.loaded.append(entry.bundle)
            return load_champion(entry)

        return record_and_load


@pytest.fixture
def watched(tmp_path: Path) -> WatchedStore:
    """Return an empty store."""
    return WatchedStore(tmp_path)


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
    load = champion_loader(watched.store)

    def fail(entry: LogEntry) -> ActiveModel:
        if entry.bundle != first:
            raise ZeroDivisionError(entry.bundle)
        return load(entry)

    watcher = ChampionWatcher(watched.log, fail, poll_seconds=0.05)
    watcher.poll()
    watched.promote(2.0)
    watcher.poll()
    active_model = watcher.active_model()
    assert active_model is not None
    assert active_model.bundle.manifest.id == first
    assert "unexpectedly (ZeroDivisionError)" in (watcher.champion_error() or "")
    assert "Traceback" in caplog.text
    watched.append_entry(first)
    watcher.poll()
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


def test_watcher_skips_a_champion_pruned_while_loading(watched: WatchedStore) -> None:
    first, later = put_bundle(watched.store, shift=1.0), list[str]()
    watched.append_entry(first)
    load = champion_loader(watched.store)

    def load_after_promotion(entry: LogEntry) -> ActiveModel:
        if not later:
            later.append(watched.promote(2.0))
            watched.store.delete(first)
        return load(entry)

    watcher = ChampionWatcher(watched.log, load_after_promotion, poll_seconds=0.05)
    watcher.poll()
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
    watcher = ChampionWatcher(watched.log, champion_loader(watched.store), poll_seconds=0.05)
    watcher.start(timeout_seconds=0.1)
    watcher.stop()
    assert "Restart the server" in (watcher.champion_error() or "")


def test_active_model_loaded_at_is_utc(watched: WatchedStore) -> None:
    watched.promote(1.0)
    assert watched.poll()
    active_model = watched.watcher.active_model()
    assert active_model is not None
    assert dt.datetime.fromisoformat(active_model.loaded_at).utcoffset() == dt.timedelta(0)
