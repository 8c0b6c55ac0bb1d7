"""A store in a bucket, with a fake server that enforces preconditions, and with the emulator."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from google.api_core.retry import exponential_sleep_generator

from preptime.bundle.backends import gcs
from preptime.bundle.bundle import fetch_verified
from preptime.bundle.champion_log import ChampionLog, LogEntry, LogEntryDraft
from preptime.bundle.inventory import prune
from preptime.bundle.store import Store
from preptime.errors import BundleVerificationError, StoreError
from tests.bundle.factories import DAY, put_bundle, put_placeholder, some_files
from tests.bundle.fake_gcs import BUCKET, FakeGcs, closing_clients, run_fake_gcs

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
"""The client doesn't close the streams of failed downloads."""

PROMOTER_COUNT = 4
ROUNDS = 5


@pytest.fixture(autouse=True)
def _close_clients(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with closing_clients(monkeypatch):
        yield


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGcs]:
    """Return a fake server with one bucket."""
    with run_fake_gcs(monkeypatch) as server:
        yield server


@pytest.fixture
def store(fake: FakeGcs, tmp_path: Path) -> Store:
    """Return an empty store in a folder of the bucket."""
    return Store.open(f"gs://{BUCKET}/models", cache=tmp_path / "cache")


def draft(bundle: str, by: str = "test") -> LogEntryDraft:
    return LogEntryDraft(bundle=bundle, date=DAY, action="promote", reason="test", by=by, at="2015-06-17T05:00:00Z")


def promote(store: Store, shift: float = 0.0) -> str:
    """Write a new bundle, make it the champion, and return its id."""
    bundle = put_bundle(store, shift=shift)
    log = ChampionLog(store)
    log.append(draft(bundle), log.current())
    return bundle


