"""Pruning a store: old bundles are deleted, except the champion and the bundles that a rollback or refresh needs."""

from __future__ import annotations

import datetime as dt
import os
import time
from pathlib import Path

import msgspec
import pytest

from preptime.bundle.champion_log import ChampionLog, LogEntry, LogEntryDraft
from preptime.bundle.golden import choose_golden_orders
from preptime.bundle.inventory import ROLLBACKS_KEPT, PruneResult, prune
from preptime.bundle.store import Store
from preptime.bundle.writer import write_bundle
from preptime.errors import UsageError
from tests.bundle.factories import (
    DAY,
    graph_files,
    put_bundle,
    put_placeholder,
    some_draft,
    some_history,
    some_model,
    some_orders,
)


def day(n: int) -> dt.date:
    return DAY + dt.timedelta(days=n)


def promote(log: ChampionLog, bundle: str, when: dt.date, after: LogEntry | None) -> LogEntry:
    draft = LogEntryDraft(bundle=bundle, date=when, action="promote", reason="better", by="train", at="")
    return log.append(draft, after)


def put_refresh(store: Store, parent: str, when: dt.date) -> str:
    """Write a refresh of a bundle from `put_bundle` as of another date, and return its id."""
    draft = msgspec.structs.replace(some_draft(), kind="refresh", date=when, parent=parent)
    golden = choose_golden_orders(some_orders())
    graphs = graph_files(some_model())
    return write_bundle(store, draft, graphs=graphs, history=some_history(when), golden_orders=golden).id


def test_prune_keeps_newest_bundles(store: Store) -> None:
    ids = [put_placeholder(store, day(n), "a") for n in range(6)]
    assert prune(store, keep=10, abandoned_before=0.0) == PruneResult([], [])
    assert prune(store, keep=2, abandoned_before=0.0) == PruneResult(ids[:4], [])
    assert store.bundle_ids() == ids[4:]
    assert prune(store, keep=0, abandoned_before=0.0).bundles == ids[4:]
    assert store.bundle_ids() == []


def test_prune_keeps_champion_and_rollback_targets(store: Store) -> None:
    log = ChampionLog(store)
    entry: LogEntry | None = None
    promoted = [put_bundle(store, day(n)) for n in range(ROLLBACKS_KEPT + 3)]
    for n, bundle in enumerate(promoted):
        entry = promote(log, bundle, day(n), entry)
    losers = [put_placeholder(store, day(n), "b") for n in range(20, 25)]

    assert prune(store, keep=1, abandoned_before=0.0).bundles == [*promoted[:2], *losers[:4]]

    assert store.bundle_ids() == [*promoted[2:], losers[4]]
    for expected in promoted[-2:1:-1]:
        assert log.rollback(reason="bad", by="me", at="").bundle == expected


def test_prune_keeps_bundle_promoted_meanwhile(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refresh is promoted while the first bundle is deleted. It and its parent stay."""
    log = ChampionLog(store)
    unused, champion, parent = (put_bundle(store, day(n)) for n in (0, 1, 2))
    entry = promote(log, champion, day(1), None)
    refreshed = put_refresh(store, parent, day(3))
    loser = put_placeholder(store, day(4), "b")
    original = Store.delete

    def delete_and_promote(self: Store, bundle_id: str) -> None:
        original(self, bundle_id)
        if bundle_id == unused:
            promote(log, refreshed, day(3), entry)

    monkeypatch.setattr(Store, "delete", delete_and_promote)
    assert prune(store, keep=0, abandoned_before=0.0).bundles == [unused, loser]
    assert store.bundle_ids() == [champion, parent, refreshed]


def test_prune_deletes_rolled_back_bundle(store: Store) -> None:
    log = ChampionLog(store)
    good, bad = put_bundle(store), put_bundle(store, shift=1.0)
    promote(log, bad, DAY, promote(log, good, DAY, None))
    log.rollback(reason="bad", by="me", at="")
    assert prune(store, keep=0, abandoned_before=0.0).bundles == [bad]


def test_prune_deletes_old_leftovers_of_crashes(folder_store: Store, tmp_path: Path) -> None:
    kept = put_bundle(folder_store)
    ChampionLog(folder_store).append(
        LogEntryDraft(bundle=kept, date=DAY, action="promote", reason="first", by="train", at=""), None
    )
    bundles, champion = tmp_path / "models" / "bundles", tmp_path / "models" / "champion"
    (bundles / ".tmp-old" / "history").mkdir(parents=True)
    (bundles / ".tmp-old" / "history" / "rows.npy").write_bytes(b"half")
    (champion / ".tmp-old").write_bytes(b"half")
    (bundles / ".tmp-writing").mkdir()
    hour_ago = time.time() - 3600
    for path in (bundles / ".tmp-old", *(bundles / ".tmp-old").rglob("*"), champion / ".tmp-old"):
        os.utime(path, (hour_ago, hour_ago))

    assert prune(folder_store, keep=1, abandoned_before=hour_ago - 1).leftovers == []
    assert prune(folder_store, keep=1, abandoned_before=hour_ago + 1).leftovers == [".tmp-old", ".tmp-old"]
    assert sorted(path.name for path in bundles.iterdir()) == [".tmp-writing", kept]
    assert folder_store.log_file_names() == ["000001.json"]


def test_prune_deletes_old_folder_without_manifest(folder_store: Store, tmp_path: Path) -> None:
    kept = put_bundle(folder_store)
    bundles = tmp_path / "models" / "bundles"
    old, recent = bundles / "2015-06-18-000000000000", bundles / "2015-06-19-000000000000"
    for folder in (old, recent):
        (folder / "history").mkdir(parents=True)
    hour_ago = time.time() - 3600
    for path in (old / "history", old):
        os.utime(path, (hour_ago, hour_ago))
    os.utime(bundles / kept, (hour_ago, hour_ago))
    assert prune(folder_store, keep=1, abandoned_before=hour_ago + 1).leftovers == [old.name]
    assert {path.name for path in bundles.iterdir()} == {kept, recent.name}


def test_prune_keeps_folder_that_is_being_written(folder_store: Store, tmp_path: Path) -> None:
    writing = tmp_path / "models" / "bundles" / ".tmp-writing"
    (writing / "history").mkdir(parents=True)
    os.utime(writing, (1.0, 1.0))
    assert prune(folder_store, keep=1, abandoned_before=time.time() - 60).leftovers == []


def test_prune_with_negative_keep_raises(store: Store) -> None:
    with pytest.raises(UsageError, match="keep = -1"):
        prune(store, keep=-1, abandoned_before=0.0)


def test_prune_keeps_parent_of_kept_refresh(store: Store) -> None:
    log = ChampionLog(store)
    trained = put_bundle(store)
    refreshed = [put_refresh(store, trained, day(n)) for n in (1, 2)]
    promote(log, refreshed[-1], day(2), None)
    losers = [put_placeholder(store, day(n), "b") for n in (3, 4)]

    assert prune(store, keep=1, abandoned_before=0.0).bundles == [refreshed[0], losers[0]]

    assert put_refresh(store, trained, day(5)) in store.bundle_ids()
