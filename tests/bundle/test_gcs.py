"""A store in a bucket: against a fake that enforces preconditions, and read and written with the emulator."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from gcp_storage_emulator.server import create_server
from google.api_core.retry import exponential_sleep_generator

from preptime.bundle import gcs
from preptime.bundle.bundle import fetch_verified
from preptime.bundle.champion_log import ChampionLog, LogEntry, LogEntryDraft
from preptime.bundle.inventory import prune
from preptime.bundle.store import Store
from preptime.errors import StoreError
from tests.bundle.factories import DAY, put_bundle, put_placeholder, some_files
from tests.bundle.fake_gcs import BUCKET, FakeGoogleStorage, clients_that_end, serving

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
"""The client leaves the streamed answers of downloads that failed to the garbage collector."""

RACERS = 4
ROUNDS = 5


@pytest.fixture(autouse=True)
def _clients_end(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with clients_that_end(monkeypatch):
        yield


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGoogleStorage]:
    """The bucket."""
    with serving(monkeypatch) as found:
        yield found


@pytest.fixture
def store(fake: FakeGoogleStorage, tmp_path: Path) -> Store:
    """An empty store in a folder of the bucket."""
    return Store.open(f"gs://{BUCKET}/models", cache=tmp_path / "cache")


@pytest.fixture(scope="module")
def emulator() -> Iterator[str]:
    """An emulator's address; it has the bucket."""
    server = create_server("127.0.0.1", 0, in_memory=True, default_bucket=BUCKET)
    server.start()
    try:
        _, port = server._api._httpd.socket.getsockname()
        yield f"http://127.0.0.1:{port}"
    finally:
        server.stop()


def draft(bundle: str, by: str = "test") -> LogEntryDraft:
    return LogEntryDraft(bundle=bundle, date=DAY, action="promote", reason="test", by=by, at="2015-06-17T05:00:00Z")


def promote(store: Store, shift: float = 0.0) -> str:
    """A new bundle becomes the champion."""
    bundle = put_bundle(store, shift=shift)
    log = ChampionLog(store)
    log.append(draft(bundle), log.current())
    return bundle


def test_a_store_lives_in_the_emulators_bucket(emulator: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Everything that a store does: the emulator takes what the client sends, though it checks no precondition."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", emulator)
    store = Store.open(f"gs://{BUCKET}/a/b", cache=tmp_path / "cache")
    log = ChampionLog(store)
    assert store.bundle_ids() == []
    assert log.current() is None
    first, second = promote(store), promote(store, shift=1.0)
    assert fetch_verified(store, second).manifest.id == second
    assert store.bundle_ids() == sorted([first, second])
    assert log.rollback(reason="test", by="test", at="").bundle == first
    assert [entry.bundle for entry in log.entries()] == [first, second, first]
    assert prune(store, keep=0, abandoned_before=0.0).bundles == [second]
    assert store.bundle_ids() == [first]


def test_a_bundle_over_eight_megabytes_goes_up_in_pieces(
    emulator: str, monkeypatch: pytest.MonkeyPatch, store: Store, fake: FakeGoogleStorage
) -> None:
    """From there on the client uses another kind of upload, also under a precondition."""
    large = b"history" * 1_500_000
    assert store.create_log("large.bin", large)
    assert not store.create_log("large.bin", b"other" * 2_000_000)
    assert fake.objects["models/champion/large.bin"] == large
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", emulator)
    emulated = Store.open(f"gs://{BUCKET}/large")
    assert emulated.create_log("large.bin", large)
    assert emulated.read_log("large.bin") == large


def test_a_bundle_is_uploaded_before_the_champions_file_and_its_manifest_last(
    store: Store, fake: FakeGoogleStorage
) -> None:
    bundle = promote(store)
    written = list(fake.objects)
    assert written[-2:] == [f"models/bundles/{bundle}/manifest.json", "models/champion/000001.json"]
    assert all("ifGenerationMatch=0" in request for request in fake.requests if request.startswith("POST"))
    assert fetch_verified(store, bundle).manifest.id == bundle


