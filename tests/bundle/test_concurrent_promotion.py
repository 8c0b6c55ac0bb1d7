"""Two promotions at once can't both win: processes on a folder, threads on a folder and on `memory://`."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from preptime.bundle.bundle import fetch_verified
from preptime.bundle.champion_log import ChampionLog, LogEntry, LogEntryDraft
from preptime.bundle.store import Store
from preptime.errors import StoreError
from tests.bundle.factories import DAY, put_placeholder, some_files

RACERS = 6
ROUNDS = 10


def start(racers: list[subprocess.Popen[str]]) -> None:
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()


def answers(racers: list[subprocess.Popen[str]]) -> list[str]:
    return [racer.stdout.readline().strip() for racer in racers if racer.stdout is not None]


def test_of_many_processes_one_promotes(folder_store: Store) -> None:
    bundles = [put_placeholder(folder_store, DAY, digit) for digit in "abcdef"]
    script = str(Path(__file__).with_name("concurrent_promotion.py"))
    racers = [
        subprocess.Popen(
            [sys.executable, script, folder_store.url, bundle, str(ROUNDS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for bundle in bundles
    ]
    log = ChampionLog(folder_store)
    try:
        assert answers(racers) == ["ready"] * RACERS
        for number in range(1, ROUNDS + 1):
            before = log.current()
            start(racers)
            assert answers(racers) == ["set"] * RACERS
            start(racers)
            outcomes = dict(zip(bundles, answers(racers), strict=True))
            if before is not None and outcomes[before.bundle] == "won":
                del outcomes[before.bundle]  # it was the champion already when it asked, and nothing was written
            after = log.current()
            assert after is not None
            assert [bundle for bundle, outcome in outcomes.items() if outcome == "won"] == [after.bundle]
            assert after.number == number
    finally:
        for racer in racers:
            racer.communicate()
    assert [entry.number for entry in log.entries()] == list(range(1, ROUNDS + 1))


def all_at_once(calls: list[Callable[[], str]]) -> list[str]:
    """What each call returns, all started at the same moment."""
    barrier = threading.Barrier(len(calls))

    def wait_and(call: Callable[[], str]) -> str:
        barrier.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(wait_and, calls))


def challenge(store: Store, bundle: str, champion: LogEntry | None) -> str:
    draft = LogEntryDraft(
        bundle=bundle, date=DAY, action="promote", reason="race", by=bundle, at="2015-06-17T05:00:00Z"
    )
    try:
        return ChampionLog(store).append(draft, champion).bundle
    except StoreError:
        return "lost"


def test_of_many_threads_one_promotes(store: Store) -> None:
    log = ChampionLog(store)
    bundles = [put_placeholder(store, DAY, f"{digit:x}") for digit in range(RACERS + 1)]
    for number in range(1, ROUNDS + 1):
        champion = log.current()
        challengers = [bundle for bundle in bundles if champion is None or bundle != champion.bundle][:RACERS]
        outcomes = all_at_once([partial(challenge, store, bundle, champion) for bundle in challengers])
        after = log.current()
        assert after is not None
        assert after.number == number
        assert sorted(outcomes) == sorted([after.bundle] + ["lost"] * (RACERS - 1))


def test_many_may_write_the_same_bundle_at_once(store: Store) -> None:
    manifest, files = some_files()

    def write() -> str:
        store.write_bundle_files(manifest.id, files)
        return fetch_verified(store, manifest.id).manifest.id

    assert all_at_once([write] * RACERS) == [manifest.id] * RACERS
    assert store.bundle_ids() == [manifest.id]
    assert store.remove_abandoned(1e12) == []
