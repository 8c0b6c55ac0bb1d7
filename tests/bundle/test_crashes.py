"""Crashes while publishing: the store stays consistent, and repeating the command completes it."""

from __future__ import annotations

import datetime as dt
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from preptime.bundle.bundle import fetch_verified
from preptime.bundle.champion_log import ChampionLog, LogEntryDraft
from preptime.bundle.store import Store
from tests.bundle.factories import DAY, put_bundle
from tests.requirements import requires

OLDEST, CHAMPION, CHALLENGER = DAY - dt.timedelta(days=1), DAY, DAY + dt.timedelta(days=1)


class CrashScenario:
    """A store with an old bundle and a champion, and the files of a challenger."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.before = folder / "before"
        store = Store.open(str(self.before))
        self.old = put_bundle(store, OLDEST)
        self.champion = put_bundle(store, CHAMPION)
        draft = LogEntryDraft(bundle=self.champion, date=CHAMPION, action="promote", reason="first", by="test", at="")
        ChampionLog(store).append(draft, None)
        challenger_store = Store.open(str(folder / "aside"))
        self.challenger = put_bundle(challenger_store, CHALLENGER)
        self.source = challenger_store.fetch(self.challenger)

    def publish(
        self, name: str, step: int = 0, length: int | None = None
    ) -> tuple[Store, subprocess.CompletedProcess[str]]:
        """Run the crashing process on a copy of the store, which is created if it doesn't exist."""
        root = self._folder / name
        if not root.exists():
            shutil.copytree(self.before, root)
        script = Path(__file__).with_name("crash_during_write.py")
        command = [sys.executable, str(script), str(root), str(self.source), self.challenger, self.old, str(step)]
        if length is not None:
            command.append(str(length))
        return Store.open(str(root)), subprocess.run(command, capture_output=True, text=True, check=False)

    def assert_consistent(self, store: Store) -> None:
        """Assert that all listed bundles are complete, and that the champion is one of the two."""
        bundle_ids = store.bundle_ids()
        for bundle_id in bundle_ids:
            assert fetch_verified(store, bundle_id).manifest.id == bundle_id
        assert self.champion in bundle_ids
        current = ChampionLog(store).current()
        assert current is not None
        assert (current.number, current.bundle) in {(1, self.champion), (2, self.challenger)}
        assert current.bundle in bundle_ids

    def assert_published(self, store: Store) -> None:
        """Assert that the challenger is the champion, and that no temporary files remain after cleaning up."""
        self.assert_consistent(store)
        assert store.bundle_ids() == [self.champion, self.challenger]
        assert [entry.bundle for entry in ChampionLog(store).entries()] == [self.champion, self.challenger]
        store.remove_abandoned(1e12)
        assert not list(Path(store.url).rglob(".tmp-*"))


@pytest.fixture
def scenario(tmp_path: Path) -> CrashScenario:
    """Return a new scenario."""
    return CrashScenario(tmp_path)


def test_crash_before_each_operation_leaves_consistent_store(scenario: CrashScenario) -> None:
    store, finished = scenario.publish("whole")
    assert finished.returncode == 0, finished.stderr
    scenario.assert_published(store)
    operations = int(finished.stdout)
    assert operations > 30

    def crash_and_retry(step: int) -> None:
        store, crashed = scenario.publish(f"step{step}", step)
        assert crashed.returncode == 9, crashed.stderr
        scenario.assert_consistent(store)
        if step % 8 == 0:  # repeating takes a process, and neighboring steps leave similar states
            _, finished = scenario.publish(f"step{step}")
            assert finished.returncode == 0, finished.stderr
            scenario.assert_published(store)

    with ThreadPoolExecutor(2) as pool:
        assert len(list(pool.map(crash_and_retry, range(1, operations + 1)))) == operations


@pytest.mark.parametrize("length", [0, 60, 200, 700, 3000])
def test_crash_during_bundle_write_leaves_consistent_store(scenario: CrashScenario, length: int) -> None:
    requires(sys.platform != "win32", "Windows cannot end a process at a file's length")
    assert max(path.stat().st_size for path in scenario.source.rglob("*.*")) > length
    store, crashed = scenario.publish("torn", length=length)
    assert crashed.returncode < 0, crashed.stdout + crashed.stderr
    assert len(list(Path(store.url).rglob(".tmp-*"))) == 1
    scenario.assert_consistent(store)
    assert scenario.challenger not in store.bundle_ids()
    _, finished = scenario.publish("torn")
    assert finished.returncode == 0, finished.stderr
    scenario.assert_published(store)


@pytest.mark.parametrize("length", [0, 60, 200])
def test_crash_during_log_write_leaves_consistent_log(scenario: CrashScenario, length: int) -> None:
    requires(sys.platform != "win32", "Windows cannot end a process at a file's length")
    before = Store.open(str(scenario.before))
    assert put_bundle(before, CHALLENGER) == scenario.challenger  # so that the entry is the first file that is written
    store, crashed = scenario.publish("torn", length=length)
    assert crashed.returncode < 0, crashed.stdout + crashed.stderr
    assert len(list((Path(store.url) / "champion").glob(".tmp-*"))) == 1
    scenario.assert_consistent(store)
    assert len(ChampionLog(store).entries()) == 1
    _, finished = scenario.publish("torn")
    assert finished.returncode == 0, finished.stderr
    scenario.assert_published(store)