def test_nothing_in_the_bucket_is_written_over(store: Store, fake: FakeGoogleStorage) -> None:
    manifest, files = some_files()
    left = f"models/bundles/{manifest.id}/model.onnx"
    fake.objects[left] = files["model.onnx"]
    store.write_bundle_files(manifest.id, files)
    store.write_bundle_files(manifest.id, files)
    assert store.create_log("000001.json", b"first")
    assert not store.create_log("000001.json", b"second")
    assert store.read_log("000001.json") == b"first"
    assert store.bundle_ids() == [manifest.id]


def test_of_many_threads_one_promotes(fake: FakeGoogleStorage) -> None:
    store = Store.open(f"gs://{BUCKET}")
    bundles = [put_placeholder(store, DAY, f"{digit:x}") for digit in range(RACERS + 1)]

    def challenge(bundle: str, champion: LogEntry | None) -> str:
        try:
            return ChampionLog(Store.open(f"gs://{BUCKET}")).append(draft(bundle, bundle), champion).bundle
        except StoreError as error:
            return "lost" if "Someone else promoted first" in error.facts else error.facts

    log = ChampionLog(store)
    with ThreadPoolExecutor(RACERS) as pool:
        for number in range(1, ROUNDS + 1):
            champion = log.current()
            others = [bundle for bundle in bundles if champion is None or bundle != champion.bundle][:RACERS]
            outcomes = list(pool.map(challenge, others, [champion] * RACERS))
            after = log.current()
            assert after is not None
            assert after.number == number
            assert sorted(outcomes) == sorted([after.bundle] + ["lost"] * (RACERS - 1))