def test_store_in_emulator_supports_all_operations(
    emulator: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The emulator accepts all requests of the client, but doesn't check preconditions."""
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


def test_create_log_over_8_mb_uses_resumable_upload(
    emulator: str, monkeypatch: pytest.MonkeyPatch, store: Store, fake: FakeGcs
) -> None:
    """For larger files, the client uses resumable uploads, which also have a precondition."""
    large = b"history" * 1_500_000
    assert store.create_log("large.bin", large)
    assert not store.create_log("large.bin", b"other" * 2_000_000)
    assert fake.objects["models/champion/large.bin"] == large
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", emulator)
    emulated = Store.open(f"gs://{BUCKET}/large")
    assert emulated.create_log("large.bin", large)
    assert emulated.read_log("large.bin") == large


def test_promotion_uploads_manifest_last_before_log_entry(store: Store, fake: FakeGcs) -> None:
    bundle = promote(store)
    written = list(fake.objects)
    assert written[-2:] == [f"models/bundles/{bundle}/manifest.json", "models/champion/000001.json"]
    assert all("ifGenerationMatch=0" in request for request in fake.requests if request.startswith("POST"))
    assert fetch_verified(store, bundle).manifest.id == bundle


def test_store_never_overwrites_objects(store: Store, fake: FakeGcs) -> None:
    manifest, files = some_files()
    left = f"models/bundles/{manifest.id}/model.onnx"
    fake.objects[left] = files["model.onnx"]
    store.write_bundle_files(manifest.id, files)
    store.write_bundle_files(manifest.id, files)
    assert store.create_log("000001.json", b"first")
    assert not store.create_log("000001.json", b"second")
    assert store.read_log("000001.json") == b"first"
    assert store.bundle_ids() == [manifest.id]


def test_concurrent_threads_promote_exactly_one_bundle(fake: FakeGcs) -> None:
    store = Store.open(f"gs://{BUCKET}")
    bundles = [put_placeholder(store, DAY, f"{digit:x}") for digit in range(PROMOTER_COUNT + 1)]

    def try_to_promote(bundle: str, champion: LogEntry | None) -> str:
        try:
            return ChampionLog(Store.open(f"gs://{BUCKET}")).append(draft(bundle, bundle), champion).bundle
        except StoreError as error:
            return "lost" if "Someone else promoted first" in error.facts else error.facts

    log = ChampionLog(store)
    with ThreadPoolExecutor(PROMOTER_COUNT) as pool:
        for number in range(1, ROUNDS + 1):
            champion = log.current()
            others = [bundle for bundle in bundles if champion is None or bundle != champion.bundle][:PROMOTER_COUNT]
            outcomes = list(pool.map(try_to_promote, others, [champion] * PROMOTER_COUNT))
            after = log.current()
            assert after is not None
            assert after.number == number
            assert sorted(outcomes) == sorted([after.bundle] + ["lost"] * (PROMOTER_COUNT - 1))


def test_concurrent_processes_promote_exactly_one_bundle(fake: FakeGcs) -> None:
    """The processes read the address of the server from the environment."""
    store = Store.open(f"gs://{BUCKET}")
    bundles = [put_placeholder(store, DAY, digit) for digit in "abc"]
    script = str(Path(__file__).with_name("concurrent_promotion.py"))
    processes = [
        subprocess.Popen(
            [sys.executable, script, store.url, bundle, "1"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for bundle in bundles
    ]
    try:
        assert read_replies(processes) == ["ready"] * 3
        signal_processes(processes)
        assert read_replies(processes) == ["set"] * 3
        signal_processes(processes)
        outcomes = read_replies(processes)
    finally:
        for process in processes:
            process.communicate()
    assert sorted(outcomes) == ["lost", "lost", "won"]
    (entry,) = ChampionLog(store).entries()
    assert outcomes[bundles.index(entry.bundle)] == "won"


def signal_processes(processes: list[subprocess.Popen[str]]) -> None:
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()


def read_replies(processes: list[subprocess.Popen[str]]) -> list[str]:
    return [process.stdout.readline().strip() for process in processes if process.stdout is not None]


def test_read_retries_temporary_failures(store: Store, fake: FakeGcs) -> None:
    bundle = promote(store)
    for operation in (store.log_file_names, store.bundle_ids, lambda: store.read_log("000001.json")):
        fake.failures.extend(["503", "hang up", "429"])
        assert operation()
    fake.failures.extend(["503"] * 2)
    assert fetch_verified(store, bundle).manifest.id == bundle
    assert not fake.failures


def test_write_retries_temporary_failures(store: Store, fake: FakeGcs) -> None:
    manifest, files = some_files()
    fake.failures.extend(["503", "429", "hang up", "503", "hang up after"])
    store.write_bundle_files(manifest.id, files)
    assert fetch_verified(store, manifest.id).manifest.id == manifest.id


def test_append_with_lost_response_succeeds(store: Store, fake: FakeGcs) -> None:
    """The entry is written, but the response is lost, and the repeated request gets the error that the name exists."""
    first, second = promote(store), put_bundle(store, shift=1.0)
    log = ChampionLog(store)
    fake.write_failures.append("hang up after")
    assert log.append(draft(second), log.current()).bundle == second
    assert [entry.bundle for entry in log.entries()] == [first, second]


def test_read_from_unreachable_bucket_raises_within_timeout(store: Store, fake: FakeGcs) -> None:
    promote(store)
    fake.is_unreachable = True
    began = time.monotonic()
    with pytest.raises(StoreError, match=f"gs://{BUCKET}/models"):
        store.log_file_names()
    assert time.monotonic() - began < 10


def test_retry_waits_are_random() -> None:
    """Clients that fail at the same moment must not retry at the same moment. Reading stops earlier than writing."""
    assert gcs.READ_RETRY_SECONDS < gcs.WRITE_RETRY_SECONDS
    waits = {round(next(exponential_sleep_generator(0.5, 8.0, 2.0)), 6) for _ in range(20)}
    assert len(waits) > 15
    assert all(0 <= wait <= 0.5 for wait in waits)


def test_read_from_missing_bucket_raises(fake: FakeGcs) -> None:
    for operation in (Store.open("gs://another").bundle_ids, ChampionLog(Store.open("gs://another")).current):
        with pytest.raises(StoreError, match="bucket does not exist"):
            operation()


def test_open_url_without_bucket_raises() -> None:
    with pytest.raises(StoreError, match="names no bucket"):
        Store.open("gs://")


def read_operations(store: Store) -> list[Callable[[], object]]:
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


def test_read_with_read_only_account_writes_nothing(store: Store, fake: FakeGcs) -> None:
    """A server's account has only read access. The fake rejects every write, and none is attempted."""
    promote(store)
    fake.read_only = True
    fake.requests.clear()
    for operation in read_operations(store):
        assert operation()
    assert fake.rejected_writes == []
    request_paths = {request.partition("?")[0] for request in fake.requests}
    assert all(f"/b/{BUCKET}/o" in request for request in request_paths), "only requests for objects are allowed"
    with pytest.raises(StoreError, match=r"storage\.objects\.create"):
        put_bundle(store, shift=1.0)
    assert len(fake.rejected_writes) == 1


def test_remove_abandoned_deletes_old_incomplete_upload(store: Store, fake: FakeGcs) -> None:
    bundle = put_bundle(store)
    del fake.objects[f"models/bundles/{bundle}/manifest.json"]
    assert store.bundle_ids() == []
    assert store.remove_abandoned(fake.updated.timestamp()) == []
    later = fake.updated + dt.timedelta(seconds=1)
    assert store.remove_abandoned(later.timestamp()) == [bundle]
    assert fake.objects == {}


def test_missing_object_is_damage(store: Store, fake: FakeGcs) -> None:
    bundle = put_bundle(store)
    del fake.objects[f"models/bundles/{bundle}/golden.json"]
    with pytest.raises(BundleVerificationError, match=r"golden\.json: expected a file, found no file"):
        store.fetch(bundle)


def test_delete_ignores_objects_deleted_concurrently(store: Store, fake: FakeGcs) -> None:
    bundle = put_bundle(store)
    fake.deleted_concurrently = {f"models/bundles/{bundle}/golden.json"}
    store.delete(bundle)
    assert fake.objects == {}


def test_is_writable_writes_nothing(store: Store, fake: FakeGcs) -> None:
    assert store.is_writable()
    fake.read_only = True
    assert not store.is_writable()
    assert fake.objects == {}
    assert fake.rejected_writes == []


def test_storage_time_returns_server_clock(store: Store, fake: FakeGcs) -> None:
    server_time = store.storage_time()
    assert server_time is not None
    assert abs(server_time - time.time()) < 60
    promote(store)
    assert store.log_written_at("000001.json") == fake.updated.timestamp()
    with pytest.raises(StoreError, match="no such object"):
        store.log_written_at("000002.json")
