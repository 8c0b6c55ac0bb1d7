"""Concurrent promotions by processes and threads: exactly one succeeds."""

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

PROCESS_COUNT = 6
ROUNDS = 10


def signal_processes(processes: list[subprocess.Popen[str]]) -> None:
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()


def read_replies(processes: list[subprocess.Popen[str]]) -> list[str]:
    return [process.stdout.readline().strip() for process in processes if process.stdout is not None]


def test_concurrent_processes_promote_exactly_one_bundle(folder_store: Store) -> None:
    bundles = [put_placeholder(folder_store, DAY, digit) for digit in "abcdef"]
    script = str(Path(__file__).with_name("concurrent_promotion.py"))
    processes = [
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
        assert read_replies(processes) == ["ready"] * PROCESS_COUNT
        for number in range(1, ROUNDS + 1):
            before = log.current()
            signal_processes(processes)
            assert read_replies(processes) == ["set"] * PROCESS_COUNT
            signal_processes(processes)
            outcomes = dict(zip(bundles, read_replies(processes), strict=True))
            if before is not None and outcomes[before.bundle] == "won":
                del outcomes[before.bundle]  # it was the champion already, so nothing was written
            after = log.current()
            assert after is not None
            assert [bundle for bundle, outcome in outcomes.items() if outcome == "won"] == [after.bundle]
            assert after.number == number
    finally:
        for process in processes:
            process.communicate()
    assert [entry.number for entry in log.entries()] == list(range(1, ROUNDS + 1))


def call_concurrently(calls: list[Callable[[], str]]) -> list[str]:
    """Return the results of calls that start at the same moment."""
    barrier = threading.Barrier(len(calls))

    def wait_and_call(call: Callable[[], str]) -> str:
        barrier.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(wait_and_call, calls))


def try_to_promote(store: Store, bundle: str, champion: LogEntry | None) -> str:
    draft = LogEntryDraft(
        bundle=bundle, date=DAY, action="promote", reason="race", by=bundle, at="2015-06-17T05:00:00Z"
    )
    try:
        return ChampionLog(store).append(draft, champion).bundle
    except StoreError:
        return "lost"


def test_concurrent_threads_promote_exactly_one_bundle(store: Store) -> None:
    log = ChampionLog(store)
    bundles = [put_placeholder(store, DAY, f"{digit:x}") for digit in range(PROCESS_COUNT + 1)]
    for number in range(1, ROUNDS + 1):
        champion = log.current()
        challengers = [bundle for bundle in bundles if champion is None or bundle != champion.bundle][:PROCESS_COUNT]
        outcomes = call_concurrently([partial(try_to_promote, store, bundle, champion) for bundle in challengers])
        after = log.current()
        assert after is not None
        assert after.number == number
        assert sorted(outcomes) == sorted([after.bundle] + ["lost"] * (PROCESS_COUNT - 1))


def test_concurrent_writes_of_same_bundle_all_succeed(store: Store) -> None:
    manifest, files = some_files()

    def write() -> str:
        store.write_bundle_files(manifest.id, files)
        return fetch_verified(store, manifest.id).manifest.id

    assert call_concurrently([write] * PROCESS_COUNT) == [manifest.id] * PROCESS_COUNT
    assert store.bundle_ids() == [manifest.id]
    assert store.remove_abandoned(1e12) == []