def test_of_many_processes_one_promotes(fake: FakeGoogleStorage) -> None:
    """They take their address from the environment, as the emulator's users do."""
    store = Store.open(f"gs://{BUCKET}")
    bundles = [put_placeholder(store, DAY, digit) for digit in "abc"]
    script = str(Path(__file__).with_name("concurrent_promotion.py"))
    racers = [
        subprocess.Popen(
            [sys.executable, script, store.url, bundle, "1"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for bundle in bundles
    ]
    try:
        assert said(racers) == ["ready"] * 3
        tell(racers)
        assert said(racers) == ["set"] * 3
        tell(racers)
        outcomes = said(racers)
    finally:
        for racer in racers:
            racer.communicate()
    assert sorted(outcomes) == ["lost", "lost", "won"]
    (entry,) = ChampionLog(store).entries()
    assert outcomes[bundles.index(entry.bundle)] == "won"


def tell(racers: list[subprocess.Popen[str]]) -> None:
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()


def said(racers: list[subprocess.Popen[str]]) -> list[str]:
    return [racer.stdout.readline().strip() for racer in racers if racer.stdout is not None]


def test_reading_goes_on_through_failures_that_pass(store: Store, fake: FakeGoogleStorage) -> None:
    bundle = promote(store)
    for ask in (store.log_file_names, store.bundle_ids, lambda: store.read_log("000001.json")):
        fake.troubles.extend(["503", "hang up", "429"])
        assert ask()
    fake.troubles.extend(["503"] * 2)
    assert fetch_verified(store, bundle).manifest.id == bundle
    assert not fake.troubles


def test_writing_goes_on_through_failures_that_pass(store: Store, fake: FakeGoogleStorage) -> None:
    manifest, files = some_files()
    fake.troubles.extend(["503", "429", "hang up", "503", "hang up after"])
    store.write_bundle_files(manifest.id, files)
    assert fetch_verified(store, manifest.id).manifest.id == manifest.id


def test_a_promotion_whose_answer_was_lost_is_still_ours(store: Store, fake: FakeGoogleStorage) -> None:
    """The entry got written, the client heard nothing, asked again and was told that the name is taken."""
    first, second = promote(store), put_bundle(store, shift=1.0)
    log = ChampionLog(store)
    fake.write_troubles.append("hang up after")
    assert log.append(draft(second), log.current()).bundle == second
    assert [one.bundle for one in log.entries()] == [first, second]


def test_a_bucket_that_stays_away_is_said_within_the_patience(store: Store, fake: FakeGoogleStorage) -> None:
    promote(store)
    fake.away = True
    began = time.monotonic()
    with pytest.raises(StoreError, match=f"gs://{BUCKET}/models"):
        store.log_file_names()
    assert time.monotonic() - began < 10


def test_waits_are_random() -> None:
    """Two that failed at the same moment must not come back at the same moment; what serves gives up sooner."""
    assert gcs.READ_RETRY_SECONDS < gcs.WRITE_RETRY_SECONDS
    waits = {round(next(exponential_sleep_generator(0.5, 8.0, 2.0)), 6) for _ in range(20)}
    assert len(waits) > 15
    assert all(0 <= wait <= 0.5 for wait in waits)


def test_a_bucket_that_is_not_there_is_no_empty_store(fake: FakeGoogleStorage) -> None:
    for ask in (Store.open("gs://another").bundle_ids, ChampionLog(Store.open("gs://another")).current):
        with pytest.raises(StoreError, match="bucket does not exist"):
            ask()


def test_an_address_without_a_bucket_is_refused() -> None:
    with pytest.raises(StoreError, match="names no bucket"):
        Store.open("gs://")


def reading_of(store: Store) -> list[Callable[[], object]]:
    log = ChampionLog(store)
    return [
        store.bundle_ids,
        store.log_file_names,
        log.current,
        log.entries,
        lambda: log.as_of(DAY),
        lambda: fetch_verified(store, store.bundle_ids()[0]),
        lambda: store.read_manifest(store.bundle_ids()[0]),
    ]


def test_reading_writes_nothing(store: Store, fake: FakeGoogleStorage) -> None:
    """What serves has an account that may only read: the fake refuses every write, and none is even tried."""
    promote(store)
    fake.read_only = True
    fake.requests.clear()
    for ask in reading_of(store):
        assert ask()
    assert fake.refused_writes == []
    asked = {request.partition("?")[0] for request in fake.requests}
    assert all(f"/b/{BUCKET}/o" in request for request in asked), "nothing but objects may be asked about either"
    with pytest.raises(StoreError, match=r"storage\.objects\.create"):
        put_bundle(store, shift=1.0)
    assert len(fake.refused_writes) == 1


def test_a_crashed_upload_is_swept_when_nobody_touched_it_for_long(store: Store, fake: FakeGoogleStorage) -> None:
    bundle = put_bundle(store)
    del fake.objects[f"models/bundles/{bundle}/manifest.json"]
    assert store.bundle_ids() == []
    assert store.remove_abandoned(fake.updated.timestamp()) == []
    later = fake.updated + dt.timedelta(seconds=1)
    assert store.remove_abandoned(later.timestamp()) == [bundle]
    assert fake.objects == {}


def test_removing_what_another_removes_at_the_same_time_is_no_error(store: Store, fake: FakeGoogleStorage) -> None:
    bundle = put_bundle(store)
    fake.vanishing = {f"models/bundles/{bundle}/golden.json"}
    store.delete(bundle)
    assert fake.objects == {}


def test_whether_it_may_be_written_to_is_asked_without_writing(store: Store, fake: FakeGoogleStorage) -> None:
    assert store.is_writable()
    fake.read_only = True
    assert not store.is_writable()
    assert fake.objects == {}
    assert fake.refused_writes == []


def test_the_storage_tells_its_time(store: Store, fake: FakeGoogleStorage) -> None:
    told = store.storage_time()
    assert told is not None
    assert abs(told - time.time()) < 60
    promote(store)
    assert store.log_written_at("000001.json") == fake.updated.timestamp()
    with pytest.raises(StoreError, match="no such object"):
        store.log_written_at("000002.json")
