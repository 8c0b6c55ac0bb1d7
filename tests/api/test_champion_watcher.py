"""The watcher: follows the champion log, refuses what fails a check, and says what it knows."""

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


class Shop:
    """A store, its log, and a watcher that looks when a test says so."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "models"
        self.store = Store.open(str(self.folder))
        self.log = ChampionLog(self.store)
        self.opened: list[str] = []
        self.whole = b""
        """A damaged bundle's model as it was before."""
        self.now = 0.0
        """Seconds on the watcher's clock."""
        self.watcher = ChampionWatcher(
            ChampionLog(self.store),
            self._counting(champion_loader(self.store)),
            poll_seconds=0.05,
            clock=lambda: self.now,
        )

    def promote(self, shift: float, *, damaged: bool = False) -> str:
        """A new bundle becomes the champion."""
        bundle_id = put_bundle(self.store, shift=shift)
        if damaged:
            model = self.folder / "bundles" / bundle_id / "model.onnx"
            self.whole = model.read_bytes()
            model.write_bytes(self.whole[:-1] + b"!")
        self.name(bundle_id)
        return bundle_id

    def name(self, bundle_id: str) -> None:
        """An entry in the log."""
        draft = LogEntryDraft(bundle=bundle_id, date=DAY, action="promote", reason="test", by="test", at="now")
        self.log.append(draft, expected_champion=self.log.current())

    def serves(self) -> str | None:
        """What the watcher serves after a look."""
        self.watcher.poll()
        serving = self.watcher.active_model()
        return serving.bundle.manifest.id if serving else None

    def _counting(self, open_champion: Callable[[LogEntry], ActiveModel]) -> Callable[[LogEntry], ActiveModel]:
        def counted(entry: LogEntry) -> ActiveModel:
            self.opened.append(entry.bundle)
            return open_champion(entry)

        return counted


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """An empty one."""
    return Shop(tmp_path)


def test_watcher_without_champion_waits_for_the_first(shop: Shop) -> None:
    assert shop.serves() is None
    assert shop.watcher.champion_error() is None
    first = shop.promote(1.0)
    assert shop.serves() == first
    assert shop.watcher.champion_error() is None


def test_watcher_new_champion_replaces_and_frees_the_old_one(shop: Shop) -> None:
    first = shop.promote(1.0)
    assert shop.serves() == first
    old = shop.watcher.active_model()
    assert old is not None
    gone = weakref.ref(old.bundle)
    second = shop.promote(2.0)
    assert shop.serves() == second
    assert old.bundle.manifest.id == first  # a request under way still has it
    del old
    gc.collect()
    assert gone() is None


def test_watcher_loads_a_champion_once(shop: Shop) -> None:
    first = shop.promote(1.0)
    assert [shop.serves() for _ in range(3)] == [first] * 3
    assert shop.opened == [first]


def test_watcher_damaged_champion_keeps_the_previous_one(shop: Shop) -> None:
    first = shop.promote(1.0)
    assert shop.serves() == first
    second = shop.promote(2.0, damaged=True)
    assert [shop.serves() for _ in range(3)] == [first] * 3
    assert shop.opened == [first, second]
    refused = shop.watcher.state.rejected
    assert refused is not None
    assert (refused.bundle, refused.champion_number) == (second, 2)
    assert "SHA-256" in (shop.watcher.champion_error() or "")
    third = shop.promote(3.0)
    assert shop.serves() == third
    assert shop.watcher.champion_error() is None


