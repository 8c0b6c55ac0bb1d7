"""Killed at any point, publishing leaves nothing or a whole bundle, and doing it again finishes it."""

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


class Scene:
    """A store with an old bundle and a champion, and the files of a challenger beside it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.before = folder / "before"
        store = Store.open(str(self.before))
        self.old = put_bundle(store, OLDEST)
        self.champion = put_bundle(store, CHAMPION)
        draft = LogEntryDraft(bundle=self.champion, date=CHAMPION, action="promote", reason="first", by="test", at="")
        ChampionLog(store).append(draft, None)
        aside = Store.open(str(folder / "aside"))
        self.challenger = put_bundle(aside, CHALLENGER)
        self.source = aside.fetch(self.challenger)

    def publish(
        self, name: str, step: int = 0, length: int | None = None
    ) -> tuple[Store, subprocess.CompletedProcess[str]]:
        """Run the crasher on a fresh copy of the store, or go on with the one of that name."""
        root = self._folder / name
        if not root.exists():
            shutil.copytree(self.before, root)
        script = Path(__file__).with_name("crash_during_write.py")
        words = [sys.executable, str(script), str(root), str(self.source), self.challenger, self.old, str(step)]
        if length is not None:
            words.append(str(length))
        return Store.open(str(root)), subprocess.run(words, capture_output=True, text=True, check=False)

    def check_whole(self, store: Store) -> None:
        """All that can be seen is whole, and the champion is one of the two."""
        seen = store.bundle_ids()
        for bundle_id in seen:
            assert fetch_verified(store, bundle_id).manifest.id == bundle_id
        assert self.champion in seen
        current = ChampionLog(store).current()
        assert current is not None
        assert (current.number, current.bundle) in {(1, self.champion), (2, self.challenger)}
        assert current.bundle in seen

    def check_done(self, store: Store) -> None:
        """The challenger is champion, and sweeping leaves nothing that does not belong there."""
        self.check_whole(store)
        assert store.bundle_ids() == [self.champion, self.challenger]
        assert [entry.bundle for entry in ChampionLog(store).entries()] == [self.champion, self.challenger]
        store.remove_abandoned(1e12)
        assert not list(Path(store.url).rglob(".tmp-*"))


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """Where it happens."""
    return Scene(tmp_path)


def test_killed_before_every_single_operation(scene: Scene) -> None:
    store, finished = scene.publish("whole")
    assert finished.returncode == 0, finished.stderr
    scene.check_done(store)
    operations = int(finished.stdout)
    assert operations > 30

    def killed_then_again(step: int) -> None:
        store, died = scene.publish(f"step{step}", step)
        assert died.returncode == 9, died.stderr
        scene.check_whole(store)
        if step % 8 == 0:  # each again costs a process; what it meets differs little from step to step
            _, finished = scene.publish(f"step{step}")
            assert finished.returncode == 0, finished.stderr
            scene.check_done(store)

    with ThreadPoolExecutor(2) as pool:
        assert len(list(pool.map(killed_then_again, range(1, operations + 1)))) == operations


@pytest.mark.parametrize("length", [0, 60, 200, 700, 3000])
def test_killed_in_the_middle_of_a_write(scene: Scene, length: int) -> None:
    requires(sys.platform != "win32", "Windows cannot end a process at a file's length")
    assert max(path.stat().st_size for path in scene.source.rglob("*.*")) > length
    store, died = scene.publish("torn", length=length)
    assert died.returncode < 0, died.stdout + died.stderr
    assert len(list(Path(store.url).rglob(".tmp-*"))) == 1
    scene.check_whole(store)
    assert scene.challenger not in store.bundle_ids()
    _, finished = scene.publish("torn")
    assert finished.returncode == 0, finished.stderr
    scene.check_done(store)


@pytest.mark.parametrize("length", [0, 60, 200])
def test_killed_in_the_middle_of_writing_the_log(scene: Scene, length: int) -> None:
    requires(sys.platform != "win32", "Windows cannot end a process at a file's length")
    before = Store.open(str(scene.before))
    assert put_bundle(before, CHALLENGER) == scene.challenger  # so that the entry is the first file to be written
    store, died = scene.publish("torn", length=length)
    assert died.returncode < 0, died.stdout + died.stderr
    assert len(list((Path(store.url) / "champion").glob(".tmp-*"))) == 1
    scene.check_whole(store)
    assert len(ChampionLog(store).entries()) == 1
    _, finished = scene.publish("torn")
    assert finished.returncode == 0, finished.stderr
    scene.check_done(store)