def test_watcher_rejected_champion_retries_with_growing_delay(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    first = shop.promote(1.0)
    assert shop.serves() == first
    second = shop.promote(2.0, damaged=True)
    tries = []
    for shop.now in range(0, 3600, 10):
        before = len(shop.opened)
        assert shop.serves() == first
        tries += [shop.now] * (len(shop.opened) - before)
    assert tries == [0, 60, 180, 420, 900, 1500, 2100, 2700, 3300]
    assert caplog.text.count("Refused") == 1, "said once, not at every try"
    (shop.folder / "bundles" / second / "model.onnx").write_bytes(shop.whole)
    shop.now = 3899.0
    assert shop.serves() == first
    shop.now = 3900.0
    assert shop.serves() == second
    assert shop.watcher.champion_error() is None


def test_watcher_loads_a_bundle_that_arrives_after_promotion(shop: Shop, tmp_path: Path) -> None:
    first = shop.promote(1.0)
    assert shop.serves() == first
    second = put_bundle(shop.store, shift=2.0)
    shop.name(second)
    late = (shop.folder / "bundles" / second).rename(tmp_path / "late")
    assert shop.serves() == first
    assert second in (shop.watcher.champion_error() or "")
    late.rename(shop.folder / "bundles" / second)
    shop.now = 60.0
    assert shop.serves() == second


def test_watcher_unexpected_load_error_rejects_and_continues(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    first = shop.promote(1.0)
    good = champion_loader(shop.store)

    def broken(entry: LogEntry) -> ActiveModel:
        if entry.bundle != first:
            raise ZeroDivisionError(entry.bundle)
        return good(entry)

    watcher = ChampionWatcher(shop.log, broken, poll_seconds=0.05)
    watcher.poll()
    shop.promote(2.0)
    watcher.poll()
    serving = watcher.active_model()
    assert serving is not None
    assert serving.bundle.manifest.id == first
    assert "unexpectedly (ZeroDivisionError)" in (watcher.champion_error() or "")
    assert "Traceback" in caplog.text
    shop.name(first)
    watcher.poll()
    assert watcher.champion_error() is None


def test_watcher_rejected_first_champion_has_no_active_model(shop: Shop) -> None:
    shop.promote(1.0, damaged=True)
    assert shop.serves() is None
    assert "SHA-256" in (shop.watcher.champion_error() or "")


def test_watcher_rollback_to_the_active_bundle_updates_the_entry(shop: Shop) -> None:
    first = shop.promote(1.0)
    assert shop.serves() == first
    shop.promote(2.0, damaged=True)
    assert shop.serves() == first
    shop.log.rollback(reason="damaged", by="test", at="now")
    assert shop.serves() == first
    serving = shop.watcher.active_model()
    assert serving is not None
    assert serving.entry.number == 3
    assert shop.watcher.champion_error() is None
    assert shop.opened.count(first) == 1


def test_watcher_unreadable_log_keeps_the_active_model(shop: Shop) -> None:
    first = shop.promote(1.0)
    assert shop.serves() == first
    log = shop.folder / "champion"
    entry = log / "000001.json"
    content = entry.read_bytes()
    entry.write_bytes(b"{")
    assert shop.serves() == first
    assert "cannot be read" in (shop.watcher.champion_error() or "")
    entry.write_bytes(content)
    assert shop.serves() == first
    assert shop.watcher.champion_error() is None
    assert shop.opened == [first]


def test_watcher_emptied_log_reports_an_error(shop: Shop) -> None:
    first = shop.promote(1.0)
    assert shop.serves() == first
    shutil.rmtree(shop.folder / "champion")
    assert shop.serves() == first
    assert "empty" in (shop.watcher.champion_error() or "")


def test_watcher_skips_a_champion_pruned_while_loading(shop: Shop) -> None:
    first, later = put_bundle(shop.store, shift=1.0), list[str]()
    shop.name(first)
    opener = champion_loader(shop.store)

    def overtaken(entry: LogEntry) -> ActiveModel:
        if not later:
            later.append(shop.promote(2.0))
            shop.store.delete(first)
        return opener(entry)

    watcher = ChampionWatcher(shop.log, overtaken, poll_seconds=0.05)
    watcher.poll()
    serving = watcher.active_model()
    assert serving is not None
    assert [serving.bundle.manifest.id] == later
    assert watcher.champion_error() is None


def test_active_bundle_predicts_after_its_folder_is_removed(shop: Shop) -> None:
    first = shop.promote(1.0)
    assert shop.serves() == first
    serving = shop.watcher.active_model()
    assert serving is not None
    before = serving.bundle.predict(some_orders())
    shutil.rmtree(shop.folder / "bundles" / first, ignore_errors=True)  # a mapped file stays on Windows
    assert (serving.bundle.predict(some_orders()).quantiles == before.quantiles).all()


def test_watcher_thread_polls_and_stops(shop: Shop) -> None:
    first = shop.promote(1.0)
    shop.watcher.start(timeout_seconds=30)
    serving = shop.watcher.active_model()
    assert serving is not None
    assert serving.bundle.manifest.id == first
    shop.watcher.stop()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_watcher_unexpected_error_reports_that_it_stopped(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> LogEntry:
        raise ZeroDivisionError

    monkeypatch.setattr(shop.log, "current", broken)
    watcher = ChampionWatcher(shop.log, champion_loader(shop.store), poll_seconds=0.05)
    watcher.start(timeout_seconds=0.1)
    watcher.stop()
    assert "until the server is restarted" in (watcher.champion_error() or "")


def test_active_model_loaded_at_is_utc(shop: Shop) -> None:
    shop.promote(1.0)
    assert shop.serves()
    serving = shop.watcher.active_model()
    assert serving is not None
    assert dt.datetime.fromisoformat(serving.loaded_at).utcoffset() == dt.timedelta(0)
